//! Bearer tokens and their scopes, over TCP and not on the socket, for requests and commands.

use std::net::TcpListener;

use crate::harness::http::{Interface, Response};
use crate::harness::{Home, Receiver, endpoint};
use crate::sockets::Passed;

const APP: &str = "t0k-app-8c1f2f";
const OPS: &str = "t0k-ops-77ab03";

/// A home with the two token files, and the table that names them.
fn with_tokens() -> (Home, String) {
    let home = Home::new();
    let mut tokens = Vec::new();
    for (name, token, scope) in [("app", APP, "ingest"), ("ops", OPS, "admin")] {
        let file = home.path(name);
        // As some editors write it.
        std::fs::write(&file, format!("\u{feff}{token}\r\n")).unwrap();
        tokens.push(format!(
            "{{ name = \"{name}\", token_file = {file:?}, scope = \"{scope}\" }}"
        ));
    }
    let table = format!("[auth]\ntokens = [{}]\n", tokens.join(", "));
    (home, table)
}

fn ask(interface: &Interface, method: &str, path: &str, token: Option<&str>) -> Response {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(
        bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str())),
    );
    let body: &[u8] = match (method, path) {
        ("POST", "/v1/events") => b"{\"type\": \"a\", \"data\": 1}",
        _ => b"",
    };
    interface.request(method, path, &headers, body)
}

#[test]
fn each_scope_lets_in_to_its_own() {
    let (home, tokens) = with_tokens();
    let receiver = Receiver::ok();
    let daemon = home.start(&(tokens + &endpoint("one", &receiver.url("/"), "")));
    let event = ask(&daemon.tcp, "POST", "/v1/events", Some(APP)).expect(202);
    let event = event["id"].as_str().unwrap();
    let shown = format!("/v1/events/{event}");
    let retry = format!("/v1/events/{event}/deliveries/one/retry");
    for (method, path, expected) in [
        ("GET", "/healthz", [200, 200, 200, 200]),
        ("GET", "/readyz", [200, 200, 200, 200]),
        ("GET", "/metrics", [401, 401, 200, 200]),
        ("POST", "/v1/events", [401, 401, 202, 202]),
        ("GET", "/v1/events", [401, 401, 403, 200]),
        ("GET", &shown, [401, 401, 403, 200]),
        ("GET", "/v1/status", [401, 401, 403, 200]),
        ("GET", "/v1/endpoints", [401, 401, 403, 200]),
        ("POST", &retry, [401, 401, 403, 202]),
        ("POST", "/v1/endpoints/one/disable", [401, 401, 403, 204]),
        ("GET", "/nowhere", [401, 401, 403, 404]),
        ("OPTIONS", "/v1/events", [401, 401, 403, 405]),
    ] {
        let with = |token| ask(&daemon.tcp, method, path, token);
        let answers = [None, Some("t0k-nobody"), Some(APP), Some(OPS)].map(with);
        let found = answers.each_ref().map(|answer| answer.status);
        assert_eq!(found, expected, "{method} {path}");
        for answer in answers {
            match answer.status {
                401 => {
                    answer.problem(401);
                    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                }
                403 => assert!(answer.problem(403).contains("scope admin")),
                _ => {}
            }
        }
        // On the socket its mode has decided.
        let socket = ask(&daemon.unix, method, path, None).status;
        let wrong = ask(&daemon.unix, method, path, Some("t0k-nobody")).status;
        assert_eq!(
            (socket, wrong),
            (expected[3], expected[3]),
            "{method} {path}"
        );
    }
    let opaque = [
        ("content-type", "text/plain"),
        ("authorization", "Bearer t0k-app-8c1f2f"),
    ];
    let answer = daemon.tcp.request("POST", "/v1/events/a.b", &opaque, b"x");
    answer.expect(202);
}

#[test]
fn a_token_that_is_nearly_right_is_wrong() {
    let (home, tokens) = with_tokens();
    let daemon = home.start(&tokens);
    let longer = format!("{OPS}x");
    let long = OPS.repeat(200);
    for wrong in ["", "t0k-ops-77ab0", &longer, "T0K-OPS-77AB03", &long] {
        let answer = ask(&daemon.tcp, "GET", "/v1/status", Some(wrong));
        answer.problem(401);
    }
    for value in [
        OPS.to_owned(),
        format!("Basic {OPS}"),
        format!("Bearer {OPS} {OPS}"),
    ] {
        let headers = [("authorization", value.as_str())];
        let answer = daemon.tcp.request("GET", "/v1/status", &headers, b"");
        answer.problem(401);
    }
    let right = format!("bearer {OPS}");
    let twice = [
        ("authorization", right.as_str()),
        ("authorization", right.as_str()),
    ];
    let ask = |headers| daemon.tcp.request("GET", "/v1/status", headers, b"").status;
    assert_eq!((ask(&twice), ask(&twice[..1])), (401, 200));
}

#[test]
fn tokens_are_written_nowhere() {
    let (home, tokens) = with_tokens();
    let receiver = Receiver::ok();
    let log = "[log]\nlevel = \"trace\"\nformat = \"json\"\n";
    let daemon = home.start(&(tokens + log + &endpoint("one", &receiver.url("/"), "")));
    for token in [APP, OPS, "t0k-nobody"] {
        ask(&daemon.tcp, "GET", "/v1/status", Some(token));
        ask(&daemon.tcp, "POST", "/v1/events", Some(token));
    }
    let metrics = ask(&daemon.tcp, "GET", "/metrics", Some(OPS)).text();
    let config = home.path("outboxd.toml");
    let check = ["check", "--config", config.to_str().unwrap()];
    let (text, json) = (
        home.run(&check),
        home.run(&[&check[..], &["--json"]].concat()),
    );
    assert_eq!((text.code, json.code), (Some(0), Some(0)), "{text:?}");
    assert!(text.stdout.contains("ops"), "{text:?}");
    receiver.wait(2);
    let status = daemon.wait_log("ready");
    assert_eq!(status["level"], "INFO");
    for place in [
        daemon.log_text(),
        metrics,
        text.stdout,
        text.stderr,
        json.stdout,
    ] {
        assert!(!place.contains("t0k-"), "{place}");
    }
}

/// Runs `check`, then `serve`, and gives what they said; both must end with 2.
#[track_caller]
fn refused(home: &Home, config: &str) -> String {
    let path = home.write_config(config);
    let path = path.to_str().unwrap();
    let check = home.run(&["check", "--config", path]);
    let serve = home.run(&["serve", "--config", path]);
    assert_eq!(
        (check.code, serve.code),
        (Some(2), Some(2)),
        "{check:?} {serve:?}"
    );
    check.stderr + &serve.stderr
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let (home, tokens) = with_tokens();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let listen = format!("[listen]\nhttp = \"{address}\"\n");
        let said = refused(&home, &listen);
        assert_eq!(said.matches("listen.http").count(), 2, "{said}");
        assert!(said.contains("[auth]"), "{said}");
    }
    let open = home.start(&("[listen]\nhttp = \"0.0.0.0:0\"\n".to_owned() + &tokens));
    let Interface::Tcp(at) = open.tcp else {
        panic!("not on TCP")
    };
    let interface = Interface::Tcp(([127, 0, 0, 1], at.port()).into());
    assert_eq!(ask(&interface, "GET", "/v1/status", None).status, 401);
    assert_eq!(ask(&interface, "GET", "/v1/status", Some(OPS)).status, 200);
}

#[test]
fn a_socket_from_systemd_beyond_loopback_needs_a_token_too() {
    let (home, tokens) = with_tokens();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let mut refused = Passed::start(&home, &[&listener], None, "");
    let (code, said) = refused.end();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("systemd") && said.contains("[auth]"),
        "{said}"
    );
    let mut let_in = Passed::start(&home, &[&listener], None, &tokens);
    let_in.wait_ready();
    let interface = Interface::Tcp(([127, 0, 0, 1], listener.local_addr().unwrap().port()).into());
    assert_eq!(ask(&interface, "GET", "/v1/status", None).status, 401);
    assert_eq!(ask(&interface, "GET", "/v1/status", Some(OPS)).status, 200);
}

#[test]
fn commands_take_the_token_from_a_file() {
    let (mut home, tokens) = with_tokens();
    let daemon = home.start(&tokens);
    let url = daemon.url();
    let file = |name: &str| home.path(name).to_str().unwrap().to_owned();
    let (app, ops) = (file("app"), file("ops"));
    let status = |home: &Home, more: &[&str]| {
        home.run(&[&["status", "--url", &url, "--json"], more].concat())
    };
    assert_eq!(
        status(&home, &["--token-file", &ops]).json()["backlog"]["pending"],
        0
    );
    let none = status(&home, &[]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("--token-file"), "{none:?}");
    let small = status(&home, &["--token-file", &app]);
    assert_eq!(small.code, Some(1));
    assert!(small.stderr.contains("scope admin"), "{small:?}");
    let wrong = file("wrong");
    std::fs::write(&wrong, "t0k-nobody\n").unwrap();
    let wrong = status(&home, &["--token-file", &wrong]);
    assert_eq!(wrong.code, Some(1));
    assert!(
        wrong.stderr.contains("not one of the daemon's") && !wrong.stderr.contains("t0k-"),
        "{wrong:?}"
    );
    home.set_env("OUTBOXD_TOKEN_FILE", app);
    let sent = home.run(&["send", "a.b", "1", "--url", &url, "--json"]);
    assert!(sent.json()["id"].as_str().unwrap().starts_with("evt_"));
    let socket = home.path("api.sock");
    let over_socket = home.run(&["status", "--unix", socket.to_str().unwrap(), "--json"]);
    assert_eq!(over_socket.code, Some(0));
}

#[test]
fn the_log_says_who_changed_what() {
    let (home, tokens) = with_tokens();
    let receiver = Receiver::ok();
    let daemon = home.start(&(tokens + &endpoint("one", &receiver.url("/"), "")));
    let event = ask(&daemon.tcp, "POST", "/v1/events", Some(APP)).expect(202);
    let event = event["id"].as_str().unwrap();
    let retry = format!("/v1/events/{event}/deliveries/one/retry");
    assert_eq!(ask(&daemon.tcp, "POST", &retry, Some(OPS)).status, 202);
    // Refused: nothing is changed.
    assert_eq!(ask(&daemon.tcp, "POST", &retry, Some(APP)).status, 403);
    let made = daemon
        .unix
        .post_json("/v1/endpoints", r#"{"url": "https://example.invalid/"}"#);
    let made = made.expect(201)["id"].as_str().unwrap().to_owned();
    let dry = r#"{"dry_run": true}"#;
    daemon
        .unix
        .post_json("/v1/endpoints/one/replay", dry)
        .expect(200);
    for (method, path, body) in [
        (
            "POST",
            "/v1/endpoints?dry_run=true".to_owned(),
            r#"{"url": "https://example.invalid/"}"#,
        ),
        (
            "PATCH",
            format!("/v1/endpoints/{made}?dry_run=true"),
            r#"{"timeout": "5s"}"#,
        ),
        (
            "POST",
            "/v1/sources?dry_run=true".to_owned(),
            r#"{"preset": "github", "secrets": ["s"]}"#,
        ),
    ] {
        let headers = [("content-type", "application/json")];
        let asked = daemon
            .unix
            .request(method, &path, &headers, body.as_bytes());
        asked.expect(200);
    }
    assert_eq!(daemon.unix.post("/v1/endpoints/one/disable").status, 204);
    daemon.terminate();
    daemon.wait_log("stopped");
    let lines: Vec<serde_json::Value> = daemon
        .log_text()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["message"] == "changed through the API")
        .collect();
    let told: Vec<[&str; 4]> = lines
        .iter()
        .map(|line| ["level", "action", "object", "by"].map(|key| line[key].as_str().unwrap()))
        .collect();
    let delivery = format!("{event}/one");
    assert_eq!(
        told,
        [
            ["INFO", "delivery.retry", &delivery, "ops"],
            ["INFO", "endpoint.create", &made, "unix socket"],
            ["INFO", "endpoint.disable", "one", "unix socket"],
        ]
    );
}
