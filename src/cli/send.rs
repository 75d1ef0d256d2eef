//! `outboxd send`: posts one event.

use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::answers::Accepted;
use super::client::{Configured, Reach};
use super::filter::QueryString;
use super::paint::{BOLD, GOOD, Paint, WARN, plain};
use super::selection::counted;
use super::when;
use super::{Failure, print};
use crate::clock;
use crate::config::plain_text;
use crate::domain::event::EventType;
use crate::domain::time::Timestamp;

/// The most that is read from a file or stdin, in bytes.
const MAX_DATA: u64 = 256 * 1024 * 1024;
const JSON: &str = "application/json";

/// Post one event
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The event's type, such as order.created
    #[arg(value_name = "TYPE")]
    pub event_type: String,
    /// A JSON value; `-` reads stdin, `@FILE` a file [default: {}]
    #[arg(allow_hyphen_values = true)]
    pub data: Option<String>,
    /// The tenant [default: default]
    #[arg(long)]
    pub tenant: Option<String>,
    /// The ordering key
    #[arg(long)]
    pub key: Option<String>,
    /// Post the same event again under this key without storing it twice
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// First attempts then: a span from now such as 10m, or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    pub deliver_at: Option<String>,
    /// What DATA is if it is not JSON; it is then delivered as it is
    #[arg(long, value_name = "MEDIA-TYPE")]
    pub content_type: Option<String>,
    /// Print the response as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

/// An event object as the API takes it.
#[derive(Serialize)]
struct EventObject<'a> {
    r#type: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Timestamp>,
}

/// What is sent.
#[derive(Debug)]
struct Handed {
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let data = match args.data.as_deref() {
        None => None,
        Some("-") => Some(read_all(io::stdin().lock(), Path::new("stdin"))?),
        Some(text) => match text.strip_prefix('@') {
            Some(file) => Some(read_file(Path::new(file))?),
            None => Some(Bytes::copy_from_slice(text.as_bytes())),
        },
    };
    let handed = handed(&args, data, clock::now())?;
    let client = args.reach.client(configured)?;
    let answer = client
        .post(&handed.path, handed.headers, handed.body)
        .await?;
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    let accepted: Accepted = client.read(&answer)?;
    print(&shown(&accepted, Paint::for_stdout()))
}

fn read_file(path: &Path) -> Result<Bytes, Failure> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    read_all(file, path)
}

fn read_all(from: impl Read, path: &Path) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    let mut limited = from.take(MAX_DATA.saturating_add(1));
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_DATA {
        return Err(unreadable(path, &io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes.into())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot read {}: {error}", path.display()))
}

fn handed(args: &Args, data: Option<Bytes>, now: Timestamp) -> Result<Handed, Failure> {
    let name = EventType::new(&args.event_type).map_err(|e| Failure::Usage(e.to_string()))?;
    let deliver_at = match &args.deliver_at {
        None => None,
        Some(text) => Some(
            when::parse_future(text, now)
                .map_err(|why| Failure::Usage(format!("--deliver-at {text:?} is {why}")))?,
        ),
    };
    match args.content_type.as_deref() {
        Some(other) if !other.eq_ignore_ascii_case(JSON) => {
            let data = data.ok_or_else(|| {
                Failure::Usage("--content-type needs DATA: a text, `-` or `@FILE`".into())
            })?;
            opaque(args, &name, other, data, deliver_at)
        }
        _ => json(args, &name, data, deliver_at),
    }
}

fn json(
    args: &Args,
    name: &EventType,
    data: Option<Bytes>,
    deliver_at: Option<Timestamp>,
) -> Result<Handed, Failure> {
    let data = data.unwrap_or_else(|| Bytes::from_static(b"{}"));
    let data = plain_text(data.into())
        .map_err(|what| Failure::Usage(format!("DATA {what}: save it as UTF-8")))?;
    let data: &RawValue = serde_json::from_str(&data).map_err(|error| {
        Failure::Usage(format!(
            "DATA is not JSON: {error}\n\
             a text is written with its quotes ('\"like this\"'); \
             what is not JSON goes with --content-type"
        ))
    })?;
    let object = EventObject {
        r#type: name.as_str(),
        data,
        tenant: args.tenant.as_deref(),
        key: args.key.as_deref(),
        idempotency_key: args.idempotency_key.as_deref(),
        deliver_at,
    };
    let body = serde_json::to_vec(&object)
        .map_err(|error| Failure::Usage(format!("the event cannot be written: {error}")))?;
    Ok(Handed {
        path: "/v1/events".into(),
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(JSON))]),
        body: body.into(),
    })
}

fn opaque(
    args: &Args,
    name: &EventType,
    content_type: &str,
    body: Bytes,
    deliver_at: Option<Timestamp>,
) -> Result<Handed, Failure> {
    let content_type = HeaderValue::from_str(content_type)
        .map_err(|_| Failure::Usage("--content-type is not a media type".into()))?;
    let mut query = QueryString::default();
    query.add("tenant", args.tenant.as_deref());
    query.add("key", args.key.as_deref());
    query.add("idempotency_key", args.idempotency_key.as_deref());
    let deliver_at = deliver_at.map(|at| at.to_string());
    query.add("deliver_at", deliver_at.as_deref());
    Ok(Handed {
        path: format!("/v1/events/{name}{}", query.as_str()),
        headers: HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]),
        body,
    })
}

fn shown(accepted: &Accepted, paint: Paint) -> String {
    let goes = match accepted.deliveries {
        0 => paint.paint(WARN, "no endpoint wants it"),
        n => counted(n),
    };
    let again = if accepted.duplicate {
        ", accepted before: nothing new stored"
    } else {
        ""
    };
    format!(
        "{}  {}  {}: {goes}{again}\n",
        paint.paint(BOLD, &plain(&accepted.id)),
        plain(&accepted.r#type),
        paint.paint(GOOD, "accepted"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn made(line: &[&str]) -> Result<Handed, Failure> {
        let args = Line::parse_from([&["send"], line].concat()).args;
        let data = args.data.clone().map(Bytes::from);
        handed(&args, data, Timestamp::from_millis(0))
    }

    #[test]
    fn json_goes_in_byte_for_byte() {
        let line = [
            "a.b",
            " {\"x\" : 1.0} ",
            "--key",
            "k\"",
            "--deliver-at",
            "1m",
        ];
        let handed = made(&line).unwrap();
        assert_eq!(handed.path, "/v1/events");
        assert_eq!(
            handed.body,
            r#"{"type":"a.b","data":{"x" : 1.0},"key":"k\"","deliver_at":"1970-01-01T00:01:00.000Z"}"#
        );
        assert_eq!(made(&["a"]).unwrap().body, r#"{"type":"a","data":{}}"#);
        assert_eq!(
            made(&["a", "-5"]).unwrap().body,
            r#"{"type":"a","data":-5}"#
        );
    }

    #[test]
    fn other_content_goes_in_as_it_is() {
        let line = ["a", "<x/>", "--content-type", "text/xml", "--key", "k 1&2"];
        let handed = made(&line).unwrap();
        assert_eq!(handed.path, "/v1/events/a?key=k+1%262");
        assert_eq!(handed.headers["content-type"], "text/xml");
        assert_eq!(handed.body, "<x/>");
    }

    #[test]
    fn mistakes_are_usage_errors() {
        let lines: [&[&str]; 5] = [
            &["a b"],
            &["a", "{"],
            &["a", "--content-type", "text/xml"],
            &["a", "x", "--content-type", "text\n"],
            &["a", "--deliver-at", "soon"],
        ];
        for line in lines {
            assert!(matches!(made(line), Err(Failure::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn the_answer_is_a_line() {
        let accepted = Accepted {
            id: "evt_1".into(),
            r#type: "a".into(),
            deliveries: 2,
            duplicate: true,
        };
        assert_eq!(
            shown(&accepted, Paint { colour: false }),
            "evt_1  a  accepted: 2 deliveries, accepted before: nothing new stored\n"
        );
    }
}
