//! Faults of `[[source]]`, each with its key, its line and how to fix it.

use serde_json::Value;

use super::{PUBLIC_URL, SECRET, github, listen, source, start};
use crate::harness::Home;

/// `check` of a configuration: its faults.
fn faults(home: &Home, config: &str) -> Vec<Value> {
    let text = listen(home, "").replace(&format!("public_url = \"{PUBLIC_URL}\""), "") + config;
    let path = home.write_config(&text);
    let path = path.to_str().unwrap();
    let ran = home.run(&["check", "--config", path, "--json"]);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(ran.code == Some(0), told["ok"] == true, "{ran:?}");
    // The daemon does not start with what `check` does not like, and says the same.
    if ran.code != Some(0) {
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let served = home.run(&["serve", "--config", path]);
        assert_eq!(served.code, Some(2), "{served:?}");
    }
    told["faults"].as_array().cloned().unwrap_or_default()
}

/// The line of the configuration on which `part` stands.
fn line_of(home: &Home, part: &str) -> u64 {
    let text = std::fs::read_to_string(home.path("outboxd.toml")).unwrap();
    let line = text.lines().position(|line| line.starts_with(part));
    line.unwrap_or_else(|| panic!("no {part} in {text}")) as u64 + 1
}

/// Asserts one fault: its key, the line that begins so, and a part of what is said of it.
#[track_caller]
fn assert_fault(config: &str, key: &str, line: &str, said: &[&str]) {
    let home = Home::new();
    let found = faults(&home, config);
    assert_eq!(found.len(), 1, "{found:#?}");
    let fault = &found[0];
    assert_eq!(fault["key"], key, "{fault:#}");
    assert_eq!(fault["line"], line_of(&home, line), "{fault:#}");
    assert!(
        fault["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
        "{fault:#}"
    );
    for part in said {
        assert!(
            fault.to_string().contains(part),
            "{part} is not in {fault:#}"
        );
    }
}

#[test]
fn a_source_that_nothing_verifies_is_a_fault() {
    let one = |more: &str| source("gh", more);
    assert_fault(
        &one("preset = \"github\""),
        "source[0].secrets",
        "[[source]]",
        &["nothing verifies"],
    );
    assert_fault(
        &one("preset = \"github\"\nsecrets = []"),
        "source[0].secrets",
        "secrets",
        &["nothing verifies"],
    );
    assert_fault(
        &one("secrets = [\"s\"]"),
        "source[0].preset",
        "[[source]]",
        &["verify = \\\"none\\\""],
    );
    assert_fault(
        &one("preset = \"discord\""),
        "source[0].public_key",
        "[[source]]",
        &["nothing verifies"],
    );
    assert_fault(
        &one("preset = \"salesforce\""),
        "source[0].account",
        "[[source]]",
        &["nothing verifies"],
    );
    assert_fault(
        &one("preset = \"cloudevents\""),
        "source[0].secrets",
        "[[source]]",
        &["token"],
    );
    assert_fault(
        &one("preset = \"query_token\""),
        "source[0].token",
        "[[source]]",
        &["nothing verifies"],
    );
    // A token beside is not enough where the provider signs.
    let token = "preset = \"stripe\"\ntoken = \"t\"";
    assert_fault(
        &one(token),
        "source[0].secrets",
        "[[source]]",
        &["nothing verifies"],
    );
}

#[test]
fn to_verify_nothing_has_to_be_said_and_is_said_aloud() {
    let home = Home::new();
    let config = source("open", "verify = \"none\"") + &github("gh", "");
    let path = home.write_config(&(listen(&home, "") + &config));
    let ran = home.run(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let aloud = "[[source]]\n# outboxd does not verify the calls";
    let (_, open) = ran
        .stdout
        .split_once(aloud)
        .unwrap_or_else(|| panic!("{ran:?}"));
    assert!(
        open.lines().nth(1) == Some("id = \"open\"") && !open.contains(aloud),
        "{ran:?}"
    );
    // It takes what comes.
    let daemon = start(&home, &config);
    let answer = super::Call::post(b"anything").send(&daemon, "open");
    super::assert_empty(&answer, 200);
    assert_eq!(super::types(&daemon), ["custom.unnamed"]);
    let taken = super::events(&daemon)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        super::event(&daemon, &taken)["received"]["verified_by"],
        "nothing"
    );
}

#[test]
fn what_is_unknown_is_a_fault_with_what_was_meant() {
    assert_fault(
        &source("gh", "preset = \"githup\"\nsecrets = [\"s\"]"),
        "source[0].preset",
        "preset",
        &["githup", "did you mean", "github"],
    );
    assert_fault(
        &source(
            "gh",
            "preset = \"github\"\nsecret = [\"s\"]\nsecrets = [\"s\"]",
        ),
        "source[0].secret",
        "secret ",
        &[],
    );
    assert_fault(
        &source(
            "own",
            "secrets = [\"s\"]\nverify = { signatur = \"header:x\" }",
        ),
        "source[0].verify",
        "verify",
        &["signatur", "signature"],
    );
    assert_fault(
        &source(
            "own",
            "secrets = [\"s\"]\nverify = { signature = \"heder:x\" }",
        ),
        "source[0].verify",
        "verify",
        &["header:"],
    );
}

#[test]
fn a_provider_that_signs_the_url_needs_a_public_url() {
    for preset in ["hubspot", "twilio", "square", "trello"] {
        let config = source(preset, &format!("preset = \"{preset}\"\nsecrets = [\"s\"]"));
        assert_fault(&config, "source[0].preset", "preset", &["public_url"]);
    }
    let own = "secrets = [\"s\"]\nverify = { signature = \"header:x\", content = \"{url}{body}\" }";
    let home = Home::new();
    let found = faults(&home, &source("own", own));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].to_string().contains("public_url"), "{found:#?}");
}

#[test]
fn secrets_stand_in_one_place() {
    let home = Home::new();
    let file = home.path("secret");
    std::fs::write(&file, "s\n").unwrap();
    let both = format!("preset = \"github\"\nsecrets = [\"a\"]\nsecret_files = [{file:?}]");
    assert_fault(
        &source("gh", &both),
        "source[0].secret_files",
        "secret_files",
        &["secrets"],
    );
    for (key, preset) in [("token", "github"), ("verify_token", "meta")] {
        let both = format!(
            "preset = \"{preset}\"\nsecrets = [\"a\"]\n{key} = \"t\"\n{key}_file = {file:?}"
        );
        let file_key = format!("{key}_file");
        assert_fault(
            &source("x", &both),
            &format!("source[0].{file_key}"),
            &file_key,
            &[key],
        );
    }
    let none = "preset = \"github\"\nsecret_files = [\"/nonexistent/secret\"]";
    assert_fault(
        &source("gh", none),
        "source[0].secret_files[0]",
        "secret_files",
        &[],
    );
}

#[test]
fn ids_are_names_and_each_is_there_once() {
    let two = github("gh", "") + &github("other", "") + &github("gh", "");
    let home = Home::new();
    let found = faults(&home, &two);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["key"], "source[2].id");
    assert!(found[0].to_string().contains("source[0]"), "{found:#?}");
    let text = std::fs::read_to_string(home.path("outboxd.toml")).unwrap();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| *line == "id = \"gh\"");
    let last = lines.last().unwrap().0 as u64 + 1;
    assert_eq!(found[0]["line"], last);
    assert_fault(&github("a b", ""), "source[0].id", "id", &["a b"]);
    assert_fault(
        &github("src_01ARZ3NDEKTSV4RRFFQ69G5FAV", ""),
        "source[0].id",
        "id",
        &["API"],
    );
    let nameless = format!("\n[[source]]\npreset = \"github\"\nsecrets = [\"{SECRET}\"]\n");
    assert_fault(&nameless, "source[0].id", "[[source]]", &["id"]);
}

#[test]
fn each_key_is_checked() {
    let with = |line: &str| github("gh", line);
    for (line, key) in [
        ("type = \"{{ nope( }}\"", "type"),
        ("forward_headers = [\"authorization\"]", "forward_headers"),
        ("tolerance = \"5m\"", "tolerance"),
        ("allow_from = [\"10.0.0.1\"]", "allow_from"),
        ("split = \"items\"", "split"),
        ("rate_limit = \"fast\"", "rate_limit"),
        ("max_event_size = \"big\"", "max_event_size"),
        ("idempotency_window = \"0s\"", "idempotency_window"),
        ("enabled = \"yes\"", "enabled"),
        ("app_id = \"x\"", "app_id"),
        ("tenant = \"a b\"", "tenant"),
        ("verify_token = \"x\"", "verify_token"),
    ] {
        assert_fault(&with(line), &format!("source[0].{key}"), key, &[]);
    }
    let zalo = source("z", "preset = \"zalo\"\nsecrets = [\"s\"]");
    assert_fault(&zalo, "source[0].app_id", "[[source]]", &["app_id"]);
    let whsec = source(
        "w",
        "preset = \"standard_webhooks\"\nsecrets = [\"not base64!\"]",
    );
    assert_fault(&whsec, "source[0].secrets", "secrets", &["whsec_"]);
}

/// All at once, and none of them repeats a secret.
#[test]
fn all_faults_are_told_at_once_without_their_secrets() {
    let home = Home::new();
    let secret = "hunter2-hunter2";
    let config = source(
        "a",
        &format!("preset = \"githup\"\nsecrets = [\"{secret}\"]"),
    ) + &source(
        "b",
        &format!("preset = \"meta\"\nsecrets = [\"{secret}\"]\nverify_token = [\"{secret}\"]"),
    ) + &source(
        "c",
        &format!("preset = \"github\"\nsecrets = \"{secret}\"\nrate_limit = \"x\""),
    ) + &source(
        "a",
        &format!("preset = \"standard_webhooks\"\nsecrets = [\"{secret}\"]"),
    );
    let found = faults(&home, &config);
    assert!(found.len() >= 4, "{found:#?}");
    let path = home.path("outboxd.toml");
    let ran = home.run(&["check", "--config", path.to_str().unwrap()]);
    assert!(!format!("{ran:?}{found:?}").contains("hunter2"), "{ran:?}");
}
