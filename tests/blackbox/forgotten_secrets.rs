//! Secrets that were replaced leave the log: no file of it has them, neither as bytes nor as text.

use serde_json::{Value, json};

use crate::endpoint_api::{JSON, delete, id_of, made, patch};
use crate::harness::{Daemon, Home, Receiver, Seen, is_on_disk, wait_for};
use crate::signing::{assert_signed, from_base64};
use crate::sources;

/// So that a test reads little.
const SMALL: &str = "[outbox]\nsegment_size = \"4MiB\"\n";

fn is_in_log(home: &Home, needle: &[u8]) -> bool {
    is_on_disk(&home.data_dir().join("log"), needle)
}

/// The key of a secret in base64, and its bytes.
fn forms(secret: &str) -> [Vec<u8>; 2] {
    let text = secret.strip_prefix("whsec_").expect("a prefix");
    [text.as_bytes().to_vec(), from_base64(text)]
}

#[track_caller]
fn assert_in_log(home: &Home, secret: &str) {
    let found = forms(secret).iter().any(|form| is_in_log(home, form));
    assert!(found, "{secret} is not in the log");
}

#[track_caller]
fn wait_gone(home: &Home, daemon: &Daemon, secret: &str) {
    let gone = || {
        let found = forms(secret).iter().any(|form| is_in_log(home, form));
        (!found).then_some(())
    };
    wait_for(gone, || {
        format!("{secret} stays in the log\n{}", daemon.log_text())
    });
}

#[track_caller]
fn wait_text_gone(home: &Home, daemon: &Daemon, text: &str) {
    let gone = || (!is_in_log(home, text.as_bytes())).then_some(());
    wait_for(gone, || {
        format!("{text} stays in the log\n{}", daemon.log_text())
    });
}

#[track_caller]
fn rotated(daemon: &Daemon, id: &str, overlap: &str) -> String {
    let path = format!("/v1/endpoints/{id}/rotate");
    let body = json!({"overlap": overlap}).to_string();
    let answer = daemon.tcp.post_json(&path, body).expect(200);
    answer["secret"].as_str().unwrap().to_owned()
}

/// Sends an event and gives the request that brings it to this endpoint.
#[track_caller]
fn delivered(daemon: &Daemon, receiver: &Receiver, id: &str) -> Seen {
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, id, "delivered");
    let url = daemon.endpoint(id)["url"].as_str().unwrap().to_owned();
    let is_it = |one: &Seen| one.id() == event && url.ends_with(&one.path);
    let seen = receiver.wait_until("the event", |seen| seen.iter().any(is_it));
    seen.into_iter().find(is_it).unwrap()
}

/// An endpoint and its secret.
fn endpoint(daemon: &Daemon, receiver: &Receiver, path: &str) -> (String, String) {
    let made = made(daemon, json!({"url": receiver.url(path)}));
    (id_of(&made), made["secret"].as_str().unwrap().to_owned())
}

#[test]
fn a_secret_leaves_the_log_when_another_replaces_it() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(SMALL);
    let (id, first) = endpoint(&daemon, &receiver, "/one");
    let (kept, of_kept) = endpoint(&daemon, &receiver, "/kept");
    assert_in_log(&home, &first);
    let second = rotated(&daemon, &id, "0s");
    wait_gone(&home, &daemon, &first);
    assert_in_log(&home, &second);
    daemon.kill();
    let daemon = home.start(SMALL);
    assert_signed(&delivered(&daemon, &receiver, &id), &[&second]);
    assert_signed(&delivered(&daemon, &receiver, &kept), &[&of_kept]);
    assert_eq!(daemon.status()["damaged_records"], 0);
    // Nor does any other change of the endpoint leave what it replaces.
    let header = |value: &str| json!({"headers": {"x-token": value}});
    patch(&daemon.tcp, &id, &header("lipstick-4711")).expect(200);
    assert!(is_in_log(&home, b"lipstick-4711"));
    patch(&daemon.tcp, &id, &header("lipstick-4712")).expect(200);
    wait_text_gone(&home, &daemon, "lipstick-4711");
    assert!(is_in_log(&home, b"lipstick-4712"));
    assert_in_log(&home, &second);
    assert_eq!(delete(&daemon.tcp, &id).status, 204);
    wait_gone(&home, &daemon, &second);
    wait_text_gone(&home, &daemon, "lipstick-4712");
    daemon.kill();
    let daemon = home.start(SMALL);
    assert_eq!(daemon.tcp.get(&format!("/v1/endpoints/{id}")).status, 404);
    assert_signed(&delivered(&daemon, &receiver, &kept), &[&of_kept]);
    assert_in_log(&home, &of_kept);
    assert_eq!(daemon.status()["damaged_records"], 0);
}

#[test]
fn a_secret_leaves_the_log_when_its_overlap_ends() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(SMALL);
    let (id, first) = endpoint(&daemon, &receiver, "/one");
    let second = rotated(&daemon, &id, "1h");
    let third = rotated(&daemon, &id, "1h");
    // All count, and only what is in force has them.
    assert_signed(
        &delivered(&daemon, &receiver, &id),
        &[&third, &second, &first],
    );
    for secret in [&first, &second, &third] {
        assert_in_log(&home, secret);
    }
    // The overlap of the later rotation is the shorter one.
    let fourth = rotated(&daemon, &id, "1s");
    daemon.kill();
    let daemon = home.start(SMALL);
    for secret in [&first, &second, &third] {
        wait_gone(&home, &daemon, secret);
    }
    assert_signed(&delivered(&daemon, &receiver, &id), &[&fourth]);
    daemon.kill();
    let daemon = home.start(SMALL);
    assert_signed(&delivered(&daemon, &receiver, &id), &[&fourth]);
    assert_in_log(&home, &fourth);
    // The next secret is forgotten in its turn.
    let fifth = rotated(&daemon, &id, "1s");
    wait_gone(&home, &daemon, &fourth);
    assert_signed(&delivered(&daemon, &receiver, &id), &[&fifth]);
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// The signing keys in the log, which nobody is shown.
fn signing_keys(home: &Home) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home.data_dir().join("log")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        let mut rest = &bytes[..];
        while let Some(at) = rest.windows(5).position(|part| part == b"whsk_") {
            rest = &rest[at + 5..];
            let key = rest.split(|byte| *byte == b'"').next().unwrap();
            found.push(String::from_utf8_lossy(key).into_owned());
        }
    }
    found
}

/// With a key of Ed25519 beside the secret both are replaced.
#[test]
fn signing_keys_leave_the_log_too() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(SMALL);
    let definition = json!({"url": receiver.url("/"), "signatures": ["v1", "v1a"]});
    let id = id_of(&made(&daemon, definition));
    let before = signing_keys(&home);
    assert_eq!(before.len(), 1);
    rotated(&daemon, &id, "3s");
    let keys = wait_for(
        || Some(signing_keys(&home)).filter(|keys| *keys != before),
        || "no key is new".to_owned(),
    );
    assert!(keys.contains(&before[0]), "it signs no more: {keys:?}");
    let after = wait_for(
        || Some(signing_keys(&home)).filter(|keys| keys.len() == 1),
        || format!("{} is not the only key", signing_keys(&home).len()),
    );
    assert_ne!(before, after);
    daemon.kill();
    let daemon = home.start(SMALL);
    daemon.send("a", "1");
    let seen = receiver.wait(1);
    let signatures = seen[0].header("webhook-signature").split(' ');
    let versions: Vec<&str> = signatures.map(|one| &one[..3]).collect();
    assert_eq!(versions, ["v1,", "v1a"]);
}

fn github(home: &Home, daemon: &Daemon, secret: &str) {
    let definition = json!({"id": "gh", "preset": "github", "secrets": [secret]});
    sources::made(daemon, &definition);
    assert!(is_in_log(home, secret.as_bytes()));
}

fn rotate_source(daemon: &Daemon, body: &Value) {
    let rotate = |body: String| daemon.tcp.post_json("/v1/sources/gh/rotate", body);
    rotate(body.to_string()).expect(200);
}

#[test]
fn secrets_of_sources_leave_the_log_when_they_are_replaced() {
    let home = Home::new();
    let daemon = sources::start(&home, SMALL);
    github(&home, &daemon, "lipstick-1");
    rotate_source(&daemon, &json!({"secret": "lipstick-2", "overlap": "0s"}));
    wait_text_gone(&home, &daemon, "lipstick-1");
    let secrets = json!({"secrets": ["lipstick-3"]});
    sources::patch(&daemon.tcp, "gh", &secrets).expect(200);
    wait_text_gone(&home, &daemon, "lipstick-2");
    assert!(is_in_log(&home, b"lipstick-3"));
    daemon.kill();
    let daemon = sources::start(&home, SMALL);
    let call = |secret: &str, delivery: &str| {
        sources::assert_empty(&sources::signed(secret, delivery).send(&daemon, "gh"), 200);
    };
    call("lipstick-3", "1");
    // It is verified by two secrets, and when the overlap ends by one.
    rotate_source(&daemon, &json!({"secret": "lipstick-4", "overlap": "3s"}));
    call("lipstick-3", "2");
    let changed_at = sources::shown(&daemon, "gh")["changed_at"].clone();
    wait_text_gone(&home, &daemon, "lipstick-3");
    call("lipstick-4", "3");
    assert_eq!(sources::shown(&daemon, "gh")["secrets"], json!(["…"]));
    assert_eq!(sources::shown(&daemon, "gh")["changed_at"], changed_at);
    let gone = daemon.tcp.request("DELETE", "/v1/sources/gh", &JSON, b"");
    assert_eq!(gone.status, 204);
    wait_text_gone(&home, &daemon, "lipstick-4");
    // The same id again is another source.
    github(&home, &daemon, "lipstick-5");
    daemon.kill();
    let daemon = sources::start(&home, SMALL);
    sources::assert_empty(&sources::signed("lipstick-5", "4").send(&daemon, "gh"), 200);
    assert!(is_in_log(&home, b"lipstick-5"));
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// The overlap ends while no daemon runs, and while the file has a source of the same id.
#[test]
fn an_overlap_that_ends_while_the_source_is_not_in_force_ends_all_the_same() {
    let home = Home::new();
    let daemon = sources::start(&home, SMALL);
    github(&home, &daemon, "lipstick-1");
    rotate_source(&daemon, &json!({"secret": "lipstick-2", "overlap": "1s"}));
    assert!(is_in_log(&home, b"lipstick-1"));
    daemon.kill();
    let daemon = sources::start(&home, &(SMALL.to_owned() + &sources::github("gh", "")));
    wait_text_gone(&home, &daemon, "lipstick-1");
    sources::assert_empty(&sources::push("1", b"{}").send(&daemon, "gh"), 200);
    daemon.kill();
    let daemon = sources::start(&home, SMALL);
    sources::assert_empty(&sources::signed("lipstick-2", "2").send(&daemon, "gh"), 200);
}
