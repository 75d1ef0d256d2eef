//! JSON objects of requests that are not events: each field known by name, each at most
//! once, nothing ignored. Faults name the field; values are never repeated in them.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::HeaderMap;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Api;
use super::media::{content_type, is_media_type, plain_body, shown};
use super::problem::{Kind, Problem};
use super::query::Query;
use crate::app::definition::Given;
use crate::config::nearest;
use crate::config::units::{parse_duration, parse_rate, show_duration};
use crate::domain::endpoint::{Rate, TypePattern};
use crate::domain::json::Json;
use crate::server::body::{self, Limit};

/// The largest body of a request that is not an event, in bytes.
const MAX_BODY: u64 = 256 * 1024;
/// How much of an unknown name is repeated, in characters.
const SHOWN: usize = 64;

/// The body of a request that holds a JSON object, or nothing.
///
/// # Errors
/// 413 over 256 KiB, 415 if it is something else.
pub async fn body_of(api: &Api, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let limit = Limit {
        bytes: MAX_BODY,
        key: "what such a request may hold",
    };
    plain_body(headers)?;
    let received = body::collect(body, limit, &api.rules().bodies).await?;
    if received.bytes.is_empty() {
        return Ok(received.bytes);
    }
    let content_type = content_type(headers)?;
    if !is_media_type(content_type, "application/json") {
        let came = shown(content_type);
        let detail = format!("this takes application/json in UTF-8, and not `{came}`");
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    Ok(received.bytes)
}

/// A request that says all in its path: no query, and no body or an empty object.
pub async fn nothing_more(api: &Api, request: Request) -> Result<(), Problem> {
    let (parts, body) = request.into_parts();
    Query::parse(&parts.uri, &[])?;
    let body = body_of(api, &parts.headers, body).await?;
    Fields::parse(&body, &[]).map(drop)
}

/// A JSON object.
struct Object<'a>(Members<'a>);

/// The members of an object, in the order of its text.
pub type Members<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

impl<'de> de::Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
        let mut found = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            found.push((name.into(), value));
        }
        Ok(Object(found))
    }
}

/// The known fields of one object.
#[derive(Debug)]
pub struct Fields<'a> {
    /// What stands before the names in faults: empty, or `retry.`.
    prefix: &'static str,
    found: Vec<(&'static str, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Reads a whole body. One that is empty has no fields.
    ///
    /// # Errors
    /// 400 if it is not a JSON object, or has a field twice or one that is not in `known`.
    pub fn parse(body: &'a [u8], known: &[&'static str]) -> Result<Self, Problem> {
        if body.trim_ascii().is_empty() {
            return Self::new("", Object(Vec::new()), known);
        }
        let object = serde_json::from_slice(body).map_err(|error| {
            Problem::bad_request(format!("the body is not a JSON object: {error}"))
        })?;
        Self::new("", object, known)
    }

    fn new(
        prefix: &'static str,
        object: Object<'a>,
        known: &[&'static str],
    ) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, &RawValue)> = Vec::new();
        for (name, value) in object.0 {
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                return Err(unknown(prefix, &name, known));
            };
            if found.iter().any(|(seen, _)| *seen == name) {
                return Err(Problem::bad_request(format!(
                    "field `{prefix}{name}` is given twice"
                )));
            }
            found.push((name, value));
        }
        Ok(Fields { prefix, found })
    }

    /// 400 that names the field.
    pub fn fault(&self, name: &str, why: impl Display) -> Problem {
        let name = format!("{}{name}", self.prefix);
        Problem::bad_request(format!("field `{name}`: {why}")).at(&name)
    }

    fn raw(&self, name: &'static str) -> Given<&'a RawValue> {
        match self.found.iter().find(|(found, _)| *found == name) {
            None => Given::Absent,
            Some((_, raw)) if raw.get() == "null" => Given::Null,
            Some((_, raw)) => Given::Value(raw),
        }
    }

    fn typed<T: DeserializeOwned>(
        &self,
        name: &'static str,
        what: &str,
    ) -> Result<Given<T>, Problem> {
        self.raw(name).try_map(|raw| {
            serde_json::from_str(raw.get()).map_err(|_| self.fault(name, format!("not {what}")))
        })
    }

    pub fn flag(&self, name: &'static str) -> Result<Given<bool>, Problem> {
        self.typed(name, "true or false")
    }

    pub fn decimal(&self, name: &'static str) -> Result<Given<f64>, Problem> {
        self.typed(name, "a number")
    }

    pub fn count(
        &self,
        name: &'static str,
        bounds: RangeInclusive<usize>,
    ) -> Result<Given<usize>, Problem> {
        let what = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        self.typed(name, &what)?.try_map(|count| {
            let fits = bounds.contains(&count);
            fits.then_some(count)
                .ok_or_else(|| self.fault(name, format!("not {what}")))
        })
    }

    /// A string, as `read` understands it.
    pub fn text<T, E: Display>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Given<T>, Problem> {
        self.typed::<String>(name, "a string")?
            .try_map(|text| read(&text).map_err(|why| self.fault(name, why)))
    }

    /// A list of strings, each as `read` understands it.
    pub fn texts<T, E: Display>(
        &self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Given<Vec<T>>, Problem> {
        self.typed::<Vec<String>>(name, "a list of strings")?
            .try_map(|texts| {
                let items = texts.iter().enumerate();
                items
                    .map(|(n, text)| {
                        read(text).map_err(|why| self.fault(&format!("{name}[{n}]"), why))
                    })
                    .collect()
            })
    }

    /// A duration within `bounds`, such as `"5s"`.
    pub fn duration(
        &self,
        name: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Result<Given<Duration>, Problem> {
        self.text(name, |text| duration(text, &bounds))
    }

    /// A rate such as `"50/s"`; `""` is none.
    pub fn rate(&self, name: &'static str) -> Result<Given<Option<Rate>>, Problem> {
        self.text(name, |text| match text {
            "" => Ok(None),
            text => parse_rate(text).map(Some),
        })
    }

    pub fn patterns(&self, name: &'static str) -> Result<Given<Vec<TypePattern>>, Problem> {
        self.texts(name, TypePattern::parse)
    }

    /// The fields of an object; `prefix` is `name` and a dot.
    pub fn object(
        &self,
        name: &'static str,
        prefix: &'static str,
        known: &[&'static str],
    ) -> Result<Given<Fields<'a>>, Problem> {
        self.members(name)?
            .try_map(|object| Fields::new(prefix, Object(object), known))
    }

    /// A field byte for byte, also `null`.
    pub fn written(&self, name: &'static str) -> Option<&'a [u8]> {
        let found = self.found.iter().find(|(found, _)| *found == name);
        found.map(|(_, raw)| raw.get().as_bytes())
    }

    /// The fields of these names that are there, as they were written.
    pub fn json(
        &self,
        names: &[&'static str],
    ) -> Result<Vec<(&'static str, Given<Json>)>, Problem> {
        let read = |name: &'static str| match self.raw(name) {
            Given::Absent => None,
            raw => Some(raw.try_map(|raw| {
                let read = Json::parse(raw.get().as_bytes());
                read.map_err(|bad| self.fault(name, bad.problem))
            })),
        };
        let found = names.iter().filter_map(|name| Some((*name, read(name)?)));
        found.map(|(name, json)| Ok((name, json?))).collect()
    }

    /// The members of an object whose names are free.
    pub fn members(&self, name: &'static str) -> Result<Given<Members<'a>>, Problem> {
        self.raw(name).try_map(|raw| {
            let object: Result<Object<'a>, _> = serde_json::from_str(raw.get());
            object
                .map(|object| object.0)
                .map_err(|_| self.fault(name, "not an object"))
        })
    }
}

/// A duration within `bounds`; the fault says what is allowed.
pub fn duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let span = parse_duration(text).map_err(|error| error.to_string())?;
    let (least, most) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
    let fits = bounds.contains(&span);
    fits.then_some(span)
        .ok_or_else(|| format!("not from {least:?} to {most:?}"))
}

/// The beginning of a name that somebody else chose.
pub fn short(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()).into(),
        None => name.into(),
    }
}

fn unknown(prefix: &str, name: &str, known: &[&str]) -> Problem {
    let meant = match nearest(name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => "this request takes no fields".to_owned(),
        None => format!("expected one of `{}`", known.join("`, `")),
    };
    let name = short(name);
    Problem::bad_request(format!("unknown field `{prefix}{name}`, {meant}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused<T>(result: Result<T, Problem>) -> String {
        match result {
            Ok(_) => panic!("taken"),
            Err(problem) => {
                assert_eq!(problem.kind, Kind::BadRequest);
                problem.detail.into_owned()
            }
        }
    }

    #[test]
    fn an_object_is_read_field_by_field() {
        let body =
            br#" {"n": 3, "t": "5s", "f": true, "l": ["a", "b.*"], "o": {"x": 1.5}, "z": null} "#;
        let fields = Fields::parse(body, &["n", "t", "f", "l", "o", "z", "none"]).unwrap();
        assert_eq!(fields.count("n", 1..=3).unwrap(), Given::Value(3));
        let bounds = Duration::ZERO..=Duration::from_secs(5);
        assert_eq!(
            fields.duration("t", bounds).unwrap(),
            Given::Value(Duration::from_secs(5))
        );
        assert_eq!(fields.flag("f").unwrap(), Given::Value(true));
        assert_eq!(fields.patterns("l").unwrap().value().unwrap().len(), 2);
        let inner = fields.object("o", "o.", &["x"]).unwrap().value().unwrap();
        assert_eq!(inner.decimal("x").unwrap(), Given::Value(1.5));
        assert_eq!(fields.flag("z").unwrap(), Given::Null);
        assert_eq!(fields.flag("none").unwrap(), Given::Absent);
        assert!(Fields::parse(b" \n", &["a"]).unwrap().flag("a").unwrap() == Given::Absent);
    }

    #[test]
    fn faults_name_the_field() {
        let known = ["url", "types", "max_in_flight", "retry"];
        let parse = |body: &'static str| Fields::parse(body.as_bytes(), &known);
        assert!(
            refused(parse(r#"{"tpyes": 1}"#))
                .ends_with("unknown field `tpyes`, did you mean `types`?")
        );
        assert!(refused(parse(r#"{"x": 1}"#)).contains("`x`, expected one of `url`, `types`"));
        assert!(refused(parse(r#"{"url": 1, "url": 2}"#)).contains("`url` is given twice"));
        for body in ["[]", "1", "{", "{} {}", "null", "{\"url\":}", "\u{fffd}"] {
            assert!(
                refused(parse(body)).starts_with("the body is not a JSON object"),
                "{body}"
            );
        }
        let fields = parse(
            r#"{"url": 1, "types": ["a", "b b"], "max_in_flight": 0, "retry": {"frist": 1}}"#,
        );
        let fields = fields.unwrap();
        assert!(
            refused(fields.text("url", |_| Ok::<_, String>(()))).contains("`url`: not a string")
        );
        assert!(refused(fields.patterns("types")).contains("`types[1]`"));
        assert!(refused(fields.count("max_in_flight", 1..=9)).contains("from 1 to 9"));
        let inner = refused(fields.object("retry", "retry.", &["first"]));
        assert!(
            inner.contains("`retry.frist`, did you mean `first`?"),
            "{inner}"
        );
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"url\": {}", "[".repeat(60_000));
        refused(Fields::parse(deep.as_bytes(), &["url"]));
    }

    proptest! {
        #[test]
        fn no_body_panics(text in "[\\[\\]{}\":,a-z0-9null ]{0,60}") {
            if let Ok(fields) = Fields::parse(text.as_bytes(), &["a", "b"]) {
                let _ = (fields.texts("a", |text| text.parse::<u8>()), fields.members("b"));
            }
        }
    }
}
