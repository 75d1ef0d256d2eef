//! Faults of the whole file: syntax, and all at once.

use super::*;

#[test]
fn syntax_faults_are_told_and_nothing_is_made_of_the_rest() {
    check_cases(&[
        (
            "[delivery]\ntimeout = 5s",
            2,
            11,
            "timeout",
            "quoted",
            "in quotes",
        ),
        (
            "[listen\nhttp = \"\"",
            1,
            8,
            "listen",
            "unclosed table",
            "close it",
        ),
        ("a = \"b", 1, 7, "", "TOML", "toml.io"),
        ("ü = 1", 1, 1, "", "TOML", "toml.io"),
    ]);
    let list = faults("data_dir = \"a\"\ndata_dir = \"b\"\nfoo = 1\n[log]\nlevel = 1\n");
    let told: Vec<_> = list
        .iter()
        .map(|fault| (fault.line.unwrap(), &*fault.key))
        .collect();
    assert_eq!(told, [(2, "data_dir"), (3, "foo"), (5, "log.level")]);
}

#[test]
fn all_faults_come_at_once_in_the_order_of_the_file() {
    let text = format!(
        "dta_dir = 1\n[delivery]\ntimeout = \"5\"\nallow_networks = [\"x\", \"y\"]\n{}{}",
        endpoint("secret = \"x\"\nmax_in_flight = -1\nbogus = 1"),
        "[[endpoint]]\nid = \"or ders\"\nretry = { jitter = 5 }\n",
    );
    let faults = parse(&text, &bare()).unwrap_err();
    let told: Vec<_> = faults
        .list
        .iter()
        .map(|f| (f.line.unwrap(), &*f.key))
        .collect();
    assert_eq!(
        told,
        [
            (1, "dta_dir"),
            (3, "delivery.timeout"),
            (4, "delivery.allow_networks[0]"),
            (4, "delivery.allow_networks[1]"),
            (8, "endpoint[0].secret"),
            (9, "endpoint[0].max_in_flight"),
            (10, "endpoint[0].bogus"),
            (11, "endpoint[1].url"),
            (12, "endpoint[1].id"),
            (13, "endpoint[1].retry.jitter"),
        ]
    );
    assert_eq!(faults.to_string().lines().count(), 10);
    let first = faults.to_string().lines().next().unwrap().to_owned();
    assert_eq!(
        first,
        "configuration:1:1: dta_dir: unknown key; fix: did you mean \"data_dir\"?"
    );
}

#[test]
fn a_semicolon_in_what_was_written_does_not_split_the_message() {
    let text = endpoint("preset = \"sla; ck\"");
    let faults = faults(&text);
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert_eq!(fault.problem, "\"sla; ck\" is not known here");
    assert_eq!(fault.fix, "did you mean \"slack\"?");
}
