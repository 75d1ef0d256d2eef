//! Jobs: how replays and purges under way are shown, and how one is cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

/// A delivery gets a single attempt.
const ONCE: &str = "[retry]\ngive_up_after = \"0s\"\nfirst = \"1ms\"\nmax = \"1ms\"\n";

/// How many deliveries a job has. It processes one of them after each start.
const DEAD: u64 = 20;

fn changeable(status: u16) -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let now = status.clone();
    let receiver = Receiver::answering(move |_| Answer::status(now.load(Ordering::Acquire)));
    (receiver, status)
}

/// Makes this many dead deliveries of the endpoint.
#[track_caller]
fn kill_off(daemon: &Daemon, endpoint: &str, count: u64) {
    for _ in 0..count {
        daemon.send("a.x", "1");
    }
    wait_for(
        || (daemon.endpoint(endpoint)["backlog"]["dead"] == count).then_some(()),
        || format!("they do not die: {:#}", daemon.endpoint(endpoint)),
    );
}

/// Begins a replay that processes one delivery at once and the next much later; returns its job.
#[track_caller]
fn slow_replay(daemon: &Daemon, endpoint: &str) -> String {
    let path = format!("/v1/endpoints/{endpoint}/replay");
    let body = r#"{"rate": "1/m", "types": ["a.*"], "since": "2020-01-01T00:00:00Z"}"#;
    let begun = daemon.tcp.post_json(&path, body).expect(202);
    assert_eq!(begun["matched"], DEAD);
    begun["job"].as_str().unwrap().to_owned()
}

fn delete(daemon: &Daemon, job: &str) -> u16 {
    let path = format!("/v1/jobs/{job}");
    daemon.tcp.request("DELETE", &path, &[], b"").status
}

/// Waits until the job has processed this many deliveries.
#[track_caller]
fn wait_done(daemon: &Daemon, job: &str, done: u64) -> Value {
    let read = || daemon.tcp.get(&format!("/v1/jobs/{job}")).expect(200);
    let so = || Some(read()).filter(|job| job["done"] == done);
    wait_for(so, || format!("not {done} done: {:#}", read()))
}

#[test]
fn a_job_shows_its_progress_and_stays_cancelled() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let config = ONCE.to_owned() + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let nothing = daemon.tcp.get("/v1/jobs").expect(200);
    assert_eq!(nothing, serde_json::json!({"data": [], "next": null}));
    kill_off(&daemon, "one", DEAD);
    status.store(200, Ordering::Release);
    let job = slow_replay(&daemon, "one");
    let shown = wait_done(&daemon, &job, 1);
    for (key, value) in [
        ("id", job.as_str()),
        ("kind", "replay"),
        ("endpoint", "one"),
    ] {
        assert_eq!(shown[key], value);
    }
    assert_eq!(
        (shown["matched"].as_u64(), shown["tenant"].as_str()),
        (Some(DEAD), Some("default"))
    );
    assert_eq!(
        (&shown["status"][0], &shown["types"][0]),
        (&"dead".into(), &"a.*".into())
    );
    assert_eq!(shown["since"], "2020-01-01T00:00:00.000Z");
    assert!(
        shown["created_at"].is_string() && shown["until"].is_null(),
        "{shown}"
    );
    assert_eq!(shown["rate"], "1/m");
    // Two jobs are listed on a page each, and survive a crash.
    let second = slow_replay_of_the_rest(&daemon);
    daemon.kill();
    let daemon = home.start(&config);
    let first_page = daemon.tcp.get("/v1/jobs?limit=1").expect(200);
    let cursor = first_page["next"].as_str().unwrap();
    let last_page = daemon.tcp.get(&format!("/v1/jobs?limit=1&cursor={cursor}"));
    let last_page = last_page.expect(200);
    assert!(last_page["next"].is_null());
    assert_eq!(
        (&first_page["data"][0]["id"], &last_page["data"][0]["id"]),
        (&job.clone().into(), &second.clone().into())
    );
    assert!(first_page["data"][0]["done"].as_u64() >= Some(1));
    assert_eq!(delete(&daemon, &job), 204);
    assert_eq!(delete(&daemon, &job), 404);
    assert_eq!(daemon.tcp.get(&format!("/v1/jobs/{job}")).status, 404);
    daemon.kill();
    let daemon = home.start(&config);
    let left = daemon.tcp.get("/v1/jobs").expect(200);
    assert_eq!(left["data"].as_array().unwrap().len(), 1, "{left}");
    assert_eq!(left["data"][0]["id"], second.as_str());
    // The job's number is used again, its name is not.
    assert_eq!(delete(&daemon, &second), 204);
    let again = daemon
        .tcp
        .post_json("/v1/endpoints/one/replay", r#"{"rate": "1/m"}"#);
    let again = again.expect(202)["job"].as_str().unwrap().to_owned();
    assert!(again != job && again != second);
    assert_eq!(delete(&daemon, &job), 404);
    wait_done(&daemon, &again, 1);
}

/// Begins another replay, of the deliveries that the first has not processed.
#[track_caller]
fn slow_replay_of_the_rest(daemon: &Daemon) -> String {
    let begun = daemon
        .tcp
        .post_json("/v1/endpoints/one/replay", r#"{"rate": "1/m"}"#)
        .expect(202);
    assert_eq!(begun["matched"], DEAD - 1);
    begun["job"].as_str().unwrap().to_owned()
}

#[test]
fn the_commands_list_show_and_cancel() {
    let (receiver, status) = changeable(500);
    let home = Home::new();
    let daemon = home.start(&(ONCE.to_owned() + &endpoint("one", &receiver.url("/"), "")));
    let url = daemon.url();
    let run = |args: &[&str]| home.run(&[args, &["--url", &url]].concat());
    assert_eq!(run(&["jobs", "list"]).stdout, "no jobs are under way\n");
    kill_off(&daemon, "one", DEAD);
    status.store(200, Ordering::Release);
    let begun = run(&["replay", "--endpoint", "one", "--rate", "1/m"]).stdout;
    let job = begun.split(" by ").nth(1).unwrap().trim_end().to_owned();
    assert!(
        begun.starts_with("one  20 deliveries to be replayed by job_"),
        "{begun}"
    );
    wait_done(&daemon, &job, 1);
    let listed = run(&["jobs", "list"]).stdout;
    assert!(
        listed.contains(&job) && listed.contains("replay  one"),
        "{listed}"
    );
    let shown = run(&["jobs", "show", &job]).stdout;
    assert!(shown.contains("progress  1 of 20 deliveries"), "{shown}");
    assert_eq!(
        run(&["jobs", "show", &job, "--json"]).json()["id"],
        job.as_str()
    );
    assert_eq!(
        run(&["jobs", "cancel", &job]).stdout,
        format!("{job} is cancelled\n")
    );
    let gone = run(&["jobs", "cancel", &job]);
    assert_eq!(gone.code, Some(1));
    assert!(gone.stderr.contains("it may have ended"), "{}", gone.stderr);
    assert_eq!(run(&["jobs", "show", "one"]).code, Some(2));
}
