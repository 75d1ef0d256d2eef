//! `outboxd health`, `completions`, `man` and `config schema`: what packages, containers and editors
//! use.

use std::net::TcpListener;

use crate::harness::Home;

#[test]
fn health_succeeds_when_the_daemon_is_ready_and_needs_no_token() {
    let mut home = Home::new();
    std::fs::write(home.path("token"), "s3cret-token").unwrap();
    // The token file is not readable, and not needed.
    home.set_env("OUTBOXD_TOKEN_FILE", "/nonexistent/token");
    let token = home.path("token");
    let auth = format!(
        "[auth]\ntokens = [{{ name = \"a\", token_file = {token:?}, scope = \"admin\" }}]\n"
    );
    let daemon = home.start(&auth);
    let config = home.path("outboxd.toml").display().to_string();
    let socket = home.path("api.sock").display().to_string();
    let url = daemon.url();
    for reach in [["--url", &url], ["--unix", &socket], ["--config", &config]] {
        let ran = home.run(&["health", reach[0], reach[1]]);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(0), "ready\n"),
            "{ran:?}"
        );
        let json = home.run(&["health", "--json", reach[0], reach[1]]).json();
        assert_eq!(json, serde_json::json!({"ready": true}));
    }
    daemon.stop();
    let ran = home.run(&["health", "--json", "--url", &url]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(said["ready"], false);
    assert!(ran.stderr.contains("cannot reach outboxd"), "{ran:?}");
}

#[test]
fn health_does_not_wait_for_a_daemon_that_hangs() {
    let home = Home::new();
    // The kernel accepts connections, and nothing reads from them.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hung.local_addr().unwrap());
    let ran = home.run(&["health", "--url", &url, "--timeout", "50ms"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("does not answer within 50ms"),
        "{ran:?}"
    );
    for bad in ["0s", "5", "soon"] {
        let ran = home.run(&["health", "--url", &url, "--timeout", bad]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
}

/// The commands and subcommands as their words, of `outboxd WORDS --help`.
fn commands(home: &Home, words: &[&str]) -> Vec<Vec<String>> {
    let help = home.run(&[words, &["--help"]].concat());
    assert_eq!(help.code, Some(0), "{words:?}: {help:?}");
    let Some((_, list)) = help.stdout.split_once("\nCommands:\n") else {
        return Vec::new();
    };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let mut found = Vec::new();
    for name in names.filter(|name| *name != "help") {
        let path = [words, &[name]].concat();
        found.push(path.iter().map(|word| (*word).to_owned()).collect());
        found.extend(commands(home, &path));
    }
    found
}

#[test]
fn every_command_has_a_manual_page_and_is_completed() {
    let home = Home::new();
    let ran = home.run(&["man", "share/man1"]);
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    let mut pages: Vec<String> = std::fs::read_dir(home.path("share/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let all = commands(&home, &[]);
    let mut wanted: Vec<String> = all
        .iter()
        .map(|words| format!("outboxd-{}.1", words.join("-")))
        .collect();
    wanted.push("outboxd.1".to_owned());
    wanted.sort();
    assert_eq!(pages, wanted);
    assert!(wanted.len() > 30, "{wanted:?}");
    let page = std::fs::read_to_string(home.path("share/man1/outboxd-health.1")).unwrap();
    assert!(page.contains(".TH outboxd-health 1"), "{page}");
    assert!(page.contains("\\-\\-timeout"), "{page}");

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = home.run(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{shell}: {ran:?}");
        for words in &all {
            assert!(
                ran.stdout.contains(words.last().unwrap()),
                "{shell}: {words:?}"
            );
        }
    }
    assert_eq!(home.run(&["completions", "cmd.exe"]).code, Some(2));
    let file = home.path("share/man1/outboxd.1").display().to_string();
    let ran = home.run(&["man", &file]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains(&file), "{ran:?}");
}

#[test]
fn config_schema_prints_a_schema_that_the_example_fits() {
    let home = Home::new();
    let schema = home.run(&["config", "schema"]).json();
    assert_eq!(schema, home.run(&["config", "schema", "--json"]).json());
    let example = include_str!("../../config.example.toml");
    let example: toml::Table = toml::from_str(example).unwrap();
    let example = serde_json::to_value(example).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&example));
    assert!(!validator.is_valid(&serde_json::json!({"listn": {}})));
}
