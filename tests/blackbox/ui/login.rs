//! Who is let in: by token, by link, over which connection, and for how long.

use super::browser::Browser;
use crate::harness::http::head;
use crate::harness::{Daemon, Home, wait_for};

const APP: &str = "t0k-app-51f0c2";
const OPS: &str = "t0k-ops-9d21aa";

fn tokens(home: &Home) -> String {
    let mut tokens = Vec::new();
    for (name, token, scope) in [("app", APP, "ingest"), ("ops", OPS, "admin")] {
        let file = home.path(name);
        std::fs::write(&file, token).unwrap();
        tokens.push(format!(
            "{{ name = \"{name}\", token_file = {file:?}, scope = \"{scope}\" }}"
        ));
    }
    format!("[auth]\ntokens = [{}]\n", tokens.join(", "))
}

fn start() -> (Home, Daemon) {
    let home = Home::new();
    let daemon = home.start(&tokens(&home));
    (home, daemon)
}

#[test]
fn without_tokens_and_on_the_socket_pages_are_open() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    assert!(browser.page("/ui/").contains("<h1>Overview</h1>"));
    assert_eq!(browser.get("/ui/login").header("location"), Some("/ui/"));
    let html = [("accept", "text/html")];
    for (path, headers) in [("/", &html[..]), ("/ui", &[])] {
        let answer = browser.ask("GET", path, headers, "");
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/ui/"))
        );
    }
    // What is not a browser gets the API's answer.
    assert_eq!(browser.get("/").problem(404), "there is nothing at /");
    drop(daemon);
    let (_home, daemon) = start();
    let mut socket = Browser::at(daemon.unix.clone(), "http", "localhost");
    assert!(socket.page("/ui/").contains("<h1>Overview</h1>"));
}

#[test]
fn pages_can_be_turned_off() {
    let home = Home::new();
    let daemon = home.start("[listen]\nhttp = \"127.0.0.1:0\"\nui = false\n");
    let mut browser = Browser::new(&daemon);
    for path in ["/ui/", "/ui/login", "/ui/assets/pages.css"] {
        browser.get(path).problem(404);
    }
    let refused = home.run(&["login", "--url", &daemon.url()]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("listen.ui"), "{}", refused.stderr);
}

#[test]
fn a_token_of_scope_admin_begins_a_session() {
    let (_home, daemon) = start();
    let mut browser = Browser::new(&daemon);
    let led = browser.get("/ui/events?type=a.*");
    assert_eq!(led.status, 303);
    let login = led.header("location").unwrap().to_owned();
    assert_eq!(login, "/ui/login?next=%2Fui%2Fevents%3Ftype%3Da.*");
    for (token, status, why) in [
        ("", 401, "not one that is known"),
        ("wrong", 401, "not one that is known"),
        (APP, 403, "scope admin"),
    ] {
        let answer = browser.log_in(token);
        assert_eq!(answer.status, status, "{token}");
        assert!(answer.text().contains(why) && answer.header("set-cookie").is_none());
    }
    let form = browser.form(&login, "/ui/login").with("token", OPS);
    let (place, page) = browser.follow(&form);
    assert_eq!(place, "/ui/events?type=a.*");
    assert!(page.contains("<h1>Events</h1>") && page.contains(">ops</span>"));
    let port = browser.host.rsplit(':').next().unwrap().to_owned();
    let name = format!("outboxd-{port}=");
    assert!(browser.cookie().starts_with(&name), "{}", browser.cookie());
    // The cookie is nothing to the API.
    for path in ["/v1/status", "/v1/events", "/metrics"] {
        browser.get(path).problem(401);
    }
    let form = browser.form("/ui/", "/ui/logout");
    let kept = browser.cookie();
    let answer = browser.submit(&form);
    assert_eq!(answer.header("location"), Some("/ui/login?said=logged-out"));
    browser.set_cookie(
        kept.split('=').next().unwrap(),
        kept.split('=').nth(1).unwrap(),
    );
    assert_eq!(browser.get("/ui/").status, 303, "the session has ended");
    daemon.wait_log("logged in at the pages");
    let log = daemon.log_text();
    assert!(!log.contains(OPS), "{log}");
}

#[test]
fn the_cookie_is_flagged_by_the_scheme() {
    let home = Home::new();
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nhosts = [\"ui.example\"]\n\
                  trusted_proxies = [\"127.0.0.0/8\"]\n";
    let daemon = home.start(&format!("{listen}{}", tokens(&home)));
    let mut plain = Browser::new(&daemon);
    let set = plain.log_in(OPS).header("set-cookie").unwrap().to_owned();
    let flags = set.split_once("; ").unwrap().1;
    assert_eq!(flags, "Path=/; HttpOnly; SameSite=Strict");
    let mut proxied = Browser::at(daemon.tcp.clone(), "https", "ui.example");
    proxied.more = vec![
        ("x-forwarded-proto".into(), "https".into()),
        ("x-forwarded-for".into(), "203.0.113.7".into()),
    ];
    let answer = proxied.log_in(OPS);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-outboxd="), "{set}");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{set}"
    );
    assert!(proxied.page("/ui/").contains("<h1>Overview</h1>"));
    // The same proxy passes a request on that came to it in the clear.
    let mut clear = Browser::at(daemon.tcp.clone(), "http", "ui.example");
    clear.more = vec![("x-forwarded-for".into(), "203.0.113.7".into())];
    let answer = clear.log_in(OPS);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("plain HTTP") && answer.header("set-cookie").is_none());
    assert_eq!(clear.get("/ui/login").status, 403);
}

#[test]
fn nobody_logs_in_in_the_clear_by_another_name() {
    let home = Home::new();
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nhosts = [\"ui.example\"]\n";
    let daemon = home.start(&format!("{listen}{}", tokens(&home)));
    let mut browser = Browser::at(daemon.tcp.clone(), "http", "ui.example");
    // Nobody said that this peer is a proxy.
    browser.more = vec![("x-forwarded-proto".into(), "https".into())];
    assert_eq!(browser.log_in(OPS).status, 403);
    browser.scheme = "https";
    assert_eq!(browser.log_in(OPS).status, 403);
    let refused = Browser::at(daemon.tcp.clone(), "http", "evil.example").get("/ui/");
    assert_eq!(refused.status, 403);
    assert!(
        refused.text().contains("listen.hosts"),
        "{}",
        refused.text()
    );
}

#[test]
fn five_logins_in_a_minute() {
    let (_home, daemon) = start();
    let mut browser = Browser::new(&daemon);
    for _ in 0..5 {
        assert_eq!(browser.log_in("wrong").status, 401);
    }
    let answer = browser.log_in(OPS);
    assert_eq!(answer.status, 429);
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
}

#[test]
fn a_session_ends_with_its_token() {
    let (home, daemon) = start();
    let mut browser = Browser::new(&daemon);
    browser.log_in(OPS);
    browser.page("/ui/");
    let mut tail = daemon.tcp.connect().unwrap();
    let (host, cookie) = (browser.host.clone(), browser.cookie());
    let headers = [("host", host.as_str()), ("cookie", cookie.as_str())];
    let request = head("GET", "/ui/tail/stream", &headers, None);
    tail.send(&request).unwrap();
    tail.until(": tail").unwrap();
    std::fs::write(home.path("ops"), "t0k-ops-another").unwrap();
    daemon.reload();
    assert_eq!(browser.get("/ui/").status, 303);
    assert_eq!(browser.get("/ui/tail/stream").status, 401);
    // The stream ends, well before a comment would be due.
    tail.rest().unwrap();
}

#[test]
fn a_logout_ends_what_is_open() {
    let (_home, daemon) = start();
    let mut browser = Browser::new(&daemon);
    browser.log_in(OPS);
    let mut tail = daemon.tcp.connect().unwrap();
    let (host, cookie) = (browser.host.clone(), browser.cookie());
    let headers = [("host", host.as_str()), ("cookie", cookie.as_str())];
    tail.send(&head("GET", "/ui/tail/stream", &headers, None))
        .unwrap();
    tail.until(": tail").unwrap();
    let form = browser.form("/ui/", "/ui/logout");
    browser.submit(&form);
    tail.rest().unwrap();
}

#[test]
fn a_link_works_once() {
    let (home, daemon) = start();
    let made = home.run(&["login", "--unix", home.path("api.sock").to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let link = made.stdout.trim().to_owned();
    let path = link
        .strip_prefix(&daemon.url())
        .unwrap_or_else(|| panic!("{link}"));
    let mut browser = Browser::new(&daemon);
    // What only looks at the link does not use it up.
    assert_eq!(browser.ask("HEAD", path, &[], "").status, 200);
    let answer = browser.get(path);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/ui/"))
    );
    assert!(browser.page("/ui/").contains(">unix socket</span>"));
    let mut other = Browser::new(&daemon);
    let again = other.get(path);
    assert_eq!(again.status, 403);
    assert!(again.text().contains("has been used"));
    // With a token over TCP the session is that token's.
    let token = home.path("ops");
    let args = [
        "login",
        "--json",
        "--url",
        &daemon.url(),
        "--token-file",
        token.to_str().unwrap(),
    ];
    let made = home.run(&args).json();
    let path = made["url"]
        .as_str()
        .unwrap()
        .strip_prefix(&daemon.url())
        .unwrap();
    other.get(path);
    assert!(other.page("/ui/").contains(">ops</span>"));
    daemon
        .tcp
        .request("POST", "/v1/logins", &[], b"")
        .problem(401);
    // A link of a token that is gone is worth nothing.
    let made = home.run(&args).json();
    std::fs::write(&token, "t0k-ops-another").unwrap();
    daemon.reload();
    let path = made["url"]
        .as_str()
        .unwrap()
        .strip_prefix(&daemon.url())
        .unwrap();
    assert_eq!(other.get(path).status, 403);
}

#[test]
fn a_link_from_elsewhere_finds_the_session() {
    let (_home, daemon) = start();
    let mut browser = Browser::new(&daemon);
    let from_chat = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    let answer = browser.ask("GET", "/ui/events", &from_chat, "");
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .text()
            .contains("http-equiv=\"refresh\" content=\"0\"")
    );
}

#[test]
fn what_was_removed_from_the_file_closes_what_was_open() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    browser.page("/ui/");
    home.write_config(&tokens(&home));
    wait_for(
        || {
            daemon.reload();
            (browser.get("/ui/").status == 303).then_some(())
        },
        || "the pages stay open".to_owned(),
    );
}
