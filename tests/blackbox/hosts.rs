//! `Host` and `Origin` over TCP, written out byte for byte.

use crate::harness::Home;
use crate::harness::http::{Interface, Response};

/// Sends these lines as a request's head.
#[track_caller]
fn raw(interface: &Interface, lines: &[&str]) -> Response {
    let mut connection = interface.connect().unwrap();
    let text = lines.join("\r\n") + "\r\nconnection: close\r\n\r\n";
    connection.send(text.as_bytes()).unwrap();
    connection.answer().unwrap()
}

#[track_caller]
fn judged(interface: &Interface, lines: &[&str], status: u16) {
    let answer = raw(interface, lines);
    assert_eq!(answer.status, status, "{lines:?}: {}", answer.text());
    if status == 403 {
        let refused = "urn:outboxd:problem:host-refused";
        assert_eq!(answer.json()["type"], refused, "{lines:?}");
        answer.problem(403);
    }
    let cors = |(name, _): &&(String, String)| name.starts_with("access-control-");
    assert!(
        !answer.headers.iter().any(|header| cors(&header)),
        "{lines:?}"
    );
}

const STATUS: &str = "GET /v1/status HTTP/1.1";

#[test]
fn only_our_own_hosts_are_let_in() {
    let home = Home::new();
    let socket = home.path("api.sock");
    let daemon = home.start(&format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\nunix = {socket:?}\nhosts = [\"outbox.internal\", \"2001:db8::7\"]\n"
    ));
    let own = daemon.url().replace("http://", "");
    let own = own.as_str();
    for host in [
        own,
        "localhost",
        "LOCALHOST:9",
        "localhost.",
        "127.0.0.1",
        "127.0.0.2:80",
        "[::1]",
        "[::1]:7717",
        "Outbox.Internal:80",
        "outbox.internal.",
        "[2001:DB8::7]",
        "[2001:db8:0::7]:1",
    ] {
        judged(&daemon.tcp, &[STATUS, &format!("Host: {host}")], 200);
    }
    for host in [
        "",
        "evil.example",
        "evil.example:7717",
        "localhost.evil.example",
        "x.localhost",
        "192.0.2.1",
        "[2001:db8::8]",
        "0.0.0.0",
        "::1",
        "localhost:7717:1",
        "localhost,evil.example",
        "a@localhost",
    ] {
        judged(&daemon.tcp, &[STATUS, &format!("Host: {host}")], 403);
        // Nobody gets to the socket by a name.
        judged(&daemon.unix, &[STATUS, &format!("Host: {host}")], 200);
    }
    for path in [
        "GET /healthz HTTP/1.1",
        "GET /metrics HTTP/1.1",
        "POST /v1/events HTTP/1.1",
    ] {
        judged(&daemon.tcp, &[path, "Host: evil.example"], 403);
    }
}

#[test]
fn several_hosts_none_and_whole_urls() {
    let home = Home::new();
    let daemon = home.start("");
    let interface = &daemon.tcp;
    judged(interface, &[STATUS], 400);
    judged(
        interface,
        &[STATUS, "Host: localhost", "Host: localhost"],
        400,
    );
    judged(
        interface,
        &[STATUS, "Host: localhost", "Host: evil.example"],
        400,
    );
    // A client of HTTP/1.0 need not name a host, and no browser speaks it.
    judged(interface, &["GET /v1/status HTTP/1.0"], 200);
    judged(
        interface,
        &["GET /v1/status HTTP/1.0", "Host: evil.example"],
        403,
    );
    let whole = |host: &str| format!("GET http://{host}/v1/status HTTP/1.1");
    judged(interface, &[&whole("localhost"), "Host: localhost"], 200);
    judged(interface, &[&whole("evil.example"), "Host: localhost"], 403);
    judged(interface, &[&whole("localhost"), "Host: evil.example"], 403);
    judged(interface, &[&whole("localhost:1"), "Host: localhost"], 200);
}

#[test]
fn pages_of_others_are_not_let_in() {
    let home = Home::new();
    let daemon = home.start("");
    let interface = &daemon.tcp;
    let with = |line: &str, origin: &str, status| {
        judged(
            interface,
            &[line, "Host: localhost", &format!("Origin: {origin}")],
            status,
        );
    };
    for origin in [
        "http://localhost:3000",
        "https://localhost",
        "http://127.0.0.1:1",
        "http://[::1]",
    ] {
        with(STATUS, origin, 200);
    }
    for origin in [
        "null",
        "http://evil.example",
        "https://localhost.evil.example",
        "localhost",
        "file://",
    ] {
        with(STATUS, origin, 403);
        with("POST /v1/events HTTP/1.1", origin, 403);
        with("OPTIONS /v1/events HTTP/1.1", origin, 403);
    }
    // A preflight of our own page gets no leave either.
    let preflight = "OPTIONS /v1/events HTTP/1.1";
    with(preflight, "http://localhost:3000", 405);
    // What a page in a browser can send without asking first stores nothing.
    let form = [
        ("content-type", "text/plain"),
        ("origin", "http://evil.example"),
    ];
    let answer = interface.request("POST", "/v1/events/a.b", &form, b"x");
    assert_eq!(answer.status, 403);
    let list = interface.get("/v1/events").expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 0);
}

#[test]
fn a_wildcard_address_adds_no_name() {
    let home = Home::new();
    let token = home.path("token");
    std::fs::write(&token, "t0ken").unwrap();
    let daemon = home.start(&format!(
        "[listen]\nhttp = \"0.0.0.0:0\"\n\
         [auth]\ntokens = [{{ name = \"a\", token_file = {token:?}, scope = \"admin\" }}]\n"
    ));
    let Interface::Tcp(at) = daemon.tcp else {
        panic!("not on TCP")
    };
    let interface = Interface::Tcp(([127, 0, 0, 3], at.port()).into());
    let bearer = "Authorization: Bearer t0ken";
    judged(&interface, &[STATUS, bearer, "Host: 127.0.0.3"], 200);
    judged(&interface, &[STATUS, bearer, "Host: 0.0.0.0"], 403);
    judged(&interface, &[STATUS, bearer, "Host: outbox.internal"], 403);
    let refused = raw(&interface, &[STATUS, bearer, "Host: outbox.internal"]);
    assert!(refused.problem(403).contains("listen.hosts"));
}
