//! Stores that former versions wrote, in `tests/stores/`, are opened by this one with all that was
//! in them.
//!
//! Each has a directory there: `data.tar.gz` (the data directory without its index, which does not
//! outlive a boot), `config.toml`, where `RECEIVER` stands for the URL of a receiver, and
//! `shown.json`, what the API showed of it, by path. A later version may show more, never less or
//! something else. The spelling of single records and frames is held by the golden bytes of
//! `src/outbox/record/` and `src/outbox/log/tests/golden.rs`.
//!
//! Before a change of `FORMAT`, of the log's version or of a record goes in, write a store of the
//! format as it is, under a new name, and never change those that are there:
//!
//!     OUTBOXD_STORE=NAME cargo test --test blackbox write_a_store -- --ignored
//!
//! Retention depends on the clock: finished events of these stores are kept until ten years after
//! they were written, which is the longest that a configuration can set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};

use crate::endpoint_api::{JSON, delete, id_of, made, patch};
use crate::harness::{Answer, Daemon, Home, Receiver, wait_for};
use crate::signing::assert_signed;

/// The configuration with which a new store is written.
const CONFIG: &str = r#"
[ingest]
idempotency_window = "3650d"

[retention]
delivered = "3650d"
dead = "3650d"
held = "3650d"

[[endpoint]]
id = "ok"
url = "RECEIVER/ok"
types = ["a.*"]

[[endpoint]]
id = "down"
url = "RECEIVER/down"
types = ["a.*"]
retry = { schedule = ["3650d"], jitter = 0.0 }

[[endpoint]]
id = "broken"
url = "RECEIVER/broken"
types = ["a.*"]
retry = { schedule = ["10ms"] }

[[endpoint]]
id = "off"
url = "RECEIVER/off"
types = ["a.*"]

[[endpoint]]
id = "replayed"
url = "RECEIVER/replayed"
types = ["job.*"]
retry = { schedule = ["1ms"] }
"#;
/// The events of it that a job replays, one a minute.
const REPLAYED: usize = 5;
const KEYED: &str = r#"{"type": "a.keyed", "data": [1, 2.50], "key": "order-7",
    "idempotency_key": "k1", "channels": ["eu"], "headers": {"x-shop": "7"}}"#;

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores")
}

#[track_caller]
fn tar(dir: &Path, words: &[&str]) {
    let done = Command::new("tar").current_dir(dir).args(words).output();
    let done = done.expect("tar is installed");
    assert!(done.status.success(), "tar {words:?}: {done:?}");
}

/// Asserts that `shown` holds what `known` does; objects may have further fields.
#[track_caller]
fn assert_holds(shown: &Value, known: &Value, place: &str) {
    match (shown, known) {
        (Value::Object(shown), Value::Object(known)) => {
            for (key, known) in known {
                let shown = shown.get(key).unwrap_or(&Value::Null);
                assert_holds(shown, known, &format!("{place} {key}"));
            }
        }
        (Value::Array(shown), Value::Array(known)) => {
            assert_eq!(shown.len(), known.len(), "{place}: {shown:?}");
            for (at, (shown, known)) in shown.iter().zip(known).enumerate() {
                assert_holds(shown, known, &format!("{place} {at}"));
            }
        }
        _ => assert_eq!(shown, known, "{place}"),
    }
}

/// The name of an object in an opened store, for the steps after the reading.
fn named<'a>(shown: &'a Value, what: &str) -> &'a str {
    shown["named"][what].as_str().expect("shown.json names it")
}

/// `prepare` does something to the unpacked data directory before the start.
fn opened_with_all_that_was_in_it(store: &Path, prepare: impl Fn(&Home)) {
    let shown: Value =
        serde_json::from_slice(&fs::read(store.join("shown.json")).unwrap()).unwrap();
    let receiver = Receiver::ok();
    let home = Home::new();
    fs::create_dir(home.data_dir()).unwrap();
    let archive = store.join("data.tar.gz");
    tar(&home.data_dir(), &["-xzf", archive.to_str().unwrap()]);
    let config = fs::read_to_string(store.join("config.toml")).unwrap();
    prepare(&home);
    let daemon = home.start(&config.replace("RECEIVER", &receiver.url("")));
    assert_eq!(daemon.status()["damaged_records"], 0);
    for (path, known) in shown["paths"].as_object().unwrap() {
        let answer = daemon.tcp.get(path);
        let known_status = known["status"].as_u64().unwrap();
        assert_eq!(u64::from(answer.status), known_status, "{path}");
        assert_holds(&answer.json(), &known["body"], path);
    }
    // The store still has the event's idempotency key.
    let again = daemon
        .tcp
        .post_json("/v1/events", named(&shown, "keyed_body"));
    let again = again.expect(202);
    assert_eq!(again["id"], named(&shown, "keyed"));
    assert_eq!(again["duplicate"], true);
    // The job goes on: nothing else leads to an attempt at this endpoint.
    receiver.wait_until("a replay that the job makes", |seen| {
        seen.iter().any(|one| one.path == "/replayed")
    });
    // Pending deliveries are delivered, signed with the stored secret.
    let (customer, later) = (named(&shown, "customer"), named(&shown, "later"));
    let url = json!({"url": receiver.url("/customer")});
    patch(&daemon.tcp, customer, &url).expect(200);
    let retry = format!("/v1/events/{later}/deliveries/{customer}/retry");
    daemon.tcp.post(&retry).expect(202);
    daemon.wait_status(later, customer, "delivered");
    let seen = receiver.seen();
    let seen = seen.iter().find(|one| one.path == "/customer").unwrap();
    assert_eq!(seen.id(), later);
    assert_signed(seen, &[named(&shown, "secret")]);
    assert!(daemon.stop().success());
}

/// Does this with each store of a former version.
fn with_each(prepare: impl Fn(&Home)) {
    let mut found = 0;
    for store in fs::read_dir(stores()).unwrap() {
        let store = store.unwrap().path();
        eprintln!("{}", store.display());
        opened_with_all_that_was_in_it(&store, &prepare);
        found += 1;
    }
    assert!(found > 0);
}

#[test]
fn stores_of_former_versions_are_opened_with_all_that_was_in_them() {
    with_each(|home| {
        let dir = home.data_dir();
        let verified = home.run(&["verify-store", dir.to_str().unwrap(), "--json"]);
        assert_eq!(verified.json()["ok"], true);
    });
}

/// The header of the segment that was made ahead is damaged, so a salvage writes all of the log
/// again.
#[test]
fn salvages_of_former_stores_have_all_that_was_in_them() {
    with_each(|home| {
        let (dir, into) = (home.data_dir(), home.path("salvaged"));
        let mut segments: Vec<PathBuf> = fs::read_dir(dir.join("log"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        segments.sort();
        let spare = segments.last().unwrap();
        let mut bytes = fs::read(spare).unwrap();
        bytes[20] ^= 1;
        fs::write(spare, bytes).unwrap();
        let (from, to) = (dir.to_str().unwrap(), into.to_str().unwrap());
        let ran = home.run(&["verify-store", from, "--salvage", to, "--json"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(found["events"], json!([]));
        // Nothing of the old log is left, as a file or in one.
        let first = segments[0].file_name().unwrap();
        assert!(!into.join("log").join(first).exists());
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(&into, &dir).unwrap();
    });
}

/// Makes deliveries that are dead, and a job that has replayed the first of them.
fn begin_a_job(daemon: &Daemon, is_well: &AtomicBool) {
    for _ in 0..REPLAYED {
        let event = daemon.send("job.made", "null");
        daemon.wait_status(&event, "replayed", "dead");
    }
    is_well.store(true, Ordering::SeqCst);
    let slowly = json!({"rate": "1/m"}).to_string();
    let answer = daemon
        .tcp
        .post_json("/v1/endpoints/replayed/replay", slowly);
    assert_eq!(answer.expect(202)["matched"], REPLAYED);
    let one_is_done = || {
        let path = "/v1/deliveries?endpoint=replayed&status=delivered";
        let delivered = daemon.tcp.get(path).expect(200);
        (delivered["data"].as_array()?.len() == 1).then_some(())
    };
    wait_for(one_is_done, || "the first replay does not end".to_owned());
}

/// Fills a store with something of everything. Gives the paths to remember and the names.
fn fill(daemon: &Daemon) -> (Vec<String>, Value) {
    daemon.tcp.post("/v1/endpoints/off/disable");
    let customer = made(
        daemon,
        json!({"url": "http://127.0.0.1:1/", "types": ["c.*", "a.extra"], "tenant": "default",
            "description": "a customer", "headers": {"x-a": "b"}, "ordering": "key",
            "filter": {"data": {"amount": {"$gte": 100}}}, "max_in_flight": 3}),
    );
    let customer = id_of(&customer);
    let deleted = id_of(&made(
        daemon,
        json!({"url": "http://127.0.0.1:1/", "types": ["none"]}),
    ));
    assert_eq!(delete(&daemon.tcp, &deleted).status, 204);
    let source = json!({"id": "github", "preset": "github", "secrets": ["a secret of GitHub's"]});
    daemon
        .tcp
        .post_json("/v1/sources", source.to_string())
        .expect(201);

    let keyed = daemon.tcp.post_json("/v1/events", KEYED).expect(202);
    let keyed = keyed["id"].as_str().unwrap().to_owned();
    let first = daemon.send("a.first", r#"{"first" :  1}"#);
    let opaque = daemon.tcp.request(
        "POST",
        "/v1/events/a.opaque",
        &[("content-type", "text/plain")],
        b"\x00 as it is",
    );
    let opaque = opaque.expect(202)["id"].as_str().unwrap().to_owned();
    let attributes = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "a.cloud",
        "subject": "o7", "data": {"n": 1}});
    let kind = [("content-type", "application/cloudevents+json")];
    let cloud = attributes.to_string();
    let cloud = daemon
        .tcp
        .request("POST", "/v1/events", &kind, cloud.as_bytes());
    let cloud = cloud.expect(202)["id"].as_str().unwrap().to_owned();
    let at = "\"deliver_at\": \"2099-01-01T00:00:00Z\"";
    let later = daemon.send_with("c.later", r#"{"amount": 100}"#, at);
    let erased = daemon.send("a.erased", "\"gone\"");

    let mut paths = Vec::new();
    for event in [&keyed, &first, &opaque, &cloud, &erased] {
        daemon.wait_status(event, "ok", "delivered");
        daemon.wait_status(event, "broken", "dead");
        daemon.wait_status(event, "off", "held");
        let tried = |delivery: &Value| delivery["attempt_count"] == 1;
        daemon.wait_delivery(event, "down", "attempted once", tried);
    }
    let gone = daemon
        .tcp
        .request("DELETE", &format!("/v1/events/{erased}"), &[], b"");
    assert!(gone.status < 300, "{}", gone.text());
    for event in [&keyed, &first, &opaque, &cloud] {
        for endpoint in ["ok", "down", "broken", "off"] {
            paths.push(format!("/v1/events/{event}/deliveries/{endpoint}"));
        }
    }
    for event in [&keyed, &first, &opaque, &cloud, &later, &erased] {
        paths.push(format!("/v1/events/{event}"));
    }
    let taken = daemon
        .tcp
        .request("POST", "/v1/sources/github/test", &JSON, b"{}");
    let taken = taken.expect(200);
    let inbound = taken["events"][0].as_str().expect("an event");
    paths.push(format!("/v1/events/{inbound}"));
    paths.push(format!("/v1/events/{later}/deliveries/{customer}"));
    paths.push(format!("/v1/endpoints/{customer}"));
    paths.push(format!("/v1/endpoints/{customer}/secret"));
    paths.push(format!("/v1/endpoints/{deleted}"));
    paths.push("/v1/sources/github".to_owned());
    let secret = daemon
        .tcp
        .get(&format!("/v1/endpoints/{customer}/secret"))
        .expect(200);
    let named = json!({"keyed": keyed, "keyed_body": KEYED, "later": later, "customer": customer,
        "secret": secret["secret"]});
    (paths, named)
}

#[test]
#[ignore = "writes a store into tests/stores/ under the name in OUTBOXD_STORE"]
fn write_a_store_of_the_present_format() {
    let name = std::env::var("OUTBOXD_STORE").expect("OUTBOXD_STORE names the store");
    let store = stores().join(name);
    assert!(!store.exists(), "{} is there", store.display());
    let is_well = Arc::new(AtomicBool::new(false));
    let well = is_well.clone();
    let receiver = Receiver::answering(move |seen| {
        Answer::status(match seen.path.as_str() {
            "/ok" => 200,
            "/replayed" if well.load(Ordering::SeqCst) => 200,
            _ => 500,
        })
    });
    let home = Home::new();
    let daemon = home.start(&CONFIG.replace("RECEIVER", &receiver.url("")));
    let (paths, named) = fill(&daemon);
    begin_a_job(&daemon, &is_well);
    let mut shown = Map::new();
    for path in paths {
        let answer = daemon.tcp.get(&path);
        let known = json!({"status": answer.status, "body": answer.json()});
        shown.insert(path, known);
    }
    assert!(daemon.stop().success());
    let shown = json!({"named": named, "paths": shown});
    let shown = serde_json::to_string_pretty(&shown).unwrap() + "\n";
    fs::create_dir_all(&store).unwrap();
    fs::write(store.join("shown.json"), shown).unwrap();
    fs::write(store.join("config.toml"), CONFIG).unwrap();
    let archive = store.join("data.tar.gz");
    let pack = [
        "--owner=0",
        "--group=0",
        "--sort=name",
        "-czf",
        archive.to_str().unwrap(),
    ];
    tar(
        &home.data_dir(),
        &[&pack[..], &["FORMAT", "LOCK", "log"]].concat(),
    );
}
