//! A provider's part: a call as it makes it, and what the provider is.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

use super::PUBLIC_URL;
use super::crypto::{ed25519, p256, p256_public, public_hex};
use crate::harness::Daemon;
use crate::harness::http::{Connection, Response};

/// A call of a provider.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: &'static str,
    /// Without `?`.
    pub query: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn new(method: &'static str, query: &str) -> Call {
        Call {
            method,
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn post(body: &[u8]) -> Call {
        Call {
            body: body.to_vec(),
            ..Call::new("POST", "")
        }
    }

    /// With another header, in the place of one of this name.
    pub fn with(mut self, name: &str, value: &str) -> Call {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Call {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    /// With another body, whatever the signature says.
    pub fn body(mut self, body: &[u8]) -> Call {
        self.body = body.to_vec();
        self
    }

    fn target(&self, source: &str) -> String {
        match self.query.as_str() {
            "" => format!("/in/{source}"),
            query => format!("/in/{source}?{query}"),
        }
    }

    fn headers(&self) -> Vec<(&str, &str)> {
        let pairs = self.headers.iter();
        pairs.map(|(name, value)| (&**name, &**value)).collect()
    }

    /// Calls a source of the daemon, on a connection of its own.
    #[track_caller]
    pub fn send(&self, daemon: &Daemon, source: &str) -> Response {
        let target = self.target(source);
        let public = daemon.public();
        public.request(self.method, &target, &self.headers(), &self.body)
    }

    /// The same on a connection to the public listener, which may break.
    pub fn send_on(&self, connection: &mut Connection, source: &str) -> io::Result<Response> {
        let target = self.target(source);
        connection.ask(self.method, &target, &self.headers(), &self.body)
    }
}

/// What a call is signed with, and when.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    pub secret: &'a str,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Which delivery it is.
    pub number: u32,
}

impl Signing<'_> {
    pub fn seconds(&self) -> i64 {
        self.at_ms / 1000
    }

    /// A delivery id in the form of a UUID.
    pub fn uuid(&self) -> String {
        format!("72d3162e-cc78-11e3-81ab-{:012x}", self.number)
    }

    /// The time as RFC 3339 has it.
    pub fn rfc3339(&self) -> String {
        let days = self.seconds().div_euclid(86_400);
        let second = self.seconds().rem_euclid(86_400);
        // Days to a date, as of Howard Hinnant's `civil_from_days`.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
            second % 60
        )
    }
}

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("it is past 1970").as_millis()).expect("it is before 2262")
}

/// The URL of a source as the provider has it.
pub fn url(source: &str) -> String {
    format!("{PUBLIC_URL}/in/{source}")
}

/// What a source knows a provider by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Secrets of any text.
    Text,
    /// Secrets of `whsec_` and base64.
    Whsec,
    /// Secrets of any text, which the provider sends instead of signing with them.
    Token,
    /// The provider has a private key, made of this seed; the source has the public one.
    PublicKey,
    /// The provider signs nothing but names its account.
    Account,
    /// The provider signs nothing; the URL that it got has a token.
    UrlToken,
}

/// What a provider is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub body: &'static str,
}

/// 200 without a body, which satisfies who wants any 2xx.
pub const OK: Answer = Answer {
    status: 200,
    content_type: None,
    body: "",
};

/// A provider that signs as its documentation says.
pub struct StandIn {
    /// Also the id of its source.
    pub name: &'static str,
    pub preset: &'static str,
    pub known: Known,
    /// A key of its source besides, such as `("app_id", "7")`.
    pub field: Option<(&'static str, &'static str)>,
    /// An event's call. Its body holds the time.
    pub call: fn(Signing<'_>) -> Call,
    /// The header without which a call is not signed, or `body:` and the name of what is in the body.
    pub signature: &'static str,
    /// The type of its events. What ends in a dot is a beginning.
    pub event_type: &'static str,
    pub answer: Answer,
    /// How far a signed time may be off at most, in seconds. `None`: no time is signed.
    pub tolerance: Option<i64>,
    /// A delivery is known by its id, whatever the body of the repeated call is.
    pub has_id: bool,
    /// Calls for different events may be the same, so that none is taken for a repeated one.
    pub repeats: bool,
}

impl StandIn {
    /// What the provider is known by, and what it is to be known by after a rotation.
    pub fn two_secrets(&self) -> [&'static str; 2] {
        match self.known {
            Known::Text | Known::Token | Known::UrlToken => [
                "the-old-secret-of-0123456789",
                "the-new-secret-of-0123456789",
            ],
            Known::Whsec => [
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            ],
            Known::PublicKey => ["11", "22"],
            Known::Account => ["00D000000000062EAA", "00D000000000063EAA"],
        }
    }

    /// The key of the definition that has what the provider is known by, and its value.
    pub fn known_by(&self, secrets: &[&str]) -> (&'static str, Value) {
        let first = secrets[0];
        match self.known {
            Known::Text | Known::Whsec | Known::Token => ("secrets", secrets.into()),
            Known::PublicKey if self.preset == "sendgrid" => {
                ("public_key", p256_public(&p256(first)).into())
            }
            Known::PublicKey => ("public_key", public_hex(&key(first)).into()),
            Known::Account => ("account", first.into()),
            Known::UrlToken => ("token", first.into()),
        }
    }

    /// The source's definition.
    pub fn definition(&self, secrets: &[&str]) -> Value {
        let mut definition = json!({"id": self.name, "preset": self.preset});
        let (key, value) = self.known_by(secrets);
        definition[key] = value;
        if let Some((key, value)) = self.field {
            definition[key] = value.into();
        }
        definition
    }

    /// The call without what shows that it is the provider's.
    pub fn unsigned(&self, call: Call) -> Call {
        if self.known == Known::UrlToken {
            return Call {
                query: String::new(),
                ..call
            };
        }
        match self.signature.strip_prefix("body:") {
            Some(name) => {
                let text = String::from_utf8(call.body.clone()).expect("a text");
                call.body(text.replace(name, "something").as_bytes())
            }
            None => call.without(self.signature),
        }
    }

    /// Whether a changed body is noticed.
    pub fn signs_body(&self) -> bool {
        matches!(self.known, Known::Text | Known::Whsec | Known::PublicKey)
    }
}

/// The provider's private key of a seed.
pub fn key(seed: &str) -> Ed25519KeyPair {
    ed25519(seed.parse().expect("a small number"))
}
