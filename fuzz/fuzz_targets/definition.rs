//! Definitions as the API takes them: a JSON object is refused, or what it makes of an event is the
//! same twice. The input is a definition, a static header's value and the event's data, each ended by
//! a zero byte.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use outboxd::domain::content::Content;
use outboxd::domain::endpoint::{Endpoint, EndpointId, Ordering, Source};
use outboxd::domain::event::{EventId, EventType, Tenant};
use outboxd::domain::json::Json;
use outboxd::domain::render::render;
use outboxd::domain::retry::RetryPolicy;
use outboxd::domain::shaping::{Around, Root, Shaping, read};
use outboxd::domain::signature::{Secret, SecretKind};
use outboxd::domain::time::Timestamp;

/// Of a rendered body.
const LONGEST: usize = 64 << 10;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (definition, header, data) = (part(), part(), part());
    let Ok(Json::Object(given)) = Json::parse(definition) else {
        return;
    };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert("x-fuzz", value);
    }
    let secret = Secret::generate([7; 32]);
    let kinds: [SecretKind; 1] = [secret.kind()];
    let around = Around {
        headers: &headers,
        secrets: &kinds,
        is_reserved: |name: &HeaderName| name.as_str().starts_with("webhook-"),
    };
    let shaping = match read(&given, around) {
        Ok(Some(shaping)) => shaping,
        Ok(None) => return,
        Err(fault) => {
            assert!(!fault.key.is_empty() && !fault.to_string().is_empty());
            return;
        }
    };
    let again = read(shaping.given(), around);
    assert_eq!(again.as_ref().ok().and_then(Option::as_ref), Some(&shaping));
    let _ = format!("{shaping:?}");
    shape(shaping, &secret, headers, data);
});

fn shape(shaping: Shaping, secret: &Secret, headers: HeaderMap, data: &[u8]) {
    let (id, content) = event(data);
    let shaping = Arc::new(shaping);
    if let Some(filter) = &shaping.filter {
        let root = Root::of(id, &content);
        assert_eq!(
            filter.matches(root.json()),
            filter.judge(root.json()).is_ok()
        );
    }
    let endpoint = endpoint(shaping.clone(), headers);
    let _ = endpoint.shown_url();
    let rendered = render(&endpoint, &shaping, id, &content, LONGEST);
    assert_eq!(
        rendered,
        render(&endpoint, &shaping, id, &content, LONGEST),
        "not the same twice"
    );
    match rendered {
        Ok(rendered) => {
            assert!(rendered.body.len() <= LONGEST || !shaping.has_templates());
            let _ = shaping.sign(&[secret], &id.to_string(), 1, &rendered.body);
        }
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
    if let Some(answer) = &shaping.answer {
        let _ = answer.judge(429, &HeaderMap::new(), data, Timestamp::default());
    }
}

/// With JSON in the envelope if the data is that, else opaque.
fn event(data: &[u8]) -> (EventId, Content) {
    let is_json = Json::parse(data).is_ok();
    let head = br#"{"type":"a.b","data":"#;
    let body = match is_json {
        true => [head, data, b"}"].concat(),
        false => data.to_vec(),
    };
    let content = Content {
        tenant: Tenant::default(),
        event_type: EventType::new("a.b").expect("it is a type"),
        key: None,
        accepted_at: Timestamp::from_millis(1_700_000_000_000),
        content_type: "application/json".into(),
        opaque: !is_json,
        body: body.into(),
        data_at: if is_json { head.len() as u32 } else { 0 },
        extras: None,
    };
    (EventId(7), content)
}

fn endpoint(shaping: Arc<Shaping>, headers: HeaderMap) -> Endpoint {
    Endpoint {
        id: EndpointId::new("ep").expect("it is an id"),
        tenant: Tenant::default(),
        url: "https://example.com/x?chat_id=42"
            .parse()
            .expect("it is a URL"),
        types: Vec::new(),
        secrets: Vec::new(),
        headers: Arc::new(headers),
        max_in_flight: 1,
        rate_limit: None,
        ordering: Ordering::None,
        timeout: Duration::from_secs(1),
        http2: false,
        retry: Arc::new(RetryPolicy::default()),
        allow_networks: Vec::new(),
        enabled: true,
        source: Source::Api,
        description: "d".to_owned(),
        shaping: Some(shaping),
        applied_as: None,
    }
}
