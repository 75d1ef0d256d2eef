//! Copies of the running store: `GET /v1/backup` and `outboxd backup`.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::harness::*;
use crate::shop::*;

const DEAD: &str = "http://127.0.0.1:9/";

#[test]
fn a_copy_under_load_is_a_store_of_one_moment() {
    let home = Home::new();
    let config = endpoint("orders", DEAD, "");
    let daemon = home.start(&config);
    let before: Vec<String> = (0..50)
        .map(|n| daemon.send("order.created", &n.to_string()))
        .collect();
    let copies = home.path("copies/first");
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            for n in 0..300 {
                daemon.send("order.paid", &n.to_string());
            }
        });
        let ran = home.run(&["backup", copies.to_str().unwrap(), "--url", &daemon.url()]);
        assert!(ran.code == Some(0), "{ran:?}");
        assert!(ran.stdout.contains("up to position"), "{}", ran.stdout);
        load.join().unwrap();
    });
    for file in files(&copies) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let mode = std::fs::metadata(&copies).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let again = home.run(&["backup", copies.to_str().unwrap(), "--url", &daemon.url()]);
    assert_eq!(again.code, Some(2), "{again:?}");

    let other = Home::new();
    std::fs::rename(&copies, other.data_dir()).unwrap();
    let copy = other.start(&config);
    assert_eq!(copy.status()["damaged_records"], 0);
    for event in before {
        assert_eq!(copy.delivery(&event, "orders")["status"], "pending");
    }
}

#[test]
fn the_stream_is_a_tar_archive_for_admins() {
    let mut home = Home::new();
    std::fs::write(home.path("app"), "ingest-token-1").unwrap();
    std::fs::write(home.path("ops"), "admin-token-22").unwrap();
    home.set_env("OUTBOXD_TOKEN_FILE", "");
    let tokens = format!(
        "[auth]\ntokens = [\n{{ name = \"app\", token_file = {:?}, scope = \"ingest\" }},\n\
         {{ name = \"ops\", token_file = {:?}, scope = \"admin\" }},\n]\n",
        home.path("app"),
        home.path("ops")
    );
    let daemon = home.start(&format!("{}{tokens}", endpoint("orders", DEAD, "")));
    let with = |token: &str| {
        let bearer = format!("Bearer {token}");
        daemon
            .tcp
            .request("GET", "/v1/backup", &[("authorization", &bearer)], b"")
    };
    with("ingest-token-1").problem(403);
    let archive = with("admin-token-22");
    assert_eq!(archive.status, 200);
    assert_eq!(archive.header("content-type"), Some("application/x-tar"));
    let out = home.path("out");
    std::fs::create_dir(&out).unwrap();
    let tar = home.path("copy.tar");
    std::fs::write(&tar, &archive.body).unwrap();
    let mut command = std::process::Command::new("tar");
    let status = command.arg("-xf").arg(&tar).arg("-C").arg(&out).status();
    match status {
        Ok(status) => assert!(status.success()),
        Err(_) => return println!("SKIPPED: there is no tar here"),
    }
    assert_eq!(
        std::fs::read_to_string(out.join("FORMAT")).unwrap(),
        "outboxd 1\n"
    );
    assert!(out.join("log/0000000000000000.log").exists());
}

#[test]
fn what_was_cut_short_is_not_taken_for_a_store() {
    let home = Home::new();
    let data = home.data_dir();
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("FORMAT"), "outboxd, an unfinished copy\n").unwrap();
    let config = home.write_config("");
    let ran = home.run(&["serve", "--config", config.to_str().unwrap()]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("was not finished"), "{ran:?}");
}

/// The copy ends before the definition that replaces another one, so it needs the former one.
#[test]
fn a_definition_that_is_replaced_during_a_copy_is_in_the_copy() {
    let home = Home::new();
    let daemon = home.start("[outbox]\nsegment_size = \"4MiB\"\n");
    // More than buffers between the daemon and its client take.
    let full = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..40 {
        daemon.send("order.created", &full);
    }
    let first = json!({"url": "http://127.0.0.1:9/first-token", "types": ["a.*"]}).to_string();
    let made = daemon.unix.post_json("/v1/endpoints", first).expect(201);
    let id = made["id"].as_str().unwrap().to_owned();
    let mut copying = daemon.tcp.connect().unwrap();
    let request = b"GET /v1/backup HTTP/1.0\r\nhost: localhost\r\n\r\n";
    copying.send(request).unwrap();
    let head = copying.until("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    let second = json!({"url": "http://127.0.0.1:9/second-token"}).to_string();
    let path = format!("/v1/endpoints/{id}");
    let json = [("content-type", "application/json")];
    let patched = daemon
        .unix
        .request("PATCH", &path, &json, second.as_bytes());
    patched.expect(200);
    let archive = copying.rest().unwrap();
    let log = home.data_dir().join("log");
    wait_for(
        || (!is_on_disk(&log, b"first-token")).then_some(()),
        || format!("it stays in the log: {}", daemon.log_text()),
    );
    daemon.kill();
    let other = Home::new();
    let unpacked = tar::Archive::new(&archive[..]).unpack(other.data_dir());
    unpacked.unwrap();
    let copy = other.start("");
    let url = &copy.endpoint(&id)["url"];
    assert_eq!(url, "http://127.0.0.1:9/first-token");
    assert_eq!(copy.status()["damaged_records"], 0);
}
