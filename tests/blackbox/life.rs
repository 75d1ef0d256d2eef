//! Starting, stopping, and what ends at once: signals, exit codes, the data directory.

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Gate, Home, Ran, Receiver, endpoint, wait_for};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const EVENT: &str = "{\"type\":\"a\",\"data\":1}";

#[test]
fn sigterm_lets_attempts_in_flight_finish() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held));
    let home = Home::new();
    let config = endpoint("slow", &receiver.url("/"), "max_in_flight = 2");
    let daemon = home.start(&config);
    let events: Vec<_> = (0..5).map(|_| daemon.send("a", "1")).collect();
    receiver.wait(2);
    daemon.terminate();
    daemon.wait_log("stopping");
    // Nobody new is let in, and nothing new begins.
    wait_for(
        || {
            let asked = daemon.tcp.try_request("GET", "/healthz", &[], b"");
            asked.is_err().then_some(())
        },
        || "it still serves".to_owned(),
    );
    gate.open();
    let status = daemon.wait_exit();
    assert_eq!(status.code(), Some(0));
    let in_flight: Vec<_> = receiver
        .seen()
        .iter()
        .map(|seen| seen.id().to_owned())
        .collect();
    assert_eq!(
        in_flight.len(),
        2,
        "another attempt began while it was stopping"
    );

    let daemon = home.start(&config);
    for event in &events {
        let delivery = daemon.wait_status(event, "slow", "delivered");
        assert_eq!(delivery["attempt_count"], 1, "an outcome was forgotten");
    }
    assert_eq!(receiver.seen().len(), 5);
}

#[test]
fn a_second_sigterm_hurries() {
    let hang = std::sync::Arc::new(AtomicBool::new(true));
    let hangs = hang.clone();
    let receiver = Receiver::answering(move |_| match hangs.load(Ordering::Acquire) {
        true => Answer::hang(),
        false => Answer::status(200),
    });
    let home = Home::new();
    let config = endpoint("hung", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    receiver.wait(1);
    let start = Instant::now();
    daemon.terminate();
    daemon.wait_log("stopping");
    daemon.terminate();
    assert_eq!(daemon.wait_exit().code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    hang.store(false, Ordering::Release);
    let daemon = home.start(&config);
    daemon.wait_status(&event, "hung", "delivered");
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn one_sigterm_ends_it_even_if_an_attempt_hangs() {
    let receiver = Receiver::answering(|_| Answer::hang());
    let home = Home::new();
    let daemon = home.start(&endpoint("hung", &receiver.url("/"), "timeout = \"1h\""));
    let event = daemon.send("a", "1");
    receiver.wait(1);
    let start = Instant::now();
    assert_eq!(daemon.stop().code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let daemon = home.start(&endpoint("hung", &receiver.url("/"), ""));
    assert_eq!(daemon.delivery(&event, "hung")["status"], "pending");
    daemon.kill();
}

#[test]
fn an_idle_daemon_stops_at_once_and_open_connections_do_not_hinder() {
    let home = Home::new();
    let daemon = home.start("");
    let mut idle = daemon.tcp.connect().unwrap();
    idle.ask("GET", "/healthz", &[], b"").unwrap();
    let start = Instant::now();
    assert_eq!(daemon.stop().code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Clients that go on handing in until they cannot. What they were told stays true.
fn all_accepted_outlive(end: impl FnOnce(crate::harness::Daemon)) {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint("all", &receiver.url("/"), "max_in_flight = 8");
    let daemon = home.start(&config);
    let accepted = Mutex::new(Vec::new());
    let interface = daemon.tcp.clone();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let json = [("content-type", "application/json")];
                let Ok(mut connection) = interface.connect() else {
                    return;
                };
                while let Ok(answer) = connection.ask("POST", "/v1/events", &json, EVENT.as_bytes())
                {
                    if answer.status == 503 {
                        return;
                    }
                    let id = answer.expect(202)["id"].as_str().unwrap().to_owned();
                    accepted.lock().unwrap().push(id);
                }
            });
        }
        wait_for(
            || (accepted.lock().unwrap().len() > 200).then_some(()),
            || "nothing is accepted".to_owned(),
        );
        end(daemon);
    });
    let accepted = accepted.into_inner().unwrap();
    let daemon = home.start(&config);
    for id in &accepted {
        daemon.tcp.get(&format!("/v1/events/{id}")).expect(200);
    }
    let wanted: std::collections::HashSet<_> = accepted.iter().map(String::as_str).collect();
    receiver.wait_until("every accepted event", |seen| {
        let seen: std::collections::HashSet<_> = seen.iter().map(|seen| seen.id()).collect();
        wanted.is_subset(&seen)
    });
}

#[test]
fn what_was_accepted_while_stopping_is_kept() {
    all_accepted_outlive(|daemon| assert_eq!(daemon.stop().code(), Some(0)));
}

#[test]
fn what_was_accepted_before_a_kill_is_kept() {
    all_accepted_outlive(crate::harness::Daemon::kill);
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused() {
    let home = Home::new();
    let daemon = home.start("");
    // A different socket, so that the directory is what they would share.
    let config = format!(
        "data_dir = {:?}\n[listen]\nhttp = \"127.0.0.1:0\"\n",
        home.data_dir()
    );
    std::fs::write(home.path("second.toml"), config).unwrap();
    let ran = home.run(&["serve", "--config", "second.toml"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let data_dir = home.data_dir().display().to_string();
    assert!(ran.stderr.contains("in use by another outboxd"), "{ran:?}");
    assert!(ran.stderr.contains(&data_dir), "{ran:?}");
    daemon.tcp.post_json("/v1/events", EVENT).expect(202);
    daemon.kill();
    // `kill -9` leaves no lock behind.
    let daemon = home.start("");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_taken_port_or_socket_is_refused() {
    let home = Home::new();
    let daemon = home.start("");
    let port = daemon.url().rsplit(':').next().unwrap().to_owned();
    let listen = [
        format!("http = \"127.0.0.1:{port}\""),
        format!("http = \"\"\nunix = {:?}", home.path("api.sock")),
    ];
    for listen in listen {
        std::fs::write(
            home.path("c.toml"),
            format!("data_dir = \"other\"\n[listen]\n{listen}\n"),
        )
        .unwrap();
        let ran = home.run(&["serve", "--config", "c.toml"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains("in use"), "{ran:?}");
    }
    daemon.unix.post_json("/v1/events", EVENT).expect(202);
}

#[test]
fn the_data_directory_is_private_and_of_this_version() {
    let home = Home::new();
    let daemon = home.start("");
    let mode = std::fs::metadata(home.data_dir())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(daemon.stop().code(), Some(0));
    let format = home.data_dir().join("FORMAT");
    assert_eq!(std::fs::read_to_string(&format).unwrap(), "outboxd 1\n");
    std::fs::write(&format, "outboxd 999\n").unwrap();
    let config = home.write_config("");
    let ran = home.run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("999"), "{ran:?}");
}

const FAULTY: &str = "data_dr = \"x\"\n[listen]\nhttp = \"0.0.0.0:7717\"\n[retry]\nfirst = \"5\"\n\
    [[endpoint]]\nid = \"a b\"\nulr = \"https://example.invalid\"\n";

fn faulty(ran: &Ran) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for fault in [
        ":1:1: data_dr: unknown key; fix: did you mean \"data_dir\"?",
        ":3:8: listen.http: ",
        ":5:9: retry.first: a duration needs a unit; fix: ",
        ":6:1: endpoint[0].url: this key is missing; fix: ",
        ":7:6: endpoint[0].id: ",
        ":8:1: endpoint[0].ulr: unknown key; fix: did you mean \"url\"?",
    ] {
        assert!(
            ran.stderr.contains(fault),
            "{fault:?} is not in {}",
            ran.stderr
        );
    }
    assert_eq!(ran.stderr.lines().count(), 6, "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_faulty_configuration_is_2_with_all_faults_at_once() {
    let home = Home::new();
    std::fs::write(home.path("bad.toml"), FAULTY).unwrap();
    faulty(&home.run(&["check", "--config", "bad.toml"]));
    faulty(&home.run(&["serve", "--config", "bad.toml"]));
    let made: Vec<_> = std::fs::read_dir(home.path("."))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(made.len(), 1, "something was made: {made:?}");
    let json = home.run(&["check", "--config", "bad.toml", "--json"]);
    assert_eq!(json.code, Some(2));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["ok"], false);
    let first = &json["faults"][0];
    assert_eq!((&first["line"], &first["column"]), (&1.into(), &1.into()));
    assert_eq!(
        (&first["key"], &first["fix"]),
        (&"data_dr".into(), &"did you mean \"data_dir\"?".into())
    );
    // Not TOML, and not there.
    std::fs::write(home.path("no.toml"), "[listen\n").unwrap();
    for file in ["no.toml", "none.toml"] {
        for command in ["check", "serve"] {
            let ran = home.run(&[command, "--config", file]);
            assert_eq!(ran.code, Some(2), "{ran:?}");
            assert!(ran.stderr.contains(file), "{ran:?}");
        }
    }
}

#[test]
fn a_good_configuration_is_shown_without_its_secrets() {
    let home = Home::new();
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let config = home.write_config(&endpoint(
        "orders",
        "https://example.invalid/hook",
        &format!("secret = \"whsec_{secret}\"\nheaders = {{ authorization = \"hunter2\" }}"),
    ));
    let config = config.to_str().unwrap();
    for args in [
        vec!["check", "--config", config],
        vec!["check", "--config", config, "--json"],
    ] {
        let ran = home.run(&args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(
            ran.stdout.contains("orders") && ran.stdout.contains("https://example.invalid/hook")
        );
        let all = ran.stdout + &ran.stderr;
        assert!(!all.contains(secret) && !all.contains("hunter2"), "{all}");
    }
    assert!(!home.data_dir().exists(), "check changes nothing");
}

#[test]
fn the_environment_of_a_service_is_heeded() {
    let mut home = Home::new();
    std::fs::create_dir(home.path("run")).unwrap();
    let (state, run) = (home.path("state"), home.path("run"));
    home.set_env("STATE_DIRECTORY", state.to_str().unwrap());
    home.set_env("RUNTIME_DIRECTORY", run.to_str().unwrap());
    std::fs::write(home.path("c.toml"), "[listen]\nhttp = \"127.0.0.1:0\"\n").unwrap();
    home.set_env("OUTBOXD_CONFIG", home.path("c.toml").to_str().unwrap());
    let json = home.run(&["check", "--json"]).json().to_string();
    assert!(json.contains(state.to_str().unwrap()), "{json}");
    assert!(
        json.contains(run.join("outboxd.sock").to_str().unwrap()),
        "{json}"
    );
}

#[test]
fn usage_errors_are_2_and_help_is_everywhere() {
    let home = Home::new();
    for args in [
        &[][..],
        &["explode"],
        &["--explode"],
        &["serve", "--explode"],
        &["serve", "extra"],
        &["send"],
        &["events"],
        &["events", "explode"],
        &["deliveries", "show", "evt_00000000000000000000000000"],
        &["verify"],
        &["send", "a b"],
        &["send", "a", "{"],
        &["status", "--url", "ftp://x"],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(2), "{args:?} {ran:?}");
        assert_eq!(ran.stdout, "", "{args:?}");
        assert!(!ran.stderr.is_empty(), "{args:?}");
    }
    let hint = home.run(&["serv"]);
    assert!(hint.stderr.contains("'serve'"), "{hint:?}");
    #[rustfmt::skip]
    let commands = [
        "serve", "check", "listen", "sign", "verify", "keygen", "send", "status", "events",
        "deliveries", "endpoints", "verify-store",
    ];
    for command in commands {
        let ran = home.run(&[command, "--help"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(ran.stdout.contains("Usage: outboxd"), "{ran:?}");
    }
    let version = home.run(&["--version"]);
    assert_eq!(
        version.stdout,
        concat!("outboxd ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

/// SIGXFSZ ended it without a message.
#[test]
fn a_file_that_may_not_grow_ends_it_with_a_message() {
    let home = Home::new();
    let daemon = home.start("");
    let pid = rustix::process::Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: rustix::process::getrlimit(rustix::process::Resource::Fsize).maximum,
    };
    rustix::process::prlimit(pid, rustix::process::Resource::Fsize, none).unwrap();
    let answer = daemon
        .tcp
        .try_request("POST", "/v1/events", JSON, EVENT.as_bytes())
        .map(|answer| answer.status);
    // Or its connection is gone.
    assert!(matches!(answer, Err(_) | Ok(503)), "{answer:?}");
    let said = daemon.wait_log("outboxd cannot go on");
    let error = said["error"].as_str().unwrap();
    assert!(error.contains("File too large"), "{error}");
    assert_eq!(daemon.wait_exit().code(), Some(1));
}

#[test]
fn a_limit_of_file_size_that_no_segment_fits_is_named_at_the_start() {
    let home = Home::new();
    let command = home.command_after("ulimit -f 2048");
    let daemon = home.spawn_with("", command, std::process::Stdio::piped());
    let said = daemon.wait_log("outboxd cannot go on");
    let error = said["error"].as_str().unwrap();
    for part in ["RLIMIT_FSIZE", "LimitFSIZE", "outbox.segment_size"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(daemon.wait_exit().code(), Some(2));
    assert!(!home.data_dir().exists(), "something was begun");
}

#[test]
fn a_format_that_is_damaged_is_not_taken_for_a_newer_one() {
    let home = Home::new();
    let daemon = home.start("");
    let event = daemon.send("a", "1");
    assert_eq!(daemon.stop().code(), Some(0));
    let format = home.data_dir().join("FORMAT");
    let written = std::fs::read(&format).unwrap();
    for (found, part) in [
        (&b""[..], "is empty"),
        (b"outboxd 1", "outboxd 1"),
        (b"outb", "outb"),
        (b"\xff\xfe", "damaged"),
    ] {
        std::fs::write(&format, found).unwrap();
        let daemon = home.spawn("");
        let error = daemon.wait_log("outboxd cannot go on")["error"].to_string();
        assert!(!error.contains("newer"), "{error}");
        for part in [part, "damaged", "printf"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(daemon.wait_exit().code(), Some(1));
        assert_eq!(std::fs::read(&format).unwrap(), found, "it was touched");
    }
    std::fs::write(&format, "outboxd 2\n").unwrap();
    let daemon = home.spawn("");
    let error = daemon.wait_log("outboxd cannot go on")["error"].to_string();
    assert!(error.contains("newer outboxd"), "{error}");
    drop(daemon);
    // As the message says.
    std::fs::write(&format, written).unwrap();
    let daemon = home.start("");
    daemon.tcp.get(&format!("/v1/events/{event}")).expect(200);
}
