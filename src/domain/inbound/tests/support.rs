//! A call that is put together piece by piece.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::domain::inbound::{
    Answer, Call, Given, Incoming, Received, Rejection, Sample, Source, SourceId, VerifiedBy, read,
};
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// Seconds since 1970 as a moment.
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// A definition of JSON.
pub fn given(json: &str) -> Given {
    match Json::parse(json.as_bytes()).unwrap() {
        Json::Object(fields) => fields,
        other => panic!("{other}"),
    }
}

/// A source of this definition.
#[track_caller]
pub fn source(json: &str) -> Source {
    let id = SourceId::new("s").unwrap();
    read(id, &given(json)).unwrap_or_else(|bad| panic!("{}: {bad}", bad.key))
}

/// Why the definition is refused: the key, and the sentence.
#[track_caller]
pub fn refused(json: &str) -> (String, String) {
    let bad = read(SourceId::new("s").unwrap(), &given(json)).unwrap_err();
    (bad.key.clone(), bad.to_string())
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub url: Option<String>,
}

impl Request {
    pub fn post(body: impl Into<Bytes>) -> Request {
        Request {
            method: Method::POST,
            query: String::new(),
            headers: HeaderMap::new(),
            body: body.into(),
            url: None,
        }
    }

    /// A sample, as it would be called at `url`, which has no query.
    pub fn of(sample: Sample, url: &str) -> Request {
        let whole = match sample.query.as_str() {
            "" => url.to_owned(),
            query => format!("{url}?{query}"),
        };
        Request {
            method: sample.method,
            query: sample.query,
            headers: sample.headers,
            body: sample.body,
            url: Some(whole),
        }
    }

    pub fn get(query: &str) -> Request {
        let mut request = Request::post("");
        request.method = Method::GET;
        request.query = query.to_owned();
        request
    }

    pub fn with(mut self, name: &str, value: &str) -> Request {
        let name: HeaderName = name.parse().unwrap();
        self.headers
            .insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub fn query(mut self, query: &str) -> Request {
        self.query = query.to_owned();
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = body.into();
        self
    }

    pub fn url(mut self, url: &str) -> Request {
        self.url = Some(url.to_owned());
        if let Some((_, query)) = url.split_once('?') {
            self.query = query.to_owned();
        }
        self
    }

    pub fn to(&self, source: &Source, now: Timestamp) -> Received {
        let call = Call {
            method: &self.method,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
            url: self.url.as_deref(),
        };
        source.receive(&call, now)
    }

    /// It is verified: its events.
    #[track_caller]
    pub fn events(&self, source: &Source, now: Timestamp) -> Vec<Incoming> {
        match self.to(source, now) {
            Received::Events { events, .. } => events,
            other => panic!("{other:?}"),
        }
    }

    /// It is verified: its only event.
    #[track_caller]
    pub fn event(&self, source: &Source, now: Timestamp) -> Incoming {
        match self.to(source, now) {
            Received::Events { mut events, .. } if events.len() == 1 => events.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn verified_by(&self, source: &Source, now: Timestamp) -> VerifiedBy {
        match self.to(source, now) {
            Received::Events { verified_by, .. } => verified_by,
            other => panic!("{other:?}"),
        }
    }

    /// The answer to a handshake.
    #[track_caller]
    pub fn greeted(&self, source: &Source, now: Timestamp) -> Answer {
        match self.to(source, now) {
            Received::Handshake(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    /// The answer to an event.
    #[track_caller]
    pub fn answered(&self, source: &Source, now: Timestamp) -> Answer {
        match self.to(source, now) {
            Received::Events { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn rejected(&self, source: &Source, now: Timestamp) -> Rejection {
        match self.to(source, now) {
            Received::Rejected(rejection) => rejection,
            other => panic!("{other:?}"),
        }
    }

    /// The reason of the rejection.
    #[track_caller]
    pub fn why(&self, source: &Source, now: Timestamp) -> &'static str {
        self.rejected(source, now).as_str()
    }
}

/// The type and id of an event.
pub fn named(event: &Incoming) -> (&str, &str) {
    (event.event_type.as_str(), &event.delivery_id)
}

/// The text of an answer's body.
pub fn text(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).unwrap()
}

/// The value of an answer's header.
pub fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let mut all = answer.headers.iter();
    let found = all.find(|(own, _)| own.as_str() == name);
    found.map_or("", |(_, value)| value.to_str().unwrap())
}
