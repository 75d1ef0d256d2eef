//! `outboxd sources`: for people and for programs.

use serde_json::{Value, json};

use super::{JSON, PUBLIC_URL, SECRET, assert_empty, github, push, shown, start};
use crate::harness::{Daemon, Home, Ran};

fn on(home: &Home, daemon: &Daemon, words: &[&str]) -> Ran {
    let url = daemon.url();
    home.run(&[words, &["--url", &url]].concat())
}

#[track_caller]
fn text(home: &Home, daemon: &Daemon, words: &[&str]) -> String {
    let ran = on(home, daemon, words);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?}");
    assert!(!ran.stdout.contains('\u{1b}'), "{words:?}");
    ran.stdout
}

#[track_caller]
fn parsed(home: &Home, daemon: &Daemon, words: &[&str]) -> Value {
    on(home, daemon, &[words, &["--json"]].concat()).json()
}

fn file(home: &Home, name: &str, content: &str) -> String {
    let path = home.path(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn a_source_from_its_making_to_its_end() {
    let home = Home::new();
    let daemon = start(&home, "");
    let secret = file(&home, "secret", &format!("{SECRET}\n"));
    #[rustfmt::skip]
    let said = text(&home, &daemon, &[
        "sources", "add", "github", "--id", "gh", "--secret-file", &secret, "--tenant", "acme",
        "--type", "x.{{ type }}", "--forward-headers", "x-a,x-b", "--allow-from", "127.0.0.0/8",
        "--rate-limit", "50/s", "--max-event-size", "2MiB", "--idempotency-window", "1h",
        "--split", "/items",
    ]);
    // What to give to the provider.
    assert!(said.contains(&format!("{PUBLIC_URL}/in/gh")), "{said}");
    let source = shown(&daemon, "gh");
    for (key, wanted) in [
        ("tenant", json!("acme")),
        ("type", json!("x.{{ type }}")),
        ("forward_headers", json!(["x-a", "x-b"])),
        ("allow_from", json!(["127.0.0.0/8"])),
        ("rate_limit", json!("50/s")),
        ("max_event_size", json!("2MiB")),
        ("idempotency_window", json!("1h")),
        ("split", json!("/items")),
        ("secrets", json!(["…"])),
    ] {
        assert_eq!(source[key], wanted, "{key}");
    }
    assert_empty(&push("1", b"{}").send(&daemon, "gh"), 200);
    assert_empty(&push("2", b"{}").body(b"[]").send(&daemon, "gh"), 401);
    let said = text(&home, &daemon, &["sources", "show", "gh"]);
    for part in [
        "gh",
        "github",
        "acme",
        "accepted",
        "1 bad_signature",
        "127.0.0.1",
        "the API",
    ] {
        assert!(said.contains(part), "{part} is not in:\n{said}");
    }
    let said = text(&home, &daemon, &["sources", "list"]);
    assert!(
        said.contains("gh") && said.contains("github") && said.contains("enabled"),
        "{said}"
    );
    let said = text(&home, &daemon, &["sources", "list", "--tenant", "other"]);
    assert_eq!(said, "no sources\n");
    let changed = [
        "sources",
        "set",
        "gh",
        "--enabled",
        "false",
        "--default",
        "type,rate-limit",
    ];
    text(&home, &daemon, &changed);
    let source = shown(&daemon, "gh");
    assert_eq!(
        json!([source["enabled"], source["type"], source["rate_limit"]]),
        json!([false, "", ""])
    );
    let removed = text(&home, &daemon, &["sources", "remove", "gh"]);
    assert!(removed.contains("gh"), "{removed}");
    daemon.tcp.get("/v1/sources/gh").problem(404);
}

#[test]
fn programs_get_what_the_api_says() {
    let home = Home::new();
    let daemon = start(&home, "");
    let secret = file(&home, "secret", SECRET);
    let added = parsed(
        &home,
        &daemon,
        &["sources", "add", "github", "--secret-file", &secret],
    );
    let id = added["id"].as_str().unwrap();
    assert!(id.starts_with("src_"), "{added}");
    assert_eq!(
        parsed(&home, &daemon, &["sources", "show", id]),
        shown(&daemon, id)
    );
    let listed = parsed(&home, &daemon, &["sources", "list"]);
    assert_eq!(listed, daemon.tcp.get("/v1/sources").expect(200));
    let tested = parsed(&home, &daemon, &["sources", "test", id]);
    assert_eq!(
        (
            &tested["status"],
            tested["events"].as_array().unwrap().len()
        ),
        (&200.into(), 1)
    );
    let set = parsed(
        &home,
        &daemon,
        &[
            "sources",
            "set",
            id,
            "--tolerance",
            "1m",
            "--preset",
            "slack",
        ],
    );
    assert_eq!(
        (&set["preset"], &set["tolerance"]),
        (&"slack".into(), &"1m".into())
    );
    let removed = parsed(&home, &daemon, &["sources", "remove", id]);
    assert_eq!(removed["deleted"], true);
    assert_eq!(
        parsed(&home, &daemon, &["sources", "list"])["data"],
        json!([])
    );
    let pages = [("a", 1), ("b", 2), ("c", 3)];
    for (id, _) in pages {
        let definition = json!({"id": id, "preset": "github", "secrets": ["s"]});
        let body = definition.to_string();
        daemon
            .tcp
            .request("POST", "/v1/sources", &JSON, body.as_bytes())
            .expect(201);
    }
    let first = parsed(&home, &daemon, &["sources", "list", "--limit", "2"]);
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let cursor = first["next"].as_str().unwrap();
    let second = parsed(&home, &daemon, &["sources", "list", "--cursor", cursor]);
    assert_eq!(second["data"][0]["id"], "c");
}

#[test]
fn tokens_and_recipes_come_from_files() {
    let home = Home::new();
    let daemon = start(&home, "");
    let secret = file(&home, "secret", "s3cret");
    let token = file(&home, "token", "t0ken\n");
    let recipe = file(
        &home,
        "recipe",
        r#"{"signature": "header:x-mac", "id": "body:/id"}"#,
    );
    let recipe = format!("@{recipe}");
    #[rustfmt::skip]
    parsed(&home, &daemon, &[
        "sources", "add", "meta", "--id", "fb", "--secret-file", &secret,
        "--verify-token-file", &token, "--url-token-file", &token,
    ]);
    let source = shown(&daemon, "fb");
    assert_eq!(
        (&source["verify_token"], &source["token"]),
        (&"…".into(), &"…".into())
    );
    let hello = "hub.mode=subscribe&hub.challenge=7&hub.verify_token=t0ken&token=t0ken";
    assert_eq!(
        super::Call::new("GET", hello).send(&daemon, "fb").text(),
        "7"
    );
    #[rustfmt::skip]
    let own = parsed(&home, &daemon, &[
        "sources", "add", "--id", "own", "--verify", &recipe, "--secret-file", &secret,
    ]);
    assert_eq!(
        own["verify"],
        json!({"signature": "header:x-mac", "id": "body:/id"})
    );
    let tested = text(
        &home,
        &daemon,
        &["sources", "test", "own", "--body", "{\"id\":\"7\"}"],
    );
    assert!(tested.starts_with("answered 200  evt_"), "{tested}");
    let again = text(
        &home,
        &daemon,
        &["sources", "test", "own", "--body", "{\"id\":\"7\"}"],
    );
    assert_eq!(again, tested, "it is a duplicate");
    let piped = home.run_with(
        &[
            "sources",
            "add",
            "github",
            "--id",
            "piped",
            "--secret-file",
            "-",
            "--url",
            &daemon.url(),
        ],
        format!("{SECRET}\n").as_bytes(),
    );
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert_empty(&push("1", b"{}").send(&daemon, "piped"), 200);
}

#[test]
fn a_rotation_prints_the_secret_that_was_made() {
    let home = Home::new();
    let daemon = start(&home, "");
    let first = file(&home, "first", SECRET);
    text(
        &home,
        &daemon,
        &[
            "sources",
            "add",
            "github",
            "--id",
            "gh",
            "--secret-file",
            &first,
        ],
    );
    let printed = text(
        &home,
        &daemon,
        &["sources", "rotate", "gh", "--overlap", "1h"],
    );
    let secret = printed.trim_end();
    assert_eq!(printed, format!("{secret}\n"));
    assert!(secret.len() >= 32 && !secret.contains(' '), "{printed}");
    let mac = super::crypto::hmac_sha256(secret.as_bytes(), &[b"{}"]);
    let signature = format!("sha256={}", super::crypto::hex(&mac));
    let call = push("1", b"{}").with("x-hub-signature-256", &signature);
    assert_empty(&call.send(&daemon, "gh"), 200);
    assert_empty(&push("2", b"{}").send(&daemon, "gh"), 200);
    let given = file(&home, "given", "the-given-one");
    let said = text(
        &home,
        &daemon,
        &[
            "sources",
            "rotate",
            "gh",
            "--secret-file",
            &given,
            "--overlap",
            "0s",
        ],
    );
    assert!(!said.contains("the-given-one"), "{said}");
    assert_empty(&push("3", b"{}").send(&daemon, "gh"), 401);
}

#[test]
fn what_is_wrong_with_a_command_is_2_and_with_a_request_1() {
    let home = Home::new();
    let daemon = start(
        &home,
        &(github("gh", "") + &github("off", "enabled = false")),
    );
    let secret = file(&home, "secret", "s");
    let empty = file(&home, "empty", "\n");
    for words in [
        &["sources"][..],
        &["sources", "set", "gh"],
        &["sources", "set", "gh", "--type", "a", "--default", "type"],
        &["sources", "set", "gh", "--enabled", "maybe"],
        &["sources", "show"],
        &["sources", "show", "../events"],
        &["sources", "remove", "a/b"],
        &["sources", "add", "github", "--secret-file", &empty],
        &["sources", "add", "--verify", "{nope"],
        &["sources", "explode"],
    ] {
        let ran = on(&home, &daemon, words);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(2), ""),
            "{words:?} {ran:?}"
        );
    }
    for (words, said) in [
        (&["sources", "show", "none"][..], "no such source"),
        (&["sources", "remove", "none"], "no such source"),
        (&["sources", "test", "none"], "no such source"),
        (&["sources", "rotate", "none"], "no such source"),
        (
            &["sources", "set", "gh", "--tolerance", "5m"],
            "configuration file",
        ),
        (&["sources", "remove", "gh"], "configuration file"),
        (&["sources", "rotate", "gh"], "configuration file"),
        (
            &["sources", "add", "githup", "--secret-file", &secret],
            "did you mean",
        ),
        (&["sources", "add", "github"], "`secrets`"),
        (
            &[
                "sources",
                "add",
                "github",
                "--id",
                "gh",
                "--secret-file",
                &secret,
            ],
            "already",
        ),
        (
            &[
                "sources",
                "add",
                "github",
                "--id",
                "a b",
                "--secret-file",
                &secret,
            ],
            "`id`",
        ),
        (
            &["sources", "add", "github", "--secret-file", "/nonexistent"],
            "No such file",
        ),
        (&["sources", "test", "off"], "404: disabled"),
    ] {
        let ran = on(&home, &daemon, words);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(1), ""),
            "{words:?} {ran:?}"
        );
        assert!(ran.stderr.contains(said), "{words:?} {ran:?}");
    }
    // A test that is refused tells programs what it was, and fails all the same.
    let ran = on(&home, &daemon, &["sources", "test", "off", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&told["status"], &told["reason"]),
        (&404.into(), &"disabled".into())
    );
    let gone = home.run(&["sources", "list", "--unix", "/nonexistent.sock"]);
    assert_eq!((gone.code, gone.stdout.as_str()), (Some(1), ""), "{gone:?}");
}
