//! Sources.

use super::*;

#[test]
fn sources_are_read_with_what_their_files_hold() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("new", "n3w\n"), ("old", "0ld"), ("verify", "t0ken\n")] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = "[[source]]\nid = \"page\"\npreset = \"meta\"\nsecret_files = [\"new\", \"old\"]\n\
                verify_token_file = \"verify\"\nrate_limit = \"5/s\"\n";
    let config = parse(text, &env).unwrap().config;
    let [source] = config.sources.as_slice() else {
        panic!("{:?}", config.sources);
    };
    let secrets = source.secrets.iter().map(|one| &*one.text);
    assert_eq!(secrets.collect::<Vec<_>>(), ["n3w", "0ld"]);
    let (toml, json) = (show::to_toml(&config), show::to_json(&config));
    for all in [toml.clone(), json.to_string(), format!("{config:?}")] {
        for hidden in ["n3w", "0ld", "t0ken"] {
            assert!(!all.contains(hidden), "{hidden} in {all}");
        }
    }
    assert!(toml.contains("# secrets = (set, not shown)\n"), "{toml}");
    assert!(toml.contains("rate_limit = \"5/s\"\n"), "{toml}");
    assert_eq!(json["source"][0]["verify_token"], "…");
    let open = good("[[source]]\nid = \"a\"\nverify = \"none\"\n").config;
    assert!(show::to_toml(&open).contains("does not verify the calls"));
}

#[test]
fn faults_of_sources_name_the_key() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("s"), "hush").unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let github = "preset = \"github\"\nsecrets = [\"hush\"]\n";
    let of = |lines: &str| format!("[[source]]\nid = \"a\"\n{lines}\n");
    for (text, key, problem) in [
        (of(""), "source[0].preset", "nothing says"),
        (of("preset = \"githup\""), "source[0].preset", "githup"),
        (
            of("preset = \"github\""),
            "source[0].secrets",
            "nothing verifies",
        ),
        (format!("[[source]]\n{github}"), "source[0].id", "missing"),
        (
            format!("[[source]]\nid = \"a b\"\n{github}"),
            "source[0].id",
            "not an id",
        ),
        (
            of(github) + &of(github),
            "source[1].id",
            "is the id of source[0] already",
        ),
        (
            of(&format!("{github}secret_files = [\"s\"]")),
            "source[0].secret_files",
            "both there",
        ),
        (
            of(&format!("{github}split = \"entry\"")),
            "source[0].split",
            "",
        ),
        (
            of(&format!("{github}tpye = \"x\"")),
            "source[0].tpye",
            "unknown",
        ),
        (
            of("preset = \"github\"\nsecret = \"hush\""),
            "source[0].secret",
            "unknown",
        ),
    ] {
        let faults = parse(&text, &env).unwrap_err();
        let fault = faults.list.iter().find(|fault| fault.key == key);
        let fault = fault.unwrap_or_else(|| panic!("{text}: {faults}"));
        assert!(fault.problem.contains(problem), "{text}: {faults}");
        let is_slip = key.ends_with(".secret");
        assert!(
            !is_slip || fault.fix == "did you mean \"secrets\"?",
            "{faults}"
        );
        assert!(!faults.to_string().contains("hush"), "{faults}");
    }
}

#[test]
fn all_faults_of_a_source_are_told_at_once() {
    let text = "[[source]]\nid = \"a\"\npreset = \"github\"\nsecrets = [\"x\"]\n\
                rate_limit = \"fast\"\nallow_from = [\"10.0.0.0/99\"]\ntype = \"{{ \"\n";
    let faults = parse(text, &bare()).unwrap_err();
    let keys: Vec<&str> = faults.list.iter().map(|fault| fault.key.as_str()).collect();
    let all = [
        "source[0].rate_limit",
        "source[0].allow_from[0]",
        "source[0].type",
    ];
    for key in all {
        let root = key.trim_end_matches("[0]");
        assert!(
            keys.iter().any(|found| found.starts_with(root)),
            "{key}: {faults}"
        );
    }
    assert_eq!(keys.len(), all.len(), "{faults}");
}

#[test]
fn a_file_that_cannot_be_read_is_the_only_fault_of_its_key() {
    for (lines, expected) in [
        (
            "preset = \"query_token\"\ntoken_file = \"/nowhere/t\"",
            &["source[0].token_file"][..],
        ),
        (
            "preset = \"github\"\nsecret_files = [\"/nowhere/s\"]",
            &["source[0].secret_files[0]"],
        ),
        (
            "preset = \"meta\"\nsecrets = [\"x\"]\nverify_token_file = \"/nowhere/v\"\nrate_limit = \"1\"",
            &["source[0].verify_token_file", "source[0].rate_limit"],
        ),
        // A token does not verify calls that are signed, and a secret is not a public key.
        (
            "preset = \"stripe\"\ntoken_file = \"/nowhere/t\"",
            &["source[0].token_file", "source[0].secrets"],
        ),
        (
            "preset = \"discord\"\nsecret_files = [\"/nowhere/s\"]",
            &["source[0].secret_files[0]", "source[0].public_key"],
        ),
    ] {
        let text = format!("[[source]]\nid = \"a\"\n{lines}\n");
        let faults = parse(&text, &bare()).unwrap_err();
        let mut keys: Vec<&str> = faults.list.iter().map(|fault| fault.key.as_str()).collect();
        let mut expected = expected.to_vec();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected, "{lines}: {faults}");
    }
}
