//! The customers' portal: links, what they let their holders do and see, and their end.

mod capabilities;
mod ending;
mod frames;
mod guard;
mod isolation;
mod links;
mod looks;

use serde_json::{Value, json};

use crate::harness::http::Response;
use crate::harness::{Answer, Daemon, Home, Receiver};
use crate::ui::browser::Browser;

/// Deliveries die after their second attempt.
const SHORT: &str = "[retry]\nschedule = [\"10ms\"]\n";

/// A daemon with a public listener; `listen` are further lines of that table.
fn start_public(home: &Home, listen: &str, more: &str) -> Daemon {
    let socket = home.path("api.sock");
    home.start(&format!(
        "[listen]\nunix = {socket:?}\nhttp = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"\n{listen}{more}"
    ))
}

/// Makes a link.
#[track_caller]
fn link(daemon: &Daemon, wanted: Value) -> Value {
    let made = daemon
        .unix
        .post_json("/v1/portal/links", wanted.to_string());
    made.expect(201)
}

/// A link for a tenant with these capabilities.
#[track_caller]
fn link_for(daemon: &Daemon, tenant: &str, capabilities: &[&str]) -> Value {
    link(
        daemon,
        json!({"tenant": tenant, "capabilities": capabilities, "session": "user-1"}),
    )
}

/// The code in the URL of a link.
fn code(link: &Value) -> String {
    let url = link["url"].as_str().unwrap();
    url.split_once("/portal/#c=").unwrap().1.to_owned()
}

/// Uses a link in a browser.
#[track_caller]
fn enter(browser: &mut Browser, link: &Value) -> Response {
    let form = browser.form("/portal/enter", "/portal/enter");
    browser.submit(&form.with("code", &code(link)))
}

/// A browser that has come in with all capabilities.
#[track_caller]
fn guest(daemon: &Daemon, tenant: &str) -> Browser {
    guest_with(daemon, tenant, &["manage", "replay", "secrets"])
}

#[track_caller]
fn guest_with(daemon: &Daemon, tenant: &str, capabilities: &[&str]) -> Browser {
    let mut browser = Browser::new(daemon);
    let answer = enter(&mut browser, &link_for(daemon, tenant, capabilities));
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/portal/")),
        "{}",
        answer.text()
    );
    browser
}

/// Makes an endpoint of a tenant.
#[track_caller]
fn make(daemon: &Daemon, tenant: &str, url: &str) -> String {
    let body = json!({"tenant": tenant, "url": url, "description": format!("shop of {tenant}")});
    let made = daemon.unix.post_json("/v1/endpoints", body.to_string());
    made.expect(201)["id"].as_str().unwrap().to_owned()
}

/// Hands in an event of a tenant, with a mark in its body.
fn send(daemon: &Daemon, tenant: &str) -> String {
    let data = format!("{{\"mark\": \"body-of-{tenant}\"}}");
    daemon.send_with("order.created", &data, &format!("\"tenant\": \"{tenant}\""))
}

/// Answers each request with a failure that tells of the inside.
fn failing() -> Receiver {
    Receiver::answering(|_| Answer::reply(500, &[], "INTERNAL-ANSWER"))
}

/// The URL of a receiver by its name: an address on a page is then one that leaked.
fn named(receiver: &Receiver, path: &str) -> String {
    format!("http://localhost:{}{path}", receiver.address().port())
}
