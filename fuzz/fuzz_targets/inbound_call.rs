//! Calls as anybody may make them, of every preset and of recipes of one's own. Nothing that was not
//! signed is taken, and what a source says of a call keeps within what docs/sources.md promises.
//!
//! The input has five parts, the first four ended by a zero byte: the name of a preset, another text whose
//! first byte chooses one, or a definition; bytes for the rest of the choices; the query; the
//! headers, a line each; and the body.

#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use outboxd::domain::event::EventType;
use outboxd::domain::extras::{MAX_HEADER_BYTES, MAX_HEADERS};
use outboxd::domain::inbound::{
    Answer, Call, Given, Incoming, MAX_DELIVERY_ID, NAMES, Received, Sample, Source, preset, presets,
};
use outboxd::domain::json::Json;
use outboxd_fuzz::Bound;
use outboxd_fuzz::inbound::{NEXT, SECRET, URL, complete, holds, list, now, tells};
use ring::hmac;
use url::form_urlencoded;

/// The presets whose signature does not cover the body: what they send is a token, or nothing.
const TOKENS: [&str; 12] = [
    "api_key",
    "basic",
    "bearer",
    "cloudevents",
    "monday",
    "ms_graph",
    "okta",
    "query_token",
    "salesforce",
    "sepay",
    "strava",
    "telegram",
];
/// The most events of a call.
const MOST: usize = 1000;
/// The longest text that a handshake sends back, in bytes.
const MAX_ECHO: usize = 1024;
/// The longest body of a call here, in bytes.
const LONGEST: usize = 64 << 10;

fuzz_target!(init: { presets(); }, |input: &[u8]| {
    if tells(input) {
        return;
    }
    let mut parts = input.splitn(5, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (who, how, query, headers, body) = (part(), part(), part(), part(), part());
    let how = How::read(how);
    let Some(tried) = tried(who, how) else {
        return;
    };
    let request = Request {
        method: how.method(),
        query: String::from_utf8_lossy(query).into_owned(),
        headers: read_headers(headers),
        body: repeated(body, how.repeats),
    };
    hostile(&tried, &request);
    for given in [None, Some(request.body.clone())] {
        if given.as_ref().is_some_and(Bytes::is_empty) {
            continue;
        }
        signed(&tried, given, &request, how);
    }
});

/// The choices of an input.
#[derive(Clone, Copy, Default)]
struct How {
    method: u8,
    place: usize,
    mask: u8,
    options: u8,
    repeats: u8,
}

impl How {
    fn read(bytes: &[u8]) -> How {
        let byte = |n: usize| bytes.get(n).copied().unwrap_or_default();
        How {
            method: byte(0),
            place: usize::from(byte(1)) << 8 | usize::from(byte(2)),
            mask: byte(3).max(1),
            options: byte(4),
            repeats: byte(5) % 16,
        }
    }

    fn method(self) -> Method {
        match self.method % 8 {
            4 => Method::GET,
            5 => Method::HEAD,
            6 => Method::OPTIONS,
            7 => Method::PUT,
            _ => Method::POST,
        }
    }

    fn has(self, bit: u8) -> bool {
        self.options & (1 << bit) != 0
    }
}

/// A source, and what is certain of it.
struct Tried {
    source: Source,
    /// Every scheme signs the bytes of the body.
    signs_body: bool,
    is_preset: bool,
    /// The most that an answer holds of the definition.
    own_bytes: usize,
}

fn tried(who: &[u8], how: How) -> Option<Tried> {
    if who.first() == Some(&b'{') {
        let Ok(Json::Object(given)) = Json::parse(who) else {
            return None;
        };
        let signs_body = signs_body(&given);
        let source = complete(given)?;
        return Some(Tried {
            signs_body: signs_body && !source.verifies_nothing(),
            source,
            is_preset: false,
            own_bytes: who.len(),
        });
    }
    let named = std::str::from_utf8(who).ok().and_then(preset);
    let name = named.map_or_else(
        || NAMES[usize::from(who.first().copied().unwrap_or_default()) % NAMES.len()],
        |preset| preset.name,
    );
    let mut given = Given::new();
    given.insert("preset".into(), Json::from(name));
    let options = [
        (0, "forward_headers", list(&["*"])),
        (1, "type", Json::from("{{ type }}.{{ data.id }}{{ headers['x-a'] }}{{ query.a }}")),
        (2, "split", Json::from("/")),
        (3, "split", Json::from("/events")),
        (4, "token", Json::from("t")),
        (5, "rate_limit", Json::from("10/s")),
    ];
    for (bit, key, value) in options {
        if how.has(bit) {
            given.insert(key.into(), value);
        }
    }
    Some(Tried {
        source: complete(given)?,
        signs_body: !TOKENS.contains(&name),
        is_preset: true,
        own_bytes: 1024,
    })
}

/// Whether every scheme of a recipe of one's own signs the bytes of the body with a secret.
fn signs_body(given: &Given) -> bool {
    let Some(Json::Object(recipe)) = given.get("verify") else {
        return false;
    };
    let text = |scheme: &Given, key: &str, default: &str| match scheme.get(key) {
        Some(Json::String(text)) => text.to_string(),
        _ => default.to_owned(),
    };
    let signs = |scheme: &Given| {
        let algorithm = text(scheme, "algorithm", "hmac-sha256");
        let content = text(scheme, "content", "{body}");
        (algorithm.starts_with("hmac-") || algorithm == "sha256")
            && content.contains("{body}")
            && !content.contains("{form_sorted}")
    };
    match recipe.get("schemes") {
        None | Some(Json::Null) => recipe.contains_key("signature") && signs(recipe),
        Some(Json::Object(scheme)) => signs(scheme),
        Some(Json::Array(schemes)) if !schemes.is_empty() => schemes.iter().all(|scheme| {
            matches!(scheme, Json::Object(scheme) if signs(scheme))
        }),
        Some(_) => false,
    }
}

struct Request {
    method: Method,
    query: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn of(sample: &Sample) -> Request {
        Request {
            method: sample.method.clone(),
            query: sample.query.clone(),
            headers: sample.headers.clone(),
            body: sample.body.clone(),
        }
    }

    fn with_body(&self, body: impl Into<Bytes>) -> Request {
        Request {
            method: self.method.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: body.into(),
        }
    }

    /// What the source says of it, the same twice.
    fn to(&self, tried: &Tried) -> Received {
        self.at(tried, &tried.source, Duration::ZERO)
    }

    fn at(&self, tried: &Tried, source: &Source, later: Duration) -> Received {
        let url = match self.query.as_str() {
            "" => URL.to_owned(),
            query => format!("{URL}?{query}"),
        };
        let call = Call {
            method: &self.method,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
            url: Some(&url),
        };
        let judge = || source.receive(&call, now() + later);
        let received = Bound::new().hold("a call", judge);
        assert_eq!(format!("{received:?}"), format!("{:?}", judge()));
        keeps_promises(tried, self, &received);
        received
    }
}

/// Nobody here has the secret, so nothing is taken.
fn hostile(tried: &Tried, request: &Request) {
    let received = request.to(tried);
    // The account of Salesforce is no secret.
    if (tried.is_preset && tried.source.preset != "salesforce") || tried.signs_body {
        assert!(!is_taken(&received), "{received:?}");
    }
}

/// A sample of the provider is taken, and nothing that is changed in it.
fn signed(tried: &Tried, body: Option<Bytes>, request: &Request, how: How) {
    let source = &tried.source;
    let own = body.is_none();
    let Ok(sample) = source.sample(body, [7; 16], now(), Some(URL)) else {
        return;
    };
    let sample = Request::of(&sample);
    let received = sample.to(tried);
    if tried.is_preset && own {
        assert!(is_taken(&received), "{}: {received:?}", source.preset);
    }
    // What a handshake signs for anybody is no event, though its signature is right.
    let certain = tried.is_preset && tried.signs_body && !is_signable(&sample.body);
    if let (true, Received::Rejected(why)) = (certain, &received) {
        let unverified = ["missing_signature", "bad_signature"];
        assert!(!unverified.contains(&why.as_str()), "{}: {why:?}", source.preset);
    }
    // More headers and parameters may make it another call, or none.
    let mut more = sample.with_body(sample.body.clone());
    for (name, value) in &request.headers {
        more.headers.append(name, value.clone());
    }
    if !request.query.is_empty() {
        more.query = format!("{}&{}", more.query, request.query);
    }
    more.method = request.method.clone();
    more.to(tried);
    if tried.signs_body {
        changed(tried, &sample, how);
    }
    if is_taken(&received) && tried.signs_body && tried.is_preset {
        rotated(tried, &sample);
    }
}

fn changed(tried: &Tried, sample: &Request, how: How) {
    let mut bodies = vec![[&*sample.body, &[how.mask]].concat()];
    if let Some(last) = sample.body.len().checked_sub(1) {
        let mut flipped = sample.body.to_vec();
        flipped[how.place % sample.body.len()] ^= how.mask;
        bodies.extend([flipped, sample.body[..last].to_vec(), sample.body[1..].to_vec()]);
    }
    for body in bodies {
        if tried.source.preset == "twilio" && fields(&body) == fields(&sample.body) {
            continue;
        }
        let changed = sample.with_body(body);
        let received = changed.to(tried);
        assert!(!is_taken(&received), "{}: {received:?}", tried.source.preset);
        let Received::Rejected(why) = received else {
            continue;
        };
        // No response shows the signature that would have been right.
        let right = tried.source.sample(Some(changed.body), [7; 16], now(), Some(URL));
        let Ok(right) = right else { continue };
        let detail = why.detail();
        for value in right.headers.values().filter(|value| value.len() >= 27) {
            assert!(!holds(detail.as_bytes(), value.as_bytes()), "{detail}");
        }
    }
}

/// The earlier secret counts until it ends.
fn rotated(tried: &Tried, sample: &Request) {
    let overlap = Duration::from_secs(3600);
    let Ok(rotated) = tried.source.rotated(NEXT, now(), overlap) else {
        return;
    };
    let received = sample.at(tried, &rotated, Duration::ZERO);
    assert!(is_taken(&received), "{}: {received:?}", rotated.preset);
    let received = sample.at(tried, &rotated, overlap);
    assert!(!is_taken(&received), "{}: {received:?}", rotated.preset);
}

fn is_taken(received: &Received) -> bool {
    matches!(received, Received::Events { .. })
}

/// What Twilio signs of a form: its fields by name.
fn fields(body: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<_> = form_urlencoded::parse(body).into_owned().collect();
    fields.sort();
    fields
}

fn keeps_promises(tried: &Tried, request: &Request, received: &Received) {
    match received {
        Received::Events { events, answer, .. } => {
            assert!(answer.status.is_success());
            assert!(events.len() <= MOST);
            let mut ids = HashSet::new();
            for event in events {
                incoming(event);
                assert!(ids.insert(&event.delivery_id), "two events of one id");
            }
        }
        Received::Handshake(answer) => {
            assert!(answer.status.is_success());
            echoes_little(tried, answer);
            signs_no_body(request, answer);
        }
        Received::Rejected(why) => {
            assert!(why.status().is_client_error());
            let detail = why.detail();
            assert!(!detail.is_empty() && detail.len() <= 1024, "{detail}");
            assert!(!tells(detail.as_bytes()), "{detail}");
        }
    }
}

fn incoming(event: &Incoming) {
    assert!(EventType::new(event.event_type.as_str()).is_ok());
    assert!(!event.event_type.is_reserved(), "{}", event.event_type);
    assert!((1..=MAX_DELIVERY_ID).contains(&event.delivery_id.len()));
    assert!(!event.delivery_id.contains(char::is_control));
    let visible = |bytes: &[u8]| bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
    if let Some(content_type) = &event.content_type {
        assert!(visible(content_type.as_bytes()) && content_type.len() <= 256);
    }
    assert!(event.headers.len() <= MAX_HEADERS);
    let mut bytes = 0;
    for (name, value) in &event.headers {
        assert!(!is_forbidden(name.as_str()), "{name} is sent on");
        assert!(value.is_sensitive() && visible(value.as_bytes()));
        assert!(!tells(value.as_bytes()), "{name} holds a secret");
        bytes += name.as_str().len() + value.len();
    }
    assert!(bytes <= MAX_HEADER_BYTES);
}

/// What is never sent on (docs/sources.md).
fn is_forbidden(name: &str) -> bool {
    let names = [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
        "cookie",
        "authorization",
        "forwarded",
        "traceparent",
        "tracestate",
    ];
    let begins = ["webhook-", "outboxd-", "proxy-", "x-forwarded-"];
    names.contains(&name) || begins.iter().any(|start| name.starts_with(start))
}

/// A handshake sends back at most 1 KiB of the caller's, as a text that no browser runs.
fn echoes_little(tried: &Tried, answer: &Answer) {
    let most = MAX_ECHO + tried.own_bytes;
    for (_, value) in &answer.headers {
        assert!(value.len() <= most);
    }
    if let Ok(json) = Json::parse(&answer.body) {
        let mut texts = Vec::new();
        leaves(&json, &mut texts);
        assert!(texts.iter().all(|text| text.len() <= most));
    } else {
        assert!(answer.body.len() <= most);
    }
    // A recipe of one's own may send back where it reads its token.
    assert!(!tried.is_preset || !tells(&answer.body));
}

/// A MAC is made over 1 to 128 of `A-Z a-z 0-9 _ = . -` alone, so that it signs no body.
fn signs_no_body(request: &Request, answer: &Answer) {
    if answer.body.len() < 20 {
        return;
    }
    let mut texts = vec![
        request.body.to_vec(),
        request.query.clone().into_bytes(),
        Vec::new(),
    ];
    for form in [request.query.as_bytes(), &request.body] {
        texts.extend(form_urlencoded::parse(form).map(|(_, value)| value.into_owned().into_bytes()));
    }
    texts.extend(request.headers.values().map(|value| value.as_bytes().to_vec()));
    if let Ok(json) = Json::parse(&request.body) {
        let mut found = Vec::new();
        leaves(&json, &mut found);
        texts.extend(found.into_iter().map(String::into_bytes));
    }
    texts.retain(|text| !is_signable(text));
    texts.truncate(256);
    let hex: Vec<u8> = (0..SECRET.len())
        .step_by(2)
        .filter_map(|at| u8::from_str_radix(&SECRET[at..at + 2], 16).ok())
        .collect();
    let base64 = STANDARD.decode(SECRET).unwrap_or_default();
    for key in [SECRET.as_bytes(), &hex, &base64] {
        for algorithm in [
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            hmac::HMAC_SHA256,
            hmac::HMAC_SHA512,
        ] {
            let key = hmac::Key::new(algorithm, key);
            for text in &texts {
                let mac = hmac::sign(&key, text);
                let hex: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
                let encoded = STANDARD.encode(mac.as_ref());
                let said = |mac: &str| holds(&answer.body, mac.as_bytes());
                assert!(!said(&hex) && !said(&encoded), "it signs {text:?}");
            }
        }
    }
}

/// Whether a handshake may sign a text.
fn is_signable(text: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"_=.-".contains(byte);
    (1..=128).contains(&text.len()) && text.iter().all(fits)
}

/// The texts of a JSON value.
fn leaves(json: &Json, texts: &mut Vec<String>) {
    match json {
        Json::String(text) => texts.push(text.to_string()),
        Json::Array(items) => items.iter().for_each(|item| leaves(item, texts)),
        Json::Object(fields) => fields.values().for_each(|field| leaves(field, texts)),
        _ => {}
    }
}

/// Lines of `name:value`.
fn read_headers(text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// The body, doubled so often.
fn repeated(body: &[u8], repeats: u8) -> Bytes {
    let times = 1_usize << repeats;
    let most = LONGEST / body.len().max(1);
    body.repeat(times.min(most.max(1))).into()
}
