//! SIGHUP: changes in the file take effect, keys that need a restart are named, and a faulty file
//! changes nothing.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::harness::http::{Interface, head};
use crate::harness::{Home, Receiver, endpoint, wait_for};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0";

#[test]
fn endpoints_of_the_file_are_added_changed_and_removed() {
    let (home, first, second) = (Home::new(), Receiver::ok(), Receiver::ok());
    let stays = endpoint("stays", &first.url("/stays"), "types = [\"a\"]");
    let before = endpoint("moves", &first.url("/old"), "types = [\"b\"]");
    let daemon = home.start(&(stays.clone() + &before));
    let after = endpoint("moves", &second.url("/new"), "types = [\"b\"]");
    let new = endpoint("new", &second.url("/own"), "types = [\"c\"]");
    home.write_config(&(stays.clone() + &after + &new));
    let said = daemon.reload();
    assert_eq!(said["message"], "the configuration was reloaded");
    let counts = ["added", "changed", "removed"]
        .map(|what| said[format!("endpoints_{what}")].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 0]);
    for (kind, id) in [("a", "stays"), ("b", "moves"), ("c", "new")] {
        let event = daemon.send(kind, "1");
        daemon.wait_status(&event, id, "delivered");
    }
    assert_eq!(first.wait(1)[0].path, "/stays");
    let seen = second.wait(2);
    let paths: Vec<_> = seen.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(paths, ["/new", "/own"]);
    // The endpoint may be added again, so its open deliveries are held.
    home.write_config(&(stays.clone() + &new));
    let said = daemon.reload();
    assert_eq!(said["endpoints_removed"], 1);
    daemon.tcp.get("/v1/endpoints/moves").problem(404);
    let unwanted = daemon.send("b", "2");
    assert_eq!(
        daemon
            .tcp
            .get(&format!("/v1/events/{unwanted}"))
            .expect(200)["deliveries"],
        serde_json::json!([])
    );
    home.write_config(&(stays + &after + &new));
    assert_eq!(daemon.reload()["endpoints_added"], 1);
    let event = daemon.send("b", "3");
    daemon.wait_status(&event, "moves", "delivered");
}

#[test]
fn deliveries_of_a_removed_endpoint_are_held_until_it_is_added_again() {
    let (home, receiver) = (Home::new(), Receiver::statuses(&[500]));
    let retry = "retry = { first = \"1h\", max = \"1h\" }";
    let config = endpoint("one", &receiver.url("/"), retry);
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    receiver.wait(1);
    daemon.wait_delivery(&event, "one", "attempted", |delivery| {
        delivery["attempt_count"] == 1
    });
    home.write_config("");
    daemon.reload();
    let delivery = daemon.delivery(&event, "one");
    assert_eq!(delivery["status"], "held");
    assert_eq!(delivery["reason"], "endpoint_missing");
    let back = Receiver::ok();
    home.write_config(&endpoint("one", &back.url("/"), retry));
    daemon.reload();
    daemon.wait_status(&event, "one", "delivered");
    // They stay held over a restart.
    home.write_config("");
    daemon.reload();
    assert_eq!(daemon.stop().code(), Some(0));
    let daemon = home.start("");
    home.write_config(&config);
    daemon.reload();
    let event = daemon.send("a", "1");
    receiver.wait(2);
    home.write_config("");
    daemon.reload();
    let delivery = daemon.delivery(&event, "one");
    assert_eq!(delivery["reason"], "endpoint_missing");
}

#[test]
fn an_endpoint_is_switched_off_and_on_in_the_file() {
    let (home, receiver) = (Home::new(), Receiver::ok());
    let config = |more: &str| endpoint("one", &receiver.url("/"), more);
    let daemon = home.start(&config(""));
    home.write_config(&config("enabled = false"));
    daemon.reload();
    let event = daemon.send("a", "1");
    assert_eq!(daemon.delivery(&event, "one")["status"], "held");
    assert_eq!(daemon.endpoint("one")["disabled_reason"], "manual");
    home.write_config(&config(""));
    daemon.reload();
    daemon.wait_status(&event, "one", "delivered");
}

#[test]
fn templates_of_headers_change() {
    let (home, receiver) = (Home::new(), Receiver::ok());
    let config = |template: &str| {
        let headers = format!("headers = {{ x-made = \"{template}\" }}");
        endpoint("one", &receiver.url("/"), &headers)
    };
    let daemon = home.start(&config("{{ event.type }}"));
    daemon.send("order", "1");
    assert_eq!(receiver.wait(1)[0].header("x-made"), "order");
    home.write_config(&config("{{ event.type }} then"));
    daemon.reload();
    daemon.send("order", "1");
    assert_eq!(receiver.wait(2)[1].header("x-made"), "order then");
}

#[test]
fn secrets_tokens_and_limits_change_without_losing_a_connection() {
    let (home, receiver) = (Home::new(), Receiver::ok());
    let token_file = home.path("token");
    std::fs::write(&token_file, "t0k-before").unwrap();
    let config = |secrets: &str, ingest: &str| {
        let auth = format!(
            "[auth]\ntokens = [{{ name = \"ops\", token_file = {token_file:?}, scope = \"admin\" }}]\n"
        );
        let one = endpoint("one", &receiver.url("/"), &format!("secrets = {secrets}"));
        format!("{auth}[ingest]\n{ingest}\n{one}")
    };
    let one_secret = format!("[\"{SECRET}\"]");
    let daemon = home.start(&config(&one_secret, ""));
    let mut connection = daemon.tcp.connect().unwrap();
    let mut ask = |token: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
        ];
        let answer = connection.ask("POST", "/v1/events", &headers, body.as_bytes());
        answer.expect("the connection is kept").status
    };
    let small = "{\"type\": \"a\", \"data\": 1}";
    let large = format!("{{\"type\": \"a\", \"data\": \"{}\"}}", "x".repeat(600));
    assert_eq!(ask("t0k-before", &large), 202);
    assert_eq!(
        receiver.wait(1)[0]
            .header("webhook-signature")
            .split(' ')
            .count(),
        1
    );
    std::fs::write(&token_file, "t0k-after").unwrap();
    let two_secrets = format!("[\"{OTHER}\", \"{SECRET}\"]");
    home.write_config(&config(&two_secrets, "max_event_size = \"512B\""));
    assert_eq!(daemon.reload()["message"], "the configuration was reloaded");
    assert_eq!(ask("t0k-after", small), 202);
    let headers = [("authorization", "Bearer t0k-before")];
    let refused = daemon.tcp.request("GET", "/v1/status", &headers, b"");
    assert_eq!(refused.status, 401);
    let signed = receiver.wait(2);
    assert_eq!(signed[1].header("webhook-signature").split(' ').count(), 2);
    let headers = [
        ("authorization", "Bearer t0k-after"),
        ("content-type", "application/json"),
    ];
    let refused = daemon
        .tcp
        .request("POST", "/v1/events", &headers, large.as_bytes());
    assert_eq!(refused.status, 413);
    home.write_config(&config(&one_secret, "rate_limit = \"1/m\""));
    daemon.reload();
    assert_eq!(ask("t0k-after", small), 202);
    assert_eq!(ask("t0k-after", small), 429);
}

#[test]
fn a_faulty_file_changes_nothing_and_all_faults_are_logged() {
    let (home, receiver) = (Home::new(), Receiver::ok());
    let good = endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&good);
    let bad = endpoint("one", "http://no such url/", "")
        + "max_in_flite = 3\n[retention]\ndead = \"-1\"\n";
    home.write_config(&bad);
    let said = daemon.reload();
    assert_eq!(
        said["message"],
        "the configuration has faults and was not reloaded; nothing changed"
    );
    assert_eq!(said["faults"], 3);
    let text = daemon.log_text();
    for key in [
        "endpoint[0].url",
        "endpoint[0].max_in_flite",
        "retention.dead",
    ] {
        assert!(text.contains(key), "{key} is not in {text}");
    }
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    // The next valid file is put in force.
    home.write_config(&good);
    assert_eq!(daemon.reload()["message"], "the configuration was reloaded");
}

#[test]
fn a_reload_cannot_remove_the_token_of_an_exposed_listener() {
    let home = Home::new();
    let token_file = home.path("token");
    std::fs::write(&token_file, "t0k").unwrap();
    let daemon = home.start(&format!(
        "[listen]\nhttp = \"0.0.0.0:0\"\n[auth]\ntokens = [{{ name = \"ops\", token_file = {token_file:?}, scope = \"admin\" }}]\n"
    ));
    home.write_config("[listen]\nhttp = \"127.0.0.1:0\"\n");
    let said = daemon.reload();
    assert!(
        said["error"].as_str().unwrap().contains("keep a token"),
        "{said}"
    );
    let port = daemon.url().rsplit_once(':').unwrap().1.to_owned();
    let local = Interface::Tcp(format!("127.0.0.1:{port}").parse().unwrap());
    assert_eq!(local.get("/v1/status").status, 401);
}

#[test]
fn keys_that_need_a_restart_are_named() {
    let home = Home::new();
    let daemon = home.start("[delivery]\nthreads = 1\n");
    home.write_config("[delivery]\nthreads = 2\n[outbox]\nsegment_size = \"8MiB\"\n");
    daemon.reload();
    let said = daemon.wait_log("take effect only after a restart");
    assert_eq!(
        said["keys"],
        "outbox.segment_size, outbox.cache_size, delivery.threads"
    );
}

#[test]
fn the_level_of_the_log_and_how_attempts_are_made_change() {
    let (home, receiver) = (Home::new(), Receiver::ok());
    let one = endpoint("one", &receiver.url("/"), "");
    let config = |level: &str, agent: &str| {
        format!(
            "[log]\nlevel = \"{level}\"\nformat = \"json\"\n[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nuser_agent = \"{agent}\"\n{one}"
        )
    };
    let daemon = home.start(&config("info", "before/1"));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    assert!(!daemon.log_text().contains("\"delivered\""));
    home.write_config(&config("debug", "after/1"));
    daemon.reload();
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    daemon.wait_log("delivered");
    let seen = receiver.seen();
    let agents: Vec<_> = seen.iter().map(|seen| seen.header("user-agent")).collect();
    assert_eq!(agents, ["before/1", "after/1"]);
}

#[test]
fn endpoints_of_the_api_follow_the_new_defaults() {
    let (home, receiver) = (Home::new(), Receiver::statuses(&[500, 200]));
    let retry = |first: &str| format!("[retry]\nfirst = \"{first}\"\nfactor = 1.0\njitter = 0.0\n");
    let daemon = home.start(&retry("50ms"));
    let body = format!("{{\"url\": \"{}\"}}", receiver.url("/"));
    let made = daemon.tcp.post_json("/v1/endpoints", body).expect(201);
    let id = made["id"].as_str().unwrap();
    home.write_config(&retry("1h"));
    daemon.reload();
    let event = daemon.send("a", "1");
    daemon.wait_delivery(&event, id, "attempted", |delivery| {
        delivery["attempt_count"] == 1
    });
    let next = &daemon.delivery(&event, id)["next_attempt_at"];
    let next: jiff::Timestamp = next.as_str().unwrap().parse().unwrap();
    assert!(next.as_second() > jiff::Timestamp::now().as_second() + 3000);
}

#[test]
fn sources_of_the_file_are_added_and_removed() {
    let home = Home::new();
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"\n";
    let source = "\n[[source]]\nid = \"gh\"\npreset = \"query_token\"\ntoken = \"t\"\n";
    let daemon = home.start(listen);
    let call = |body: &str| {
        let headers = [("content-type", "application/json")];
        let public = daemon.public();
        public
            .request("POST", "/in/gh?token=t", &headers, body.as_bytes())
            .status
    };
    assert_eq!(call("0"), 404);
    home.write_config(&format!("{listen}{source}"));
    daemon.reload();
    assert_eq!(call("1"), 200);
    home.write_config(listen);
    daemon.reload();
    assert_eq!(call("2"), 404);
    home.write_config(&format!("{listen}{source}"));
    daemon.reload();
    assert_eq!(call("3"), 200);
    let shown = daemon.tcp.get("/v1/sources/gh").expect(200);
    assert_eq!(shown["counts"]["accepted"], 2, "{shown:#}");
}

#[test]
fn nothing_is_lost_when_it_reloads_under_load() {
    let (home, receiver) = (Home::new(), Receiver::ok());
    let config = |n: usize| {
        let one = format!("max_in_flight = {}", n % 7 + 1);
        endpoint("one", &receiver.url("/"), &one)
    };
    let daemon = home.start(&config(0));
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let mut sent = Vec::new();
            while !done.load(Relaxed) {
                sent.push(daemon.send("a", "1"));
            }
            sent
        });
        for n in 1..20 {
            home.write_config(&config(n));
            assert_eq!(daemon.reload()["message"], "the configuration was reloaded");
        }
        done.store(true, Relaxed);
        loading.join().unwrap()
    });
    for event in &sent {
        daemon.wait_status(event, "one", "delivered");
    }
    wait_for(
        || (receiver.seen().len() == sent.len()).then_some(()),
        || format!("{} for {}", receiver.seen().len(), sent.len()),
    );
}

#[test]
fn a_tail_ends_with_the_token_that_opened_it() {
    let home = Home::new();
    let (stays, goes) = (home.path("stays"), home.path("goes"));
    std::fs::write(&stays, "t0k-stays").unwrap();
    std::fs::write(&goes, "t0k-goes").unwrap();
    let token = |name: &str, file: &std::path::Path| {
        format!("{{ name = \"{name}\", token_file = {file:?}, scope = \"admin\" }}")
    };
    let both = [token("stays", &stays), token("goes", &goes)].join(", ");
    let daemon = home.start(&format!("[auth]\ntokens = [{both}]\n"));
    let open = |token: &str| {
        let mut connection = daemon.tcp.connect().unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let head = head("GET", "/v1/tail", &headers, None);
        connection.send(&head).unwrap();
        connection.until(": tail").unwrap();
        connection
    };
    let (mut kept, mut ended) = (open("t0k-stays"), open("t0k-goes"));
    home.write_config(&format!("[auth]\ntokens = [{}]\n", token("stays", &stays)));
    daemon.reload();
    ended.rest().unwrap();
    daemon
        .unix
        .post_json("/v1/events", "{\"type\": \"a\", \"data\": 1}");
    kept.until("event: accepted").unwrap();
}
