//! Sources: webhooks of others, taken in over the public listener. One file an area; the
//! providers are stand-ins that sign as their documentation says.

mod api;
mod commands;
mod config;
mod counts;
mod crypto;
mod engine;
mod following;
mod further_stand_ins;
mod handshakes;
mod listener;
mod provider;
mod retries;
mod secrets;
mod split;
mod stand_in;
mod stand_ins;
mod untraced;
mod variants;

use serde_json::{Value, json};

use crate::harness::http::{Interface, Response};
use crate::harness::{Daemon, Home, endpoint, wait_for};

pub use secrets::signed;
pub use stand_in::{Call, Signing, now_ms};

/// How providers write the URL of the public listener.
pub const PUBLIC_URL: &str = "https://hooks.example.com";
pub const SECRET: &str = "a secret that nobody guesses";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// The table `[listen]` with a public listener; `more` are further lines of it.
pub fn listen(home: &Home, more: &str) -> String {
    let socket = home.path("api.sock");
    format!(
        "[listen]\nhttp = \"127.0.0.1:0\"\nunix = {socket:?}\ninbound = \"127.0.0.1:0\"\n\
         public_url = \"{PUBLIC_URL}\"\n{more}\n"
    )
}

/// Starts a daemon with a public listener.
#[track_caller]
pub fn start(home: &Home, config: &str) -> Daemon {
    home.start(&(listen(home, "") + config))
}

/// A table `[[source]]`; `more` are further lines of it.
pub fn source(id: &str, more: &str) -> String {
    format!("\n[[source]]\nid = \"{id}\"\n{more}\n")
}

/// A source of GitHub's with `SECRET`.
pub fn github(id: &str, more: &str) -> String {
    source(
        id,
        &format!("preset = \"github\"\nsecrets = [\"{SECRET}\"]\n{more}"),
    )
}

/// An endpoint that takes all events of the default tenant.
pub fn app(url: &str) -> String {
    endpoint("app", url, "")
}

/// Makes a source through the API.
#[track_caller]
pub fn made(daemon: &Daemon, definition: &Value) -> Value {
    let answer = daemon.tcp.post_json("/v1/sources", definition.to_string());
    answer.expect(201)
}

pub fn patch(interface: &Interface, id: &str, change: &Value) -> Response {
    let path = format!("/v1/sources/{id}");
    interface.request("PATCH", &path, &JSON, change.to_string().as_bytes())
}

/// A source as the API shows it.
#[track_caller]
pub fn shown(daemon: &Daemon, id: &str) -> Value {
    daemon.tcp.get(&format!("/v1/sources/{id}")).expect(200)
}

/// Waits until the source is such that `enough`, and gives it.
#[track_caller]
pub fn wait_shown(daemon: &Daemon, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
    wait_for(
        || Some(shown(daemon, id)).filter(&enough),
        || format!("not yet: {:#}\n{}", shown(daemon, id), daemon.log_text()),
    )
}

/// All events, newest first.
#[track_caller]
pub fn events(daemon: &Daemon) -> Vec<Value> {
    let page = daemon.tcp.get("/v1/events?limit=1000").expect(200);
    assert_eq!(page["next"], Value::Null);
    page["data"].as_array().expect("a list").clone()
}

/// The events' types, in order of their acceptance.
#[track_caller]
pub fn types(daemon: &Daemon) -> Vec<String> {
    let mut events = events(daemon);
    events.sort_by_key(|event| event["id"].as_str().map(str::to_owned));
    let types = events.iter().map(|event| event["type"].as_str());
    types.map(|text| text.expect("a type").to_owned()).collect()
}

/// An event whole, by its id.
#[track_caller]
pub fn event(daemon: &Daemon, id: &str) -> Value {
    daemon.tcp.get(&format!("/v1/events/{id}")).expect(200)
}

/// A call as GitHub makes it, signed with `SECRET`: `push` without an action.
pub fn push(delivery: &str, body: &[u8]) -> Call {
    let signature = crypto::hex(&crypto::hmac_sha256(SECRET.as_bytes(), &[body]));
    Call::post(body)
        .with("content-type", "application/json")
        .with("x-github-event", "push")
        .with("x-github-delivery", delivery)
        .with("x-hub-signature-256", &format!("sha256={signature}"))
}

/// Asserts that an answer is of this status, without a body.
#[track_caller]
pub fn assert_empty(answer: &Response, status: u16) {
    assert_eq!((answer.status, answer.text().as_str()), (status, ""));
}

/// What a source counts of what was refused.
pub fn rejected(source: &Value, reason: &str) -> u64 {
    source["counts"]["rejected"][reason].as_u64().unwrap_or(0)
}

/// Asserts `accepted` and `duplicate`.
#[track_caller]
pub fn assert_counts(daemon: &Daemon, id: &str, accepted: u64, duplicate: u64) {
    let counts = shown(daemon, id)["counts"].clone();
    let both = json!([counts["accepted"], counts["duplicate"]]);
    assert_eq!(both, json!([accepted, duplicate]), "{counts}");
}
