//! What a receiver's answer, or the lack of one, means: every row of that table.

use std::net::TcpListener;
use std::time::{Duration, SystemTime};

use outboxd::domain::time::Timestamp;
use serde_json::Value;

use crate::harness::{Answer, Daemon, Gate, Home, Receiver, Seen, endpoint, wait_for};

/// A short timeout, few attempts.
const QUICK: &str = "[retry]\nschedule = [\"20ms\", \"20ms\"]\njitter = 0.0\n";

fn kind(attempt: &Value) -> &str {
    attempt["error"]["kind"].as_str().unwrap_or("none")
}

#[test]
fn every_2xx_delivers() {
    let statuses = [200, 201, 202, 204, 205, 226, 299];
    let receiver = Receiver::answering(move |seen| {
        let status = seen.path.trim_start_matches('/').parse().unwrap();
        Answer::reply(status, &[], "thanks")
    });
    let home = Home::new();
    let of = |status: u16| {
        endpoint(
            &format!("e{status}"),
            &receiver.url(&format!("/{status}")),
            "",
        )
    };
    let daemon = home.start(&statuses.map(of).concat());
    let event = daemon.send("a", "1");
    for status in statuses {
        let delivery = daemon.wait_status(&event, &format!("e{status}"), "delivered");
        assert_eq!(delivery["reason"], Value::Null);
        assert_eq!(delivery["attempt_count"], 1);
        assert_eq!(delivery["next_attempt_at"], Value::Null);
        assert_ne!(delivery["finished_at"], Value::Null);
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["status"], status);
        assert_eq!(attempt["error"], Value::Null);
        assert_eq!(attempt["address"], receiver.address().to_string());
        let body = if status == 204 { "" } else { "thanks" };
        assert_eq!(attempt["response_body"], body);
    }
    assert_eq!(receiver.seen().len(), statuses.len());
}

#[test]
fn any_other_status_is_retried_by_schedule() {
    let statuses = [
        300, 301, 302, 304, 307, 308, 400, 401, 404, 409, 418, 422, 500, 502, 599,
    ];
    let elsewhere = Receiver::ok();
    let location = elsewhere.url("/");
    let receiver = Receiver::answering(move |seen| {
        let status = seen.path.trim_start_matches('/').parse().unwrap();
        Answer::reply(status, &[("location", &location)], "no")
    });
    let home = Home::new();
    let of = |status: u16| {
        endpoint(
            &format!("e{status}"),
            &receiver.url(&format!("/{status}")),
            "",
        )
    };
    let daemon = home.start(&(QUICK.to_owned() + &statuses.map(of).concat()));
    let event = daemon.send("a", "1");
    for status in statuses {
        let delivery = daemon.wait_status(&event, &format!("e{status}"), "dead");
        assert_eq!(delivery["reason"], "exhausted");
        assert_eq!(delivery["attempt_count"], 3, "the first and two retries");
        for attempt in delivery["attempts"].as_array().unwrap() {
            assert_eq!(attempt["status"], status);
            assert_eq!(kind(attempt), "status");
        }
    }
    assert_eq!(receiver.seen().len(), 3 * statuses.len());
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
}

#[test]
fn gone_disables_the_endpoint_and_holds_the_rest() {
    let gate = Gate::new();
    let held = gate.clone();
    let receiver = Receiver::answering(move |seen| match seen.number {
        0 => Answer::status(410).behind(&held),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let of = |id: &str, more: &str| endpoint(id, &receiver.url(&format!("/{id}")), more);
    let config = of("gone", "max_in_flight = 1\ntypes = [\"a\"]");
    let daemon = home.start(&config);
    let first = daemon.send("a", "0");
    receiver.wait(1);
    let others: Vec<_> = (1..30).map(|n| daemon.send("a", &n.to_string())).collect();
    gate.open();

    let dead = daemon.wait_status(&first, "gone", "dead");
    assert_eq!(dead["reason"], "gone");
    assert_eq!(dead["attempt_count"], 1);
    assert_eq!(dead["attempts"][0]["status"], 410);
    let shown = daemon.endpoint("gone");
    assert_eq!(shown["enabled"], false);
    assert_eq!(shown["disabled_reason"], "gone");
    assert_eq!(shown["backlog"]["held"], 29);
    let later = daemon.send("a", "30");
    for event in others.iter().chain([&later]) {
        let delivery = daemon.delivery(event, "gone");
        assert_eq!(
            (&delivery["status"], &delivery["reason"]),
            (&"held".into(), &"disabled".into())
        );
        assert_eq!(delivery["attempt_count"], 0);
        assert_eq!(delivery["next_attempt_at"], Value::Null);
    }
    assert_eq!(daemon.status()["backlog"]["held"], 30);
    assert_eq!(receiver.seen().len(), 1);
    // It outlives a crash.
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(daemon.endpoint("gone")["disabled_reason"], "gone");
    assert_eq!(receiver.seen().len(), 1);

    let answer = daemon.tcp.post("/v1/endpoints/gone/enable");
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    let seen = receiver.wait(31);
    for event in others.iter().chain([&later]) {
        daemon.wait_status(event, "gone", "delivered");
    }
    // Paced at 100/s, with a burst of a tenth of a second.
    let took = seen[30].at - seen[1].at;
    assert!(
        took >= Duration::from_millis(100),
        "30 released within {took:?}"
    );
    assert_eq!(
        daemon.delivery(&first, "gone")["status"],
        "dead",
        "it stays so"
    );
    let shown = daemon.endpoint("gone");
    assert_eq!(
        (&shown["enabled"], &shown["disabled_reason"]),
        (&true.into(), &Value::Null)
    );
}

fn paused_until(retry_after: &'static str, status: u16) -> (Home, Daemon, Receiver) {
    let receiver = Receiver::answering(move |seen| match seen.number {
        0 => Answer::reply(status, &[("retry-after", retry_after)], ""),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let config = endpoint("busy", &receiver.url("/busy"), "");
    let daemon = home.start(&config);
    (home, daemon, receiver)
}

#[test]
fn retry_after_pauses_the_whole_endpoint() {
    for status in [429, 503] {
        let (_home, daemon, receiver) = paused_until("1", status);
        let first = daemon.send("a", "1");
        let first_at = receiver.wait(1)[0].at;
        daemon.wait_delivery(&first, "busy", "attempted", |one| one["attempt_count"] == 1);
        // It could go at once, were the endpoint not paused.
        let other = daemon.send("a", "2");
        let seen = receiver.wait(3);
        for seen in &seen[1..] {
            let waited = seen.at - first_at;
            assert!(
                waited >= Duration::from_millis(995),
                "{status}: after {waited:?}"
            );
        }
        daemon.wait_status(&first, "busy", "delivered");
        let other = daemon.wait_status(&other, "busy", "delivered");
        assert_eq!(other["attempt_count"], 1);
    }
}

#[test]
fn retry_after_can_be_a_date() {
    // Whole seconds only: so the date is made far enough ahead to be told from no pause.
    let receiver = Receiver::answering(move |seen| match seen.number {
        0 => {
            let date = SystemTime::now() + Duration::from_secs(2);
            Answer::reply(503, &[("retry-after", &httpdate::fmt_http_date(date))], "")
        }
        _ => Answer::status(200),
    });
    let home = Home::new();
    let daemon = home.start(&endpoint("busy", &receiver.url("/"), ""));
    daemon.send("a", "1");
    let seen = receiver.wait(2);
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(950), "after {waited:?}");
}

#[test]
fn retry_after_is_capped_and_only_heeded_with_429_and_503() {
    // An hour, but `max` is 200 ms.
    let retry = "[retry]\nfirst = \"20ms\"\nmax = \"200ms\"\n";
    for (status, at_least) in [(503, 195), (500, 0), (302, 0)] {
        let receiver = Receiver::answering(move |seen| match seen.number {
            0 => Answer::reply(status, &[("retry-after", "3600")], ""),
            _ => Answer::status(200),
        });
        let home = Home::new();
        let daemon = home.start(&(retry.to_owned() + &endpoint("busy", &receiver.url("/"), "")));
        let event = daemon.send("a", "1");
        let seen = receiver.wait(2);
        let waited = seen[1].at - seen[0].at;
        assert!(
            waited >= Duration::from_millis(at_least),
            "{status}: {waited:?}"
        );
        daemon.wait_status(&event, "busy", "delivered");
    }
}

/// Sends one event to the endpoint and gives the delivery once it is dead.
fn fails(settings: &str, url: &str, more: &str) -> (Home, Value) {
    let home = Home::new();
    let daemon = home.start(&(QUICK.to_owned() + settings + &endpoint("bad", url, more)));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "bad", "dead");
    assert_eq!(delivery["reason"], "exhausted");
    assert_eq!(delivery["attempt_count"], 3);
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3);
    for attempt in attempts {
        assert_eq!(attempt["status"], Value::Null);
        let detail = attempt["error"]["detail"].as_str().unwrap();
        assert!(!detail.is_empty());
    }
    (home, delivery)
}

#[test]
fn a_name_that_does_not_resolve_is_a_dns_failure() {
    let (_home, delivery) = fails("", "https://nowhere.invalid/", "");
    for attempt in delivery["attempts"].as_array().unwrap() {
        assert_eq!(kind(attempt), "dns");
        assert_eq!(attempt["address"], Value::Null);
    }
}

#[test]
fn a_port_where_nobody_listens_is_a_connect_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let (_home, delivery) = fails("", &format!("http://{address}/"), "");
    for attempt in delivery["attempts"].as_array().unwrap() {
        assert_eq!(kind(attempt), "connect");
        assert_eq!(attempt["address"], address.to_string());
    }
}

#[test]
fn a_receiver_without_tls_is_a_tls_failure() {
    let receiver = Receiver::answering(|_| Answer::Raw(b"HTTP/1.1 400 no\r\n\r\n".to_vec()));
    let url = format!("https://{}/", receiver.address());
    let (_home, delivery) = fails("", &url, "");
    for attempt in delivery["attempts"].as_array().unwrap() {
        assert_eq!(kind(attempt), "tls");
    }
}

#[test]
fn a_receiver_that_says_nothing_is_a_timeout() {
    let receiver = Receiver::answering(|_| Answer::hang());
    let (_home, delivery) = fails("", &receiver.url("/"), "timeout = \"200ms\"");
    for attempt in delivery["attempts"].as_array().unwrap() {
        assert_eq!(kind(attempt), "timeout");
        let took = attempt["duration_ms"].as_u64().unwrap();
        assert!((200..2000).contains(&took), "{took} ms");
    }
    wait_for(
        || (receiver.open_connections() == 0).then_some(()),
        || "the daemon keeps connections to a receiver that timed out".to_owned(),
    );
}

#[test]
fn an_address_that_is_not_allowed_is_blocked_without_a_connection() {
    let receiver = Receiver::ok();
    let port = receiver.address().port();
    let nothing = "[delivery]\nallow_networks = []\nallow_http = true\n";
    let spellings = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        format!("http://localhost:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "https://[fd00::1]/".to_owned(),
    ];
    let home = Home::new();
    let of = |(n, url): (usize, &String)| endpoint(&format!("e{n}"), url, "");
    let endpoints: String = spellings.iter().enumerate().map(of).collect();
    let daemon = home.start(&(QUICK.to_owned() + nothing + &endpoints));
    let event = daemon.send("a", "1");
    for (n, url) in spellings.iter().enumerate() {
        let delivery = daemon.wait_status(&event, &format!("e{n}"), "dead");
        for attempt in delivery["attempts"].as_array().unwrap() {
            assert_eq!(kind(attempt), "blocked", "{url}");
        }
        assert_eq!(delivery["attempt_count"], 3);
    }
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_grant_is_for_its_endpoint_alone() {
    let receiver = Receiver::ok();
    let nothing = "[delivery]\nallow_networks = []\n";
    let grant = "allow_networks = [\"127.0.0.1/32\"]";
    let home = Home::new();
    let url = |path: &str| receiver.url(path);
    let endpoints = [
        endpoint("granted", &url("/granted"), grant),
        endpoint("bare", &url("/bare"), ""),
    ];
    let daemon = home.start(&(QUICK.to_owned() + nothing + &endpoints.concat()));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "granted", "delivered");
    daemon.wait_status(&event, "bare", "dead");
    let paths: Vec<_> = receiver.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/granted"]);
}

#[test]
fn plain_http_to_a_public_address_needs_leave() {
    // Blocked before anything is dialled: a public address is only named here.
    let (_home, delivery) = fails("", "http://192.88.99.1/", "");
    assert_eq!(kind(&delivery["attempts"][0]), "blocked");
    let (_home, delivery) = fails("", "http://8.8.8.8/", "");
    assert_eq!(kind(&delivery["attempts"][0]), "blocked");
}

#[test]
fn the_budget_in_time_is_judged_after_a_failed_attempt() {
    let receiver = Receiver::statuses(&[500]);
    let home = Home::new();
    let retry =
        "[retry]\nfirst = \"50ms\"\nfactor = 1.0\njitter = 0.0\ngive_up_after = \"400ms\"\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("bad", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "bad", "dead");
    assert_eq!(delivery["reason"], "exhausted");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert!((2..=9).contains(&attempts.len()), "{}", attempts.len());
    let moment = |name: &str| {
        delivery[name]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .unwrap()
    };
    let whole = moment("finished_at").since(moment("accepted_at"));
    assert!(
        whole >= Duration::from_millis(400),
        "given up after {whole:?}"
    );
    // Kept and listed.
    let dead = daemon.tcp.get("/v1/deliveries?status=dead").expect(200);
    assert_eq!(dead["data"][0]["event"], event);
    assert_eq!(daemon.status()["backlog"]["dead"], 1);
}

#[test]
fn delays_grow_by_the_factor_up_to_the_longest() {
    let receiver = Receiver::statuses(&[500, 500, 500, 500, 200]);
    let home = Home::new();
    let retry = "[retry]\nfirst = \"40ms\"\nfactor = 3.0\nmax = \"200ms\"\njitter = 0.0\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("bad", &receiver.url("/"), "")));
    daemon.send("a", "1");
    let seen = receiver.wait(5);
    let gaps: Vec<_> = seen.windows(2).map(|two| two[1].at - two[0].at).collect();
    for (gap, least) in gaps.iter().zip([40, 120, 200, 200]) {
        // From the end of the attempt; what is stored is whole milliseconds.
        assert!(*gap >= Duration::from_millis(least - 1), "{gaps:?}");
    }
}

#[test]
fn a_delivery_whose_time_ran_out_while_the_daemon_was_down_gets_one_more_attempt() {
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    let retry =
        "[retry]\nschedule = []\nfirst = \"60s\"\nmax = \"60s\"\njitter = 0.0\ngive_up_after = ";
    let config = |give_up: &str| {
        format!(
            "{retry}\"{give_up}\"\n{}",
            endpoint("bad", &receiver.url("/"), "")
        )
    };
    let daemon = home.start(&config("1h"));
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, "bad", "attempted", |one| one["attempt_count"] == 1);
    daemon.kill();
    // Its budget is over now; pending it is retried at once and gets through.
    let daemon = home.start(&config("1ms"));
    assert_eq!(daemon.delivery(&event, "bad")["status"], "pending");
    let path = format!("/v1/events/{event}/deliveries/bad/retry");
    daemon.tcp.post(&path).expect(202);
    daemon.wait_status(&event, "bad", "delivered");
}

#[test]
fn the_response_is_kept_up_to_its_limit() {
    let receiver = Receiver::answering(|_| Answer::reply(500, &[], &"x".repeat(10_000)));
    let (_home, delivery) = {
        let home = Home::new();
        let daemon = home.start(&(QUICK.to_owned() + &endpoint("bad", &receiver.url("/"), "")));
        let event = daemon.send("a", "1");
        let delivery = daemon.wait_status(&event, "bad", "dead");
        (home, delivery)
    };
    for attempt in delivery["attempts"].as_array().unwrap() {
        assert_eq!(attempt["response_body"], "x".repeat(4096));
    }
}

#[test]
fn connections_are_kept_for_the_next_attempt() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("busy", &receiver.url("/"), ""));
    for number in 1..=20 {
        let event = daemon.send("a", "1");
        receiver.wait(number);
        daemon.wait_status(&event, "busy", "delivered");
    }
    let seen: Vec<Seen> = receiver.seen();
    assert!(
        receiver.connections() < seen.len(),
        "{} connections",
        receiver.connections()
    );
}
