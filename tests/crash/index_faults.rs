//! The index's files fail while the daemon runs: it says so, builds the index anew from the
//! log, and goes on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::files::below;
use crate::harness::http::head;
use crate::harness::manager::Manager;
use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};
use crate::populated::recovery;
use crate::tracer::Tracer;
use crate::wide_events::{batch, stored, ten_thousand};

/// Longer than the daemon waits, in microseconds.
const HANGS: u64 = 600_000_000;
/// The daemon waits for two minutes.
const PATIENCE: Duration = Duration::from_secs(400);
/// Events of an index whose building takes longer than a watchdog waits.
const REBUILT: usize = 100_000;
/// Events of one request to all of the ten thousand endpoints.
const AT_ONCE: usize = 5;

/// Does to calls on these files what `inject` says in `strace`'s words.
fn on_files(daemon: &Daemon, files: &[PathBuf], inject: &str) -> Option<Tracer> {
    let paths: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert!(paths.iter().any(|path| path.ends_with("/db")), "{paths:?}");
    let inject = format!("inject={inject}");
    let mut options = vec!["-o", "/dev/null", "-e", &inject];
    for path in &paths {
        options.extend(["-P", path]);
    }
    Tracer::attach(daemon, &options)
}

/// Has these calls fail on all files of the index; if it then has to be in memory, on those of
/// the next one too.
#[track_caller]
fn goes_on_when(calls: &str, in_memory: bool) {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let kept = daemon.send("a.kept", "1");
    daemon.wait_status(&kept, "ok", "delivered");
    let index = home.data_dir().join("index");
    let mut files = below(&index);
    if in_memory {
        files.push(index.join("00000002").join("db"));
    }
    let Some(tracer) = on_files(&daemon, &files, &format!("{calls}:error=EIO")) else {
        return;
    };
    // Enough that sled has to write, whatever it keeps for later. What is refused while the
    // index is built was not accepted.
    let mut ids = Vec::new();
    let built = "the index was built anew";
    while !daemon.log_text().contains(built) {
        let body = r#"{"type": "a.more", "data": 2}"#;
        let answer = daemon.tcp.post_json("/v1/events", body);
        match answer.status {
            202 => ids.push(answer.json()["id"].as_str().unwrap().to_owned()),
            _ => assert_eq!(answer.status, 503, "{answer:?}"),
        }
        assert!(ids.len() < 20_000, "nothing was written");
    }
    let line = daemon.wait_log("the index failed");
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(daemon.wait_log(built)["in_memory"] == in_memory, "{line}");
    for _ in 0..50 {
        ids.push(daemon.send("a.after", "3"));
    }
    for id in ids.iter().rev().take(100) {
        daemon.wait_status(id, "ok", "delivered");
    }
    assert_eq!(daemon.tcp.get("/readyz").status, 200);
    drop(tracer);
    daemon.kill();
    let daemon = home.start(&config);
    // The one that was built is used; one in memory is gone.
    let kind = recovery(&daemon);
    assert_eq!(kind == "rebuilt", in_memory, "{kind}");
    assert_eq!(daemon.status()["damaged_records"], 0);
    for id in ids.iter().chain([&kept]).rev().take(100) {
        daemon.wait_status(id, "ok", "delivered");
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn an_index_that_cannot_be_written_does_not_stop_deliveries() {
    goes_on_when("pwrite64", false);
}

#[test]
fn an_index_that_cannot_grow_does_not_stop_deliveries() {
    let calls = "pwrite64,ftruncate,fallocate,sync_file_range,fsync,fdatasync";
    goes_on_when(calls, false);
}

#[test]
fn an_index_that_has_no_place_on_the_disk_is_kept_in_memory() {
    goes_on_when("pwrite64,ftruncate", true);
}

/// Whoever reads while the index fails waits for the new one.
#[test]
fn no_read_is_refused_while_the_index_fails() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("ok", &receiver.url("/"), ""));
    let kept = daemon.send("a.kept", "1");
    daemon.wait_status(&kept, "ok", "delivered");
    let files = below(&home.data_dir().join("index"));
    let Some(_tracer) = on_files(&daemon, &files, "pwrite64:error=ENOSPC") else {
        return;
    };
    // It is written out within seconds, while nobody asks for anything that is stored.
    daemon.send("a.more", "2");
    let built = "the index was built anew";
    wait_for(
        || {
            for path in ["", "/deliveries/ok", "/deliveries/ok/explain"] {
                let path = format!("/v1/events/{kept}{path}");
                daemon.tcp.get(&path).expect(200);
            }
            daemon.tcp.get("/v1/events?limit=1").expect(200);
            daemon.log_text().contains(built).then_some(())
        },
        || format!("not built anew: {}", daemon.log_text()),
    );
}

/// A service manager must not kill a daemon whose index is being built, however long that takes.
#[test]
fn keep_alives_go_on_while_the_index_is_built_anew() {
    const LIMIT: Duration = Duration::from_secs(2);
    let mut home = Home::new();
    let (manager, name) = Manager::abstract_named(&home);
    home.set_env("NOTIFY_SOCKET", name);
    home.set_env("WATCHDOG_USEC", LIMIT.as_micros().to_string());
    let off = endpoint("off", "http://127.0.0.1:9/", "enabled = false");
    let daemon = home.start(&off);
    let headers = [("content-type", "application/x-ndjson")];
    let lines = "{\"type\":\"a.b\",\"data\":1}\n".repeat(500);
    let send = || {
        let lines = lines.as_bytes();
        daemon.tcp.request("POST", "/v1/events", &headers, lines)
    };
    for _ in 0..REBUILT / 500 {
        send().expect(202);
    }
    let files = below(&home.data_dir().join("index"));
    let Some(tracer) = on_files(&daemon, &files, "pwrite64:error=EIO") else {
        return;
    };
    let built = "the index was built anew";
    manager.wait("WATCHDOG=1");
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    std::thread::scope(|scope| {
        // Enough that sled has to write.
        let loading = scope.spawn(|| {
            while !daemon.log_text().contains(built) {
                let answer = send();
                assert!(matches!(answer.status, 202 | 503), "{answer:?}");
            }
        });
        while !loading.is_finished() {
            let alive = |said: String| said.contains("WATCHDOG=1");
            if manager.next().is_some_and(alive) {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
    });
    drop(tracer);
    longest = longest.max(last.elapsed());
    let took = daemon.wait_log(built)["seconds"].clone();
    let took: f64 = took.as_str().unwrap().parse().unwrap();
    if took < LIMIT.as_secs_f64() {
        eprintln!("SKIPPED: the index was built within {took} s, which is no matter");
    }
    assert!(longest < LIMIT, "a keep-alive came after {longest:?}");
    assert_eq!(daemon.stop().code(), Some(0));
}

/// The daemon does not wait for ever for a write of the index that never comes back.
#[test]
fn an_index_that_hangs_ends_the_daemon_and_loses_nothing() {
    let home = Home::new();
    let config = ten_thousand("");
    let daemon = home.start(&config);
    batch(&daemon, AT_ONCE).expect(202);
    let calls = "pwrite64,fsync,fdatasync,sync_file_range";
    let files = below(&home.data_dir().join("index"));
    let inject = format!("{calls}:delay_enter={HANGS}");
    let Some(tracer) = on_files(&daemon, &files, &inject) else {
        return;
    };
    // Enough that sled has to write; the answer may not come.
    let line = "{\"type\":\"a.b\",\"data\":1}\n".repeat(AT_ONCE);
    let headers = [("content-type", "application/x-ndjson")];
    let head = head("POST", "/v1/events", &headers, Some(line.len()));
    let mut asking = daemon.tcp.connect().unwrap();
    asking.send(&[&head, line.as_bytes()].concat()).unwrap();
    let line = daemon.wait_log_within("outboxd ends now", PATIENCE);
    let failure = line["failure"].as_str().unwrap();
    assert!(
        failure.contains("sled has not answered for 120 s"),
        "{line}"
    );
    // It keeps threads from their end.
    drop(tracer);
    assert_eq!(daemon.wait_exit().code(), Some(1));
    let daemon = home.start(&config);
    assert!([AT_ONCE, 2 * AT_ONCE].contains(&stored(&daemon)));
    assert_eq!(daemon.status()["damaged_records"], 0);
}

/// What a request may say of an endpoint or of a replay is far larger than most rows of the
/// index, and is kept there all the same.
#[test]
fn definitions_and_replays_of_the_largest_size_are_kept() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let headers: Vec<String> = (0..7)
        .map(|number| format!(r#""x-{number}": "{}""#, "h".repeat(8000)))
        .collect();
    let made = daemon.tcp.post_json(
        "/v1/endpoints",
        format!(
            r#"{{"url": "{}", "headers": {{{}}}}}"#,
            receiver.url("/"),
            headers.join(",")
        ),
    );
    let id = made.expect(201)["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/endpoints/{id}");
    let types: Vec<String> = (0..500)
        .map(|number| format!(r#""a{}.t{number}""#, "t".repeat(100)))
        .collect();
    let types = format!(r#""types": ["a.b", {}]"#, types.join(","));
    let json = [("content-type", "application/json")];
    let patch = format!("{{{types}}}");
    let patched = daemon.tcp.request("PATCH", &path, &json, patch.as_bytes());
    patched.expect(200);
    let event = daemon.send("a.b", "1");
    daemon.wait_status(&event, &id, "delivered");
    let replay = format!(r#"{{"status": "delivered", "rate": "1/s", {types}}}"#);
    let replayed = daemon
        .tcp
        .post_json(&format!("{path}/replay"), replay)
        .expect(202);
    assert_eq!(replayed["matched"], 1);
    receiver.wait(2);
    // A stop moves all of it into the index's files.
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = home.start("");
    assert_eq!(recovery(&daemon), "clean");
    let kept = daemon.endpoint(&id);
    assert_eq!(kept["types"].as_array().unwrap().len(), 501);
    assert_eq!(kept["headers"].as_object().unwrap().len(), 7);
    let event = daemon.send("a.b", "2");
    daemon.wait_status(&event, &id, "delivered");
}
