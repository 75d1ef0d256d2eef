//! `listen --source`: follows what a source of the daemon takes in, prints each event, and hands it
//! on to a URL. So a developer needs no tunnel to his own machine.
//!
//! Nothing is kept for it: it hears of what is accepted while it is connected. What the URL answers
//! is printed and changes nothing at the daemon, which delivers to its endpoints as ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};

use super::client::{Client, Fault};
use super::forward::Forwarder;
use super::receiver::Received;
use super::show::{Body, harmless};
use super::sources::path_of;
use super::{Failure, print, print_json};
use crate::domain::time::Timestamp;

/// Before a tail that broke off is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// What it takes to follow a source.
pub struct Following {
    pub client: Client,
    pub source: String,
    pub forward: Option<Forwarder>,
    pub json: bool,
}

/// What the tail tells of an event.
#[derive(Deserialize)]
struct Accepted {
    id: String,
}

/// An event as the daemon shows it.
#[derive(Deserialize)]
struct Event {
    id: String,
    r#type: String,
    accepted_at: Timestamp,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    content_type: Option<String>,
    #[serde(default)]
    body_base64: String,
    received: Option<Provenance>,
}

/// How an event of a source came in.
#[derive(Deserialize)]
struct Provenance {
    verified_by: String,
}

/// What there is to say of one event.
#[derive(Serialize)]
struct Shown<'a> {
    at: Timestamp,
    id: &'a str,
    r#type: &'a str,
    source: &'a str,
    verified_by: Option<&'a str>,
    /// What the URL answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_error: Option<&'a str>,
    #[serde(flatten)]
    body: Body<'a>,
}

impl Following {
    /// Follows until the daemon refuses, or the output is closed. A connection that breaks off is made
    /// anew.
    pub async fn follow(&self) -> Result<(), Failure> {
        // A source that is not there is said at once.
        self.client.get(&path_of(&self.source)?).await?;
        let mut again = false;
        loop {
            match self.follow_once(again).await {
                Ok(()) => {}
                Err(Fallen::Over(failure)) => return Err(failure),
                Err(Fallen::Broken(fault)) => warn(&fault.to_string()),
            }
            again = true;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn follow_once(&self, again: bool) -> Result<(), Fallen> {
        let path = format!("/v1/tail?source={}", self.source);
        let mut lines = self.client.lines(&path).await?;
        let mut event = String::new();
        while let Some(line) = lines.next().await? {
            if line == ": tail" && !again {
                self.say_listening()?;
            } else if let Some(name) = line.strip_prefix("event: ") {
                event = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                match event.as_str() {
                    "accepted" => self.accepted(data).await?,
                    "missed" => warn(&format!(
                        "{data} events were missed: they came faster than they could be handed on"
                    )),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn say_listening(&self) -> Result<(), Failure> {
        match self.json {
            true => print_json(&serde_json::json!({ "listening": self.source })),
            false => print(&format!("listening to source {}\n", harmless(&self.source))),
        }
    }

    async fn accepted(&self, data: &str) -> Result<(), Fallen> {
        let accepted: Accepted = self.client.read(data.as_bytes())?;
        let path = format!("/v1/events/{}", accepted.id);
        let event: Event = match self.client.get(&path).await {
            Ok(answer) => self.client.read(&answer)?,
            // It may be erased already, or gone.
            Err(Fault::Refused {
                status: 404 | 410,
                detail,
            }) => {
                warn(&format!("{}: {detail}", accepted.id));
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let received = received(&self.source, &event);
        let answered = match &self.forward {
            Some(forwarder) => Some(forwarder.forward(&received).await),
            None => None,
        };
        let (status, forward_error) = match &answered {
            None => (None, None),
            Some(Ok(reply)) => (Some(reply.status.as_u16()), None),
            Some(Err(why)) => (None, Some(why.as_str())),
        };
        let provenance = event.received.as_ref();
        let shown = Shown {
            at: event.accepted_at,
            id: &event.id,
            r#type: &event.r#type,
            source: &self.source,
            verified_by: provenance.map(|received| received.verified_by.as_str()),
            status,
            forward_error,
            body: Body::of(&received.body),
        };
        let printed = match self.json {
            true => print_json(&shown),
            false => print(&shown.readable()),
        };
        Ok(printed?)
    }
}

/// The request that an endpoint without further wishes would get, but for its signature.
fn received(source: &str, event: &Event) -> Received {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    };
    for (name, value) in &event.headers {
        add(name, value);
    }
    if let Some(content_type) = &event.content_type {
        add(header::CONTENT_TYPE.as_str(), content_type);
    }
    add("webhook-id", &event.id);
    add("outboxd-source", source);
    add("outboxd-event-type", &event.r#type);
    let body = STANDARD.decode(&event.body_base64).unwrap_or_default();
    Received {
        at: event.accepted_at,
        method: Method::POST,
        path: format!("/in/{source}"),
        headers,
        body: Bytes::from(body),
    }
}

impl Shown<'_> {
    /// Some lines for a person.
    fn readable(&self) -> String {
        let mut text = format!("\n{} {} {}\n", self.at, self.r#type, self.id);
        let mut line = |name: &str, value: &str| {
            // A `String` takes whatever is written to it.
            let _ = writeln!(text, "  {name:<10} {value}");
        };
        line("source", self.source);
        line("verified", self.verified_by.unwrap_or("-"));
        if let Some(status) = self.status {
            line("forwarded", &format!("answered {status}"));
        }
        if let Some(why) = self.forward_error {
            line("forward", why);
        }
        self.body.write_to(&mut text);
        harmless(&text)
    }
}

/// Why a tail ended.
enum Fallen {
    /// It makes no sense to go on.
    Over(Failure),
    /// The daemon may come back.
    Broken(Fault),
}

impl From<Failure> for Fallen {
    fn from(failure: Failure) -> Self {
        Fallen::Over(failure)
    }
}

impl From<Fault> for Fallen {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unreachable { .. } | Fault::BrokeOff { .. } => Fallen::Broken(fault),
            // Full, or about to stop.
            Fault::Refused { status: 503, .. } => Fallen::Broken(fault),
            _ => Fallen::Over(fault.into()),
        }
    }
}

fn warn(text: &str) {
    // What was printed on stdout counts, whether stderr takes this or not.
    let _ = writeln!(io::stderr(), "outboxd: {}", harmless(text));
}
