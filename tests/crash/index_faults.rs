//! The index's files fail while the daemon runs: it goes on from memory and the log, says so,
//! and the next start brings the index up to date.

use crate::files::below;
use crate::harness::{Home, Receiver, endpoint};
use crate::populated::recovery;
use crate::tracer::Tracer;

/// Has these calls fail on all files of the index.
#[track_caller]
fn goes_on_when(calls: &str) {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("ok", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let kept = daemon.send("a.kept", "1");
    daemon.wait_status(&kept, "ok", "delivered");
    let files = below(&home.data_dir().join("index"));
    let paths: Vec<String> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    assert!(paths.iter().any(|path| path.ends_with("/db")), "{paths:?}");
    let inject = format!("inject={calls}:error=EIO");
    let mut options = vec!["-o", "/dev/null", "-e", &inject];
    for path in &paths {
        options.extend(["-P", path]);
    }
    let Some(tracer) = Tracer::attach(&daemon, &options) else {
        return;
    };
    // Enough that sled has to write, whatever it keeps for later.
    let mut ids = Vec::new();
    let warned = "the index cannot be written";
    while !daemon.log_text().contains(warned) {
        ids.push(daemon.send("a.more", "2"));
        assert!(ids.len() < 20_000, "nothing was written");
    }
    let line = daemon.wait_log(warned);
    assert_eq!(line["level"], "WARN", "{line}");
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
    let kind = recovery(&daemon);
    assert!(["replayed", "rebuilt"].contains(&kind.as_str()), "{kind}");
    assert_eq!(daemon.status()["damaged_records"], 0);
    for id in ids.iter().chain([&kept]).rev().take(100) {
        daemon.wait_status(id, "ok", "delivered");
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn an_index_that_cannot_be_written_does_not_stop_deliveries() {
    goes_on_when("pwrite64");
}

#[test]
fn an_index_that_cannot_grow_does_not_stop_deliveries() {
    goes_on_when("pwrite64,ftruncate,fallocate,sync_file_range,fsync,fdatasync");
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
