//! The events of a verified call.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::call::View;
use super::keys::hash;
use super::naming::Naming;
use super::place::Item;
use super::pointer::{MAX_FOUND, Pointer};
use super::source::Source;
use super::verdict::{Incoming, MAX_DELIVERY_ID, Rejection};
use crate::domain::cloudevents::{Mode, parse_batch, parse_binary, parse_structured};
use crate::domain::hex::to_hex;
use crate::domain::time::Timestamp;

/// How long the numbers after a delivery id may be, with their signs.
const MAX_NUMBERS: usize = 10;
/// The longest content type that is sent on, in bytes.
const MAX_CONTENT_TYPE: usize = 256;

/// The events of a call. `signed_id` is a delivery id that the signature covers.
///
/// # Errors
/// It holds none, where its kind has to.
pub(super) fn events(
    source: &Source,
    view: &View<'_>,
    signed_id: Option<String>,
    now: Timestamp,
) -> Result<Vec<Incoming>, Rejection> {
    if source.recipe.cloudevents {
        return cloudevents(source, view);
    }
    let recipe = &source.recipe;
    let hashed = |bytes: &[u8]| match recipe.repeats {
        true => format!("{}@{}", hashed(bytes), now.as_millis()),
        false => hashed(bytes),
    };
    let hides = |name: &str| source.hides(name);
    let of_call = OfCall::new(source, view, &hides);
    let items = source.split.as_ref().and_then(|split| items(split, view));
    let id = signed_id.or_else(|| recipe.id.over(view).unique(None));
    let call_type = OnceCell::new();
    let call_type = || -> &Option<String> {
        call_type.get_or_init(|| recipe.event_type.over(view).dotted(None))
    };
    let Some(items) = items else {
        let parts = Parts {
            event_type: call_type().clone(),
            id: id.unwrap_or_else(|| hashed(view.call.body)),
            body: view.call.body.clone(),
            content_type: content_type(view),
        };
        return Ok(vec![of_call.incoming(None, parts)]);
    };
    // The id of the call and a number is sure; the same element may come again in another call.
    let call_id = id.map(short);
    let (split_id, split_type) = (recipe.split_id.over(view), recipe.split_type.over(view));
    let mut events = Vec::with_capacity(items.len());
    for (n, raw) in items.into_iter().enumerate() {
        let item = raw.get().as_bytes();
        let id = split_id.unique(Some(item)).or_else(|| {
            let call_id = call_id.as_ref()?;
            Some(format!("{call_id}#{n}"))
        });
        let event_type = split_type.dotted(Some(item));
        let parts = Parts {
            event_type: event_type.or_else(|| call_type().clone()),
            id: id.unwrap_or_else(|| hashed(item)),
            body: within(view.call.body, item),
            content_type: Some("application/json".into()),
        };
        events.push(of_call.incoming(Some(item), parts));
    }
    number(&mut events);
    Ok(events)
}

/// The elements of the array; `None` if there is none, or more than one call can be.
fn items<'v>(split: &Pointer, view: &'v View<'_>) -> Option<Vec<&'v RawValue>> {
    let array = split.find_one(view.document())?.get();
    if !array.starts_with('[') {
        return None;
    }
    let mut items = Vec::new();
    let every = Pointer::parse("/*")?;
    let count = every.find(array.as_bytes());
    items.extend(count);
    let is_empty = array
        .trim_matches(['[', ']', ' ', '\t', '\r', '\n'])
        .is_empty();
    (is_empty || !items.is_empty() && items.len() <= MAX_FOUND).then_some(items)
}

/// The part of the body, sharing its memory where it is one.
fn within(body: &Bytes, part: &[u8]) -> Bytes {
    let start = (part.as_ptr() as usize).wrapping_sub(body.as_ptr() as usize);
    let end = start.wrapping_add(part.len());
    match start <= end && end <= body.len() {
        true => body.slice(start..end),
        false => Bytes::copy_from_slice(part),
    }
}

/// Different events of one call have different ids, whatever the provider writes: none is lost. The
/// first that has an id keeps it; those after it get a number that makes an id which no other has.
fn number(events: &mut [Incoming]) {
    let given: HashSet<String> = events.iter().map(|one| one.delivery_id.clone()).collect();
    if given.len() == events.len() {
        return;
    }
    // By id, the number to try next; 0 stands for the id itself.
    let mut next: HashMap<String, usize> = HashMap::new();
    for event in events {
        let next = next.entry(event.delivery_id.clone()).or_default();
        let mut numbered = (*next..).map(|n| (n, with_number(&event.delivery_id, n)));
        // Two ids with two numbers are never the same text, so only those that were given matter.
        let free = numbered.find(|(n, id)| *n == 0 || !given.contains(id));
        if let Some((n, id)) = free {
            *next = n.saturating_add(1);
            event.delivery_id = id;
        }
    }
}

fn with_number(id: &str, n: usize) -> String {
    match n {
        0 => id.to_owned(),
        n => format!("{id}#{n}"),
    }
}

struct Parts {
    event_type: Option<String>,
    id: String,
    body: Bytes,
    content_type: Option<Box<str>>,
}

/// What the events of one call have in common.
struct OfCall<'v, 'a> {
    naming: Naming<'v, 'a>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl<'v, 'a> OfCall<'v, 'a> {
    fn new(
        source: &'v Source,
        view: &'v View<'a>,
        hides: &'v dyn Fn(&str) -> bool,
    ) -> OfCall<'v, 'a> {
        OfCall {
            naming: Naming::new(source.preset, source.event_type.as_ref(), view, hides),
            headers: source.forwarded(view),
        }
    }

    fn incoming(&self, item: Item<'_>, parts: Parts) -> Incoming {
        let delivery_id = short(parts.id);
        let provider_type = parts.event_type.as_deref();
        Incoming {
            event_type: self.naming.event_type(provider_type, &delivery_id, item),
            delivery_id,
            content_type: parts.content_type,
            body: parts.body,
            headers: self.headers.clone(),
        }
    }
}

fn hashed(bytes: &[u8]) -> String {
    format!("sha256:{}", to_hex(&hash(bytes)))
}

/// A delivery id as it is, or its hash if that is too long or not one line of text.
fn short(id: String) -> String {
    let fits = id.len() <= MAX_DELIVERY_ID - MAX_NUMBERS && !id.contains(char::is_control);
    match fits {
        true => id,
        false => hashed(id.as_bytes()),
    }
}

fn content_type(view: &View<'_>) -> Option<Box<str>> {
    let text = view.header(&CONTENT_TYPE)?.trim();
    let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let fits = visible && (1..=MAX_CONTENT_TYPE).contains(&text.len());
    fits.then(|| text.into())
}

/// One event of each CloudEvent, of a batch too. `source` and `id` together are its delivery id.
fn cloudevents(source: &Source, view: &View<'_>) -> Result<Vec<Incoming>, Rejection> {
    let bad = |error: &dyn std::fmt::Display| Rejection::BadRequest(error.to_string());
    let body = view.call.body;
    let mode = Mode::of(view.call.headers).map_err(|error| bad(&error))?;
    let found = match mode {
        Some(Mode::Structured) => vec![parse_structured(body).map_err(|error| bad(&error))?],
        Some(Mode::Binary) => {
            vec![parse_binary(view.call.headers, body).map_err(|error| bad(&error))?]
        }
        Some(Mode::Batch) => parse_batch(body, MAX_FOUND).map_err(|error| bad(&error))?,
        None => return Err(bad(&"this is not a CloudEvent")),
    };
    let whole = Pointer::parse("");
    let items = match mode {
        Some(Mode::Batch) => whole
            .and_then(|whole| items(&whole, view))
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    let hides = |name: &str| source.hides(name);
    let of_call = OfCall::new(source, view, &hides);
    let mut events = Vec::with_capacity(found.len());
    for (n, event) in found.iter().enumerate() {
        let item = items.get(n).map(|raw| raw.get().as_bytes());
        let parts = Parts {
            event_type: Some(event.event_type.to_string()),
            id: to_hex(&event.identity()),
            body: item.map_or_else(|| body.clone(), |item| within(body, item)),
            content_type: match item {
                Some(_) => Some("application/cloudevents+json".into()),
                None => content_type(view),
            },
        };
        events.push(of_call.incoming(item, parts));
    }
    number(&mut events);
    Ok(events)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;
    use crate::domain::inbound::call::Call;
    use crate::domain::inbound::{SourceId, read};
    use crate::domain::json::Json;

    /// How often something of a call with so many elements is read.
    fn reads(source: &Source, count: usize) -> usize {
        let items = vec![r#"{"id": 1, "kind": "k"}"#; count].join(",");
        let body = Bytes::from(format!(r#"{{"entry": [{items}]}}"#));
        let mut headers = HeaderMap::new();
        headers.insert("x-own", HeaderValue::from_static("h"));
        let call = Call {
            method: &Method::POST,
            query: "a=b",
            headers: &headers,
            body: &body,
            url: None,
        };
        let view = View::new(call, None);
        let found = events(source, &view, None, Timestamp::from_millis(0)).unwrap();
        assert_eq!(found.len(), count);
        let last = found.last().unwrap();
        assert_eq!(last.event_type.as_str(), "x.k.h.b");
        assert_eq!(last.headers.len(), 1);
        view.reads.get()
    }

    #[test]
    fn what_is_not_of_an_element_is_read_once_for_all_of_them() {
        let given = r#"{"verify": {"signature": "header:x-mac", "id": "header:x-id",
            "type": ["body:/none", "header:x-own"],
            "split_id": ["body:/no + item:/id", "header:x-no + item:/id", "query:a + item:/id"],
            "split_type": "item:/kind + header:x-own + query:a"},
            "secrets": ["s"], "split": "/entry", "forward_headers": ["x-own"],
            "type": "{% if headers['x-own'] and query.a %}x.{{ type }}{% endif %}"}"#;
        let Ok(Json::Object(given)) = Json::parse(given.as_bytes()) else {
            panic!("it is an object");
        };
        let source = read(SourceId::new("s").unwrap(), &given).unwrap();
        let once = reads(&source, 1);
        assert!(once > 0);
        assert_eq!(reads(&source, 100), once);
    }
}
