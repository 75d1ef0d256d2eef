//! Receivers that hang, drip, flood or talk nonsense: each attempt ends, in time, with the
//! right kind, and the others do not notice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Answer, Home, Receiver, endpoint, unless_late, wait_for};

/// How long an attempt may take here, in milliseconds.
const TIMEOUT_MS: u64 = 400;

/// One attempt at such a receiver, once its delivery is dead.
fn attempt(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Value {
    let receiver = Receiver::answering(move |seen| match seen.path.as_str() {
        "/bad" => answer(),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let config = "[retry]\ngive_up_after = \"0s\"\n".to_owned()
        + &endpoint(
            "bad",
            &receiver.url("/bad"),
            &format!("timeout = \"{TIMEOUT_MS}ms\""),
        )
        + &endpoint("good", &receiver.url("/good"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "good", "delivered");
    let delivery = daemon.wait_delivery(&event, "bad", "ended", |one| one["status"] != "pending");
    let attempt = delivery["attempts"][0].clone();
    let took = attempt["duration_ms"].as_u64().unwrap();
    // Room for a busy machine; what is cut off is cut off at the timeout.
    assert!(took < TIMEOUT_MS + 2000, "{took} ms: {attempt:#}");
    // Nothing is left of it: no connection goes on.
    wait_for(
        || (receiver.open_connections() <= 1).then_some(()),
        || format!("{} connections are open", receiver.open_connections()),
    );
    attempt
}

#[track_caller]
fn ended(attempt: &Value, status: Option<u16>, kind: &str) {
    let found = attempt["error"]["kind"].as_str().unwrap_or("none");
    assert_eq!(found, kind, "{attempt:#}");
    assert_eq!(
        attempt["status"].as_u64(),
        status.map(u64::from),
        "{attempt:#}"
    );
}

fn endless(first: &[u8], again: &[u8], pause_ms: u64) -> Answer {
    Answer::Endless {
        first: first.to_vec(),
        again: again.to_vec(),
        pause: Duration::from_millis(pause_ms),
    }
}

#[test]
fn one_that_says_nothing_times_out() {
    ended(&attempt(Answer::hang), None, "timeout");
}

#[test]
fn one_that_stops_in_its_headers_times_out() {
    let half = || Answer::Hang(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec());
    ended(&attempt(half), None, "timeout");
}

#[test]
fn one_that_drips_its_headers_times_out() {
    let drip = || endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 20);
    ended(&attempt(drip), None, "timeout");
}

#[test]
fn one_that_drips_its_body_times_out() {
    let drip = || endless(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", b"x", 20);
    ended(&attempt(drip), Some(200), "timeout");
}

#[test]
fn one_that_stops_in_its_body_times_out() {
    let half = || Answer::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec());
    let attempt = attempt(half);
    ended(&attempt, Some(200), "timeout");
    assert_eq!(attempt["response_body"], "half");
}

#[test]
fn one_that_floods_us_with_its_body_is_read_no_further_than_is_kept() {
    let flood = || {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        endless(head, &[b"1000\r\n", &[b'x'; 4096][..], b"\r\n"].concat(), 0)
    };
    // It said 2xx, so it is delivered.
    let attempt = attempt(flood);
    ended(&attempt, Some(200), "none");
    assert_eq!(attempt["response_body"], "x".repeat(4096));
}

#[test]
fn a_failure_that_floods_is_a_failure() {
    let flood = || endless(b"HTTP/1.1 500 Oh\r\n\r\n", &[b'x'; 65536], 0);
    let attempt = attempt(flood);
    ended(&attempt, Some(500), "status");
    assert_eq!(attempt["response_body"], "x".repeat(4096));
}

#[test]
fn one_that_floods_us_with_headers_is_cut_off() {
    let flood = || {
        endless(
            b"HTTP/1.1 200 OK\r\n",
            &b"x-flood: yyyyyyyyyyyyyyyy\r\n".repeat(100),
            0,
        )
    };
    ended(&attempt(flood), None, "protocol");
}

#[test]
fn one_that_floods_us_with_one_header_is_cut_off() {
    let flood = || endless(b"HTTP/1.1 200 OK\r\nx: ", &[b'y'; 65536], 0);
    ended(&attempt(flood), None, "protocol");
}

#[test]
fn one_that_goes_on_with_100_continue_for_ever_is_cut_off() {
    let attempt = attempt(|| endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 1));
    assert_eq!(attempt["status"], Value::Null, "{attempt:#}");
    let kind = attempt["error"]["kind"].as_str().unwrap();
    assert!(["timeout", "protocol"].contains(&kind), "{attempt:#}");
}

#[test]
fn nonsense_is_a_protocol_error() {
    let nonsense: [&[u8]; 5] = [
        b"\0\xff\xfe\x01 nonsense\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
    ];
    let receiver = Receiver::answering(move |seen| {
        let which: usize = seen.path.trim_start_matches('/').parse().unwrap();
        Answer::Raw(nonsense[which].to_vec())
    });
    let home = Home::new();
    let of = |n: usize| endpoint(&format!("e{n}"), &receiver.url(&format!("/{n}")), "");
    let endpoints: String = (0..nonsense.len()).map(of).collect();
    let daemon = home.start(&("[retry]\ngive_up_after = \"0s\"\n".to_owned() + &endpoints));
    let event = daemon.send("a", "1");
    for (n, bytes) in nonsense.iter().enumerate() {
        let delivery = daemon.wait_status(&event, &format!("e{n}"), "dead");
        let attempt = &delivery["attempts"][0];
        let kind = attempt["error"]["kind"].as_str().unwrap();
        assert_eq!(
            kind,
            "protocol",
            "{:?}: {attempt:#}",
            String::from_utf8_lossy(bytes)
        );
    }
}

/// What does not matter in an answer does not repeat a delivery.
#[test]
fn odd_headers_of_a_success_are_a_success() {
    let many: String = (0..120).map(|n| format!("x-{n}: y\r\n")).collect();
    for headers in [
        many.as_str(),
        "no colon here\r\n",
        "x-a: b\r\n c\r\n",
        "x-a : b\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok");
        let attempt = attempt(move || Answer::Raw(answer.clone().into_bytes()));
        assert_eq!(attempt["error"], serde_json::Value::Null, "{headers:.40}");
        assert_eq!(
            (&attempt["status"], &attempt["response_body"]),
            (&200.into(), &"ok".into())
        );
    }
}

#[test]
fn one_that_breaks_off_is_a_failure() {
    for cut in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let attempt = attempt(|| Answer::Raw(cut.to_vec()));
        let kind = attempt["error"]["kind"].as_str().unwrap_or("none");
        let cut = String::from_utf8_lossy(cut);
        assert!(
            ["protocol", "connect"].contains(&kind),
            "{cut:?}: {attempt:#}"
        );
    }
}

#[test]
fn what_hostile_receivers_say_is_shown_safely() {
    let nasty = "\u{1b}[31m\0</script>\u{202e}";
    let home = Home::new();
    let receiver = Receiver::answering(move |_| {
        let mut bytes = b"HTTP/1.1 400 \x1b[31mno\r\ncontent-length: 40\r\n\r\n".to_vec();
        bytes.extend(nasty.as_bytes());
        bytes.resize(
            b"HTTP/1.1 400 \x1b[31mno\r\ncontent-length: 40\r\n\r\n".len() + 40,
            0xff,
        );
        Answer::Raw(bytes)
    });
    let retry = "[retry]\ngive_up_after = \"0s\"\n".to_owned();
    let daemon = home.start(&(retry + &endpoint("bad", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "bad", "dead");
    let raw = daemon
        .tcp
        .get(&format!("/v1/events/{event}/deliveries/bad"));
    assert!(
        !raw.body.contains(&0x1b) && !raw.body.contains(&0),
        "{}",
        raw.text()
    );
    assert!(!daemon.log_text().contains('\u{1b}'));
    let url = daemon.url();
    let ran = home.run(&["deliveries", "show", &event, "bad", "--url", &url]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.stdout.contains(['\u{1b}', '\0']), "{:?}", ran.stdout);
}

/// The promise of isolation, in its own numbers: 100 hung endpoints with a backlog each
/// beside a healthy one, whose 99th of 100 waits less than 250 ms from acceptance.
#[test]
fn a_hundred_hung_endpoints_do_not_delay_a_healthy_one() {
    let hung = Receiver::answering(|_| Answer::hang());
    let healthy = Receiver::ok();
    let home = Home::new();
    let of = |n: usize| endpoint(&format!("hung{n}"), &hung.url("/"), "types = [\"both\"]");
    let config = (0..100).map(of).collect::<String>() + &endpoint("well", &healthy.url("/"), "");
    let daemon = home.start(&config);
    // Each hung endpoint has more waiting than it may have in flight.
    let ndjson = [("content-type", "application/x-ndjson")];
    let backlog = "{\"type\":\"both\",\"data\":1}\n".repeat(40);
    daemon
        .tcp
        .request("POST", "/v1/events", &ndjson, backlog.as_bytes())
        .expect(202);
    healthy.wait(40);
    // Not because the hung ones had timed out and made room.
    assert_eq!(daemon.status()["totals"]["attempts_failed"], 0);
    wait_for(
        || (hung.seen().len() >= 100).then_some(()),
        || format!("only {} attempts hang", hung.seen().len()),
    );

    // What the promise forbids, waiting behind the hung, is there however busy the machine is.
    unless_late(|lateness| {
        let p99 = p99_of_two_hundred(&daemon.tcp, &healthy);
        // Each waits for a thread of the daemon's and one of the receiver's at least.
        match p99 < Duration::from_millis(250).max(2 * lateness.most()) {
            true => Ok(()),
            false => Err(format!("p99 is {p99:?}")),
        }
    });
    let hung_now = daemon.status()["backlog"]["in_flight"].as_u64().unwrap();
    assert!(hung_now >= 100, "only {hung_now} attempts hang");
}

/// From the moment the event is sent until it is at the receiver.
fn p99_of_two_hundred(interface: &crate::harness::http::Interface, healthy: &Receiver) -> Duration {
    let before = healthy.seen().len();
    let mut connection = interface.connect().unwrap();
    let json = [("content-type", "application/json")];
    let mut sent = HashMap::new();
    for n in 0..200 {
        let at = Instant::now();
        // Half of them go to the hung as well.
        let kind = if n % 2 == 0 { "one" } else { "both" };
        let body = format!("{{\"type\":\"{kind}\",\"data\":{n}}}");
        let answer = connection
            .ask("POST", "/v1/events", &json, body.as_bytes())
            .unwrap();
        sent.insert(answer.expect(202)["id"].as_str().unwrap().to_owned(), at);
    }
    let seen = healthy.wait(before + 200);
    let mut took: Vec<_> = seen[before..]
        .iter()
        .map(|seen| seen.at.saturating_duration_since(sent[seen.id()]))
        .collect();
    took.sort();
    took[197]
}
