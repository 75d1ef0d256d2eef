//! The scenario of the demo: three endpoints of one receiver, and the events for them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::super::Failure;
use super::super::keygen::new_secret;
use super::super::receiver::{Received, Reply, Verdict};
use crate::domain::signature::Secret;

/// How long the receiver of `billing` says nothing, once. Its endpoint waits 400 ms.
const HANG: Duration = Duration::from_secs(30);

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// 503 twice, then it is well.
    Starting,
    /// It hangs once.
    Hanging,
    Well,
}

/// An endpoint of the demo.
#[derive(Debug)]
pub struct Endpoint {
    pub id: &'static str,
    types: &'static str,
    timeout: &'static str,
    behaviour: Behaviour,
    secret: Secret,
}

/// An event that the demo sends.
pub struct DemoEvent {
    pub event_type: &'static str,
    /// `application/json` for an event object's `data`, else the body is opaque.
    pub content_type: &'static str,
    pub body: &'static str,
    /// Who wants it.
    pub endpoints: &'static [&'static str],
}

pub const JSON: &str = "application/json";

/// One JSON event for each endpoint that fails, and one body that is not JSON.
pub const EVENTS: [DemoEvent; 3] = [
    DemoEvent {
        event_type: "order.created",
        content_type: JSON,
        body: r#"{"id": 7, "total": 12.50}"#,
        endpoints: &["shop", "audit"],
    },
    DemoEvent {
        event_type: "invoice.paid",
        content_type: JSON,
        body: r#"{"invoice": "2026-0042"}"#,
        endpoints: &["billing", "audit"],
    },
    DemoEvent {
        event_type: "report.ready",
        content_type: "text/csv",
        body: "day,orders\r\nmonday,7\r\n",
        endpoints: &["audit"],
    },
];

/// What came in, as far as it counts.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: u64,
    /// Requests whose signature is not what it must be.
    pub wrong: u64,
    /// By `webhook-id` and endpoint: how often it came.
    times: HashMap<(String, String), u64>,
    /// By `webhook-id` and endpoint: the body that was verified and answered 200.
    taken: HashMap<(String, String), Bytes>,
}

/// The endpoints, and what their receiver has seen.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub endpoints: Arc<[Endpoint]>,
    seen: Arc<Mutex<Seen>>,
}

impl Scenario {
    pub fn new() -> Result<Scenario, Failure> {
        let endpoint = |id, types, timeout, behaviour| {
            Ok::<_, Failure>(Endpoint {
                id,
                types,
                timeout,
                behaviour,
                secret: new_secret()?,
            })
        };
        let endpoints = [
            endpoint("shop", "order.*", "5s", Behaviour::Starting)?,
            endpoint("billing", "invoice.*", "400ms", Behaviour::Hanging)?,
            endpoint("audit", "*", "5s", Behaviour::Well)?,
        ];
        Ok(Scenario {
            endpoints: Arc::new(endpoints),
            seen: Arc::default(),
        })
    }

    /// The configuration that sends to a receiver at `address`. Retries come within a
    /// second, and the store is small.
    pub fn config(&self, address: SocketAddr) -> String {
        let mut text = "[outbox]\nsegment_size = \"4MiB\"\nmin_free_disk = \"16MiB\"\n\n\
                        [retry]\nfirst = \"500ms\"\nfactor = 2.0\n\n\
                        [log]\nlevel = \"warn\"\n"
            .to_owned();
        for endpoint in self.endpoints.iter() {
            text.push_str(&format!(
                "\n[[endpoint]]\nid = \"{id}\"\nurl = \"http://{address}/{id}\"\n\
                 types = [\"{}\"]\ntimeout = \"{}\"\nsecret = \"{}\"\n\
                 allow_networks = [\"127.0.0.0/8\"]\n",
                endpoint.types,
                endpoint.timeout,
                endpoint.secret.reveal(),
                id = endpoint.id,
            ));
        }
        text
    }

    /// Runs `look` on what was seen.
    pub fn seen<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        // Counters stay whole whoever panicked while holding them.
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The receiver's answer.
    pub async fn answer(&self, received: Received) -> Reply {
        let id = received.path.trim_start_matches('/').to_owned();
        let Some(endpoint) = self.endpoints.iter().find(|endpoint| endpoint.id == id) else {
            return StatusCode::NOT_FOUND.into();
        };
        let secret = std::slice::from_ref(&endpoint.secret);
        let is_verified = received.verdict(secret) == Verdict::Verified;
        let event = received.header("webhook-id").unwrap_or_default().to_owned();
        let delivery = (event, id);
        let times = self.seen(|seen| {
            seen.requests = seen.requests.saturating_add(1);
            seen.wrong = seen.wrong.saturating_add(u64::from(!is_verified));
            let times = seen.times.entry(delivery.clone()).or_default();
            *times = times.saturating_add(1);
            *times
        });
        match (endpoint.behaviour, times) {
            (Behaviour::Starting, 1 | 2) => Reply {
                body: Bytes::from_static(b"still starting"),
                ..StatusCode::SERVICE_UNAVAILABLE.into()
            },
            (Behaviour::Hanging, 1) => {
                tokio::time::sleep(HANG).await;
                StatusCode::OK.into()
            }
            _ if !is_verified => StatusCode::UNAUTHORIZED.into(),
            _ => {
                self.seen(|seen| seen.taken.insert(delivery, received.body));
                StatusCode::OK.into()
            }
        }
    }
}

impl Seen {
    /// Whether the receiver verified this event, took it with 200, and it is what was
    /// sent, byte for byte.
    pub fn has_taken(&self, event: &str, endpoint: &str, sent: &DemoEvent) -> bool {
        let taken = self.taken.get(&(event.to_owned(), endpoint.to_owned()));
        taken.is_some_and(|body| match sent.content_type {
            JSON => body.ends_with(format!("\"data\":{}}}", sent.body).as_bytes()),
            _ => body == sent.body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};

    fn request(scenario: &Scenario, endpoint: usize, event: &str, body: &'static str) -> Received {
        let endpoint = &scenario.endpoints[endpoint];
        let at = crate::clock::now();
        let signature = endpoint.secret.sign(event, at.as_secs(), body.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", event.parse().unwrap());
        headers.insert("webhook-timestamp", at.as_secs().into());
        headers.insert("webhook-signature", signature.to_string().parse().unwrap());
        Received {
            at,
            method: Method::POST,
            path: format!("/{}", endpoint.id),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[tokio::test]
    async fn the_shop_fails_twice_and_takes_only_what_is_verified_and_whole() {
        let scenario = Scenario::new().unwrap();
        let body = r#"{"type":"order.created","data":{"id": 7, "total": 12.50}}"#;
        let has_taken = || scenario.seen(|seen| seen.has_taken("evt_1", "shop", &EVENTS[0]));
        for status in [503, 503] {
            let reply = scenario.answer(request(&scenario, 0, "evt_1", body)).await;
            assert_eq!(reply.status, status);
            assert!(!has_taken());
        }
        let mut forged = request(&scenario, 0, "evt_1", body);
        forged.body = Bytes::from_static(b"{}");
        assert_eq!(scenario.answer(forged).await.status, 401);
        assert!(!has_taken());
        let reply = scenario.answer(request(&scenario, 0, "evt_1", body)).await;
        assert_eq!(reply.status, 200);
        assert!(has_taken());
        assert!(!scenario.seen(|seen| seen.has_taken("evt_1", "shop", &EVENTS[1])));
        assert_eq!(scenario.seen(|seen| (seen.requests, seen.wrong)), (4, 1));
    }

    #[test]
    fn its_configuration_is_valid() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("outboxd.toml");
        let config = Scenario::new().unwrap().config(([127, 0, 0, 1], 80).into());
        std::fs::write(&file, config).unwrap();
        let environment = crate::config::Environment::default();
        let loaded = crate::config::load(Some(&file), &environment).unwrap();
        assert_eq!(loaded.config.endpoints.len(), 3);
    }
}
