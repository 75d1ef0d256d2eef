//! The sample traffic of `demo --ui`: the events of a shop, and receivers that behave as real ones
//! do. Nothing leaves this machine.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::receiver::{Received, Reply};

/// The tenant whose endpoints are made through the API, as customers' are.
pub const CUSTOMER: &str = "acme";
/// A source of the configuration, whose sample is sent now and then.
pub const SOURCE: &str = "payments";
/// The endpoint that is paused at the beginning.
pub const PAUSED: &str = "crm";
/// The longest that an attempt may take. One receiver takes longer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How a receiver behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behaviour {
    /// It answers 200 after at most so many milliseconds.
    Within(u64),
    /// Every third request is answered with 503.
    Unsteady,
    /// Each request is answered with 500.
    Broken,
    /// Every fifth request is not answered in time.
    Hanging,
}

/// By the path of their requests.
const RECEIVERS: [(&str, Behaviour); 7] = [
    ("orders", Behaviour::Within(40)),
    ("analytics", Behaviour::Within(700)),
    ("billing", Behaviour::Unsteady),
    ("warehouse", Behaviour::Broken),
    ("partner", Behaviour::Hanging),
    ("acme-shop", Behaviour::Within(90)),
    ("acme-stock", Behaviour::Unsteady),
];

/// The endpoints of the configuration, and the types that they want.
const ENDPOINTS: [(&str, &str); 6] = [
    ("orders", "order.*"),
    ("analytics", "*"),
    ("billing", "invoice.*"),
    ("warehouse", "order.shipped"),
    ("partner", "order.paid"),
    (PAUSED, "customer.*"),
];

/// The customer's endpoints: description, path, and the types that they want.
pub const CUSTOMERS_ENDPOINTS: [(&str, &str, &str); 2] = [
    ("Shop system", "acme-shop", "order.*"),
    ("Stock control", "acme-stock", "order.shipped"),
];

/// The types of the events, each as often as it is listed.
const TYPES: [&str; 9] = [
    "order.created",
    "order.created",
    "order.created",
    "order.paid",
    "order.paid",
    "order.shipped",
    "invoice.paid",
    "customer.created",
    "customer.updated",
];

const NAMES: [&str; 5] = ["Ada", "Grace", "Edsger", "Barbara", "Donald"];

/// The configuration besides where it listens. Receivers are at `address`.
pub fn config(address: SocketAddr, source_secret: &str) -> String {
    let mut text = format!(
        "[outbox]\nsegment_size = \"4MiB\"\nmin_free_disk = \"16MiB\"\n\n\
         [delivery]\nallow_networks = [\"127.0.0.0/8\"]\ntimeout = \"{}s\"\n\n\
         [retry]\nschedule = [\"1s\", \"4s\"]\n\n[log]\nlevel = \"warn\"\n\n\
         [[source]]\nid = \"{SOURCE}\"\npreset = \"stripe\"\nsecrets = [\"{source_secret}\"]\n",
        TIMEOUT.as_secs(),
    );
    for (id, types) in ENDPOINTS {
        text.push_str(&format!(
            "\n[[endpoint]]\nid = \"{id}\"\nurl = \"http://{address}/{id}\"\ntypes = [\"{types}\"]\n"
        ));
    }
    text
}

/// An event as it is posted. `number`: how many there were before.
pub fn event(number: u64) -> Value {
    let event_type = pick(&TYPES).unwrap_or(TYPES[0]);
    let customer = u64::from(rand::random::<u8>() % 40);
    let data = json!({
        "number": number.saturating_add(1000),
        "customer": { "id": customer, "name": pick(&NAMES) },
        "total": f64::from(rand::random::<u16>()) / 100.0,
        "currency": "EUR",
    });
    let mut event = json!({
        "type": event_type,
        "key": format!("customer-{customer}"),
        "data": data,
    });
    // Every fourth is the customer's.
    if number % 4 == 3 {
        event["tenant"] = CUSTOMER.into();
    }
    event
}

fn pick<'a>(all: &[&'a str]) -> Option<&'a str> {
    let at = usize::from(rand::random::<u16>()).checked_rem(all.len())?;
    all.get(at).copied()
}

/// What a receiver answers.
pub async fn answer(received: Received) -> Reply {
    let name = received.path.trim_start_matches('/');
    let receiver = RECEIVERS.iter().find(|(path, _)| *path == name);
    let dice = u64::from(rand::random::<u16>());
    let (status, body) = match receiver.map(|(_, behaviour)| *behaviour) {
        None => (StatusCode::NOT_FOUND, "no such path"),
        Some(Behaviour::Within(most)) => {
            let took = dice.checked_rem(most).unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(took)).await;
            (StatusCode::OK, "thank you")
        }
        Some(Behaviour::Unsteady) if dice % 3 == 0 => {
            (StatusCode::SERVICE_UNAVAILABLE, "the database is busy")
        }
        Some(Behaviour::Broken) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "KeyError: 'parcel' in warehouse/hooks.py, line 41",
        ),
        Some(Behaviour::Hanging) if dice % 5 == 0 => {
            tokio::time::sleep(TIMEOUT.saturating_mul(2)).await;
            (StatusCode::OK, "late")
        }
        Some(Behaviour::Unsteady | Behaviour::Hanging) => (StatusCode::OK, "thank you"),
    };
    Reply {
        body: Bytes::from_static(body.as_bytes()),
        ..status.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};

    #[test]
    fn its_configuration_is_valid_and_each_endpoint_has_a_receiver() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("outboxd.toml");
        std::fs::write(&file, config(([127, 0, 0, 1], 80).into(), "whsec_c2VjcmV0")).unwrap();
        let environment = crate::config::Environment::default();
        let loaded = crate::config::load(Some(&file), &environment).unwrap();
        let endpoints = loaded.config.endpoints;
        assert_eq!(endpoints.len(), ENDPOINTS.len());
        let paths = ENDPOINTS.iter().map(|(id, _)| *id);
        let paths = paths.chain(CUSTOMERS_ENDPOINTS.iter().map(|(_, path, _)| *path));
        for path in paths.filter(|path| *path != PAUSED) {
            assert!(RECEIVERS.iter().any(|(known, _)| *known == path), "{path}");
        }
    }

    #[test]
    fn events_are_of_both_tenants_and_what_the_api_takes() {
        let events: Vec<Value> = (0..40).map(event).collect();
        let own = |event: &&Value| event.get("tenant").is_some();
        assert_eq!(events.iter().filter(own).count(), 10);
        for event in &events {
            let name = event["type"].as_str().unwrap();
            assert!(TYPES.contains(&name) && event["data"]["number"].is_u64());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn receivers_behave_as_they_are_called() {
        let ask = |path: &str| Received {
            at: crate::clock::now(),
            method: Method::POST,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        assert_eq!(answer(ask("/warehouse")).await.status, 500);
        assert_eq!(answer(ask("/orders")).await.status, 200);
        assert_eq!(answer(ask("/elsewhere")).await.status, 404);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            seen.insert(answer(ask("/billing")).await.status.as_u16());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [200, 503]);
    }
}
