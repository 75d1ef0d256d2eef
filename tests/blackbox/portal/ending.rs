//! The end of links, and of what they opened.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{enter, guest, link, link_for};
use crate::harness::http::{Connection, head};
use crate::harness::{Daemon, Home, wait_for};
use crate::ui::browser::Browser;

/// What they opened has to end within this.
const SOON: Duration = Duration::from_secs(1);

/// What is last in a response whose length was not known.
const END: &str = "\r\n0\r\n\r\n";

/// A tail that is open with this header.
fn follow(daemon: &Daemon, header: (&str, &str)) -> Connection {
    let mut tail = daemon.tcp.connect().unwrap();
    let host = daemon.url().trim_start_matches("http://").to_owned();
    let headers = [("host", host.as_str()), header];
    tail.send(&head("GET", "/portal/tail/stream", &headers, None))
        .unwrap();
    tail.until(": tail\n\n").unwrap();
    tail
}

#[test]
fn ended_links_end_sessions_and_tails_within_a_second() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = guest(&daemon, "acme");
    let unused = link_for(&daemon, "acme", &["view"]);
    let bearer = format!("Bearer {}", unused["token"].as_str().unwrap());
    let mut second = Browser::new(&daemon);
    let other_session = link(&daemon, json!({"tenant": "acme", "session": "user-2"}));
    enter(&mut second, &other_session);
    let mut other = guest(&daemon, "globex");
    let cookie = browser.cookie();
    let mut tails = [
        follow(&daemon, ("cookie", &cookie)),
        follow(&daemon, ("authorization", &bearer)),
    ];
    let end = |query: &str| {
        let path = format!("/v1/portal/links?{query}");
        assert_eq!(daemon.unix.request("DELETE", &path, &[], b"").status, 204);
    };
    end("tenant=acme&session=user-1");
    let began = Instant::now();
    for tail in &mut tails {
        tail.until(END).unwrap();
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let ended = browser.get("/portal/endpoints");
    assert_eq!(ended.header("location"), Some("/portal/?said=ended"));
    assert!(browser.page("/portal/?said=ended").contains("has ended"));
    let answer = daemon
        .tcp
        .request("GET", "/portal/", &[("authorization", &bearer)], b"");
    assert_eq!(answer.status, 401);
    assert_eq!(enter(&mut Browser::new(&daemon), &unused).status, 403);
    // Neither the tenant's other session nor the other tenant, until the whole tenant ends.
    assert_eq!(second.get("/portal/endpoints").status, 200);
    end("tenant=acme");
    assert_eq!(second.get("/portal/endpoints").status, 303);
    assert_eq!(other.get("/portal/endpoints").status, 200);
    let is_said = || {
        let log = daemon.log_text();
        log.contains("\"portal_link.delete\"") && log.contains("acme/user-1")
    };
    wait_for(|| is_said().then_some(()), || daemon.log_text());
}

#[test]
fn a_link_ends_at_its_time() {
    let home = Home::new();
    let daemon = home.start("");
    let wanted = || json!({"tenant": "acme", "expires_in": "4s"});
    // The one that nobody uses ends first.
    let (unused, made) = (link(&daemon, wanted()), link(&daemon, wanted()));
    let mut browser = Browser::new(&daemon);
    assert_eq!(enter(&mut browser, &made).status, 303);
    assert_eq!(browser.get("/portal/endpoints").status, 200);
    let mut tail = follow(&daemon, ("cookie", &browser.cookie()));
    tail.until(END).unwrap();
    wait_for(
        || (browser.get("/portal/endpoints").status == 303).then_some(()),
        || "the session goes on".to_owned(),
    );
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let answer = daemon
        .tcp
        .request("GET", "/portal/", &[("authorization", &bearer)], b"");
    assert_eq!(answer.status, 401);
    assert_eq!(enter(&mut browser, &unused).status, 403);
}

#[test]
fn a_tail_ends_with_its_session_and_a_link_has_few() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = guest(&daemon, "acme");
    let cookie = browser.cookie();
    let mut tails: Vec<Connection> = (0..4)
        .map(|_| follow(&daemon, ("cookie", &cookie)))
        .collect();
    assert_eq!(browser.get("/portal/tail/stream").status, 503);
    let form = browser.form("/portal/", "/portal/logout");
    browser.follow(&form);
    for tail in &mut tails {
        tail.until(END).unwrap();
    }
}

#[test]
fn a_restart_ends_links() {
    let home = Home::new();
    let daemon = home.start("");
    let made = link_for(&daemon, "acme", &["view"]);
    daemon.stop();
    let daemon = home.start("");
    assert_eq!(enter(&mut Browser::new(&daemon), &made).status, 403);
}
