//! The definitions of endpoints and sources, secrets included. They stand in the bodies of their
//! records, so that they can be overwritten once they are replaced; the heads say whose they are.
//!
//! Before that they stood in the heads. Such records are only read: they cannot be overwritten, and
//! go with their segment.

use bincode::BorrowDecode;

use super::endpoint::{EndpointSpecRow, KeyBytes, RetryRow, SpecRow};
use super::source::SourceRow;
use super::spelling::{BadRecord, take};

pub const ENDPOINT_DEFINED: u8 = 25;
pub const SOURCE_DEFINED: u8 = 26;
/// The definition of an endpoint in the head, without a shaping. Read only.
const ENDPOINT_SPEC: u8 = 10;
/// The same with one. Read only.
const ENDPOINT_SPEC_SHAPED: u8 = 20;
/// The definition of a source in the head. Read only.
const SOURCE: u8 = 21;

/// Whose definition a record has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defined {
    /// By its number.
    Endpoint(u32),
    /// By its id.
    Source(String),
}

impl Defined {
    /// Of a record whose body is a definition; `None` for all others.
    pub fn by(kind: u8, head: &[u8]) -> Option<Defined> {
        match kind {
            ENDPOINT_DEFINED => {
                let (no, _): (u32, u64) = take(kind, head).ok()?;
                Some(Defined::Endpoint(no))
            }
            SOURCE_DEFINED => {
                let (id, _): (&str, u64) = take(kind, head).ok()?;
                Some(Defined::Source(id.to_owned()))
            }
            _ => None,
        }
    }
}

/// Whether a record of this kind has the definition of an endpoint, whichever part it stands in.
pub fn is_of_endpoint(kind: u8) -> bool {
    matches!(
        kind,
        ENDPOINT_DEFINED | ENDPOINT_SPEC | ENDPOINT_SPEC_SHAPED
    )
}

/// The same of a source.
pub fn is_of_source(kind: u8) -> bool {
    matches!(kind, SOURCE_DEFINED | SOURCE)
}

/// Reads the definition of an endpoint. `None`: its body is gone, and the definition with it.
pub fn endpoint(
    kind: u8,
    head: &[u8],
    body: Option<&[u8]>,
) -> Result<Option<EndpointSpecRow>, BadRecord> {
    match kind {
        ENDPOINT_SPEC => return plain(kind, head).map(Some),
        ENDPOINT_SPEC_SHAPED => return take(kind, head).map(Some),
        _ => {}
    }
    let (no, changed_at) = take(kind, head)?;
    let spec = body.map(|body| take(kind, body)).transpose()?;
    Ok(spec.map(|spec| EndpointSpecRow {
        no,
        changed_at,
        spec,
    }))
}

/// Reads the definition of a source. `None`: its body is gone, and the definition with it.
pub fn source<'a>(
    kind: u8,
    head: &'a [u8],
    body: Option<&[u8]>,
) -> Result<Option<SourceRow<'a>>, BadRecord> {
    if kind == SOURCE {
        return take(kind, head).map(Some);
    }
    let (id, changed_at) = take(kind, head)?;
    Ok(body.map(|body| SourceRow {
        id,
        changed_at,
        definition: KeyBytes(body.to_vec()),
    }))
}

/// [`SpecRow`] as [`ENDPOINT_SPEC`] has it, without the last field.
#[derive(BorrowDecode)]
struct PlainSpecRow {
    url: String,
    types: Vec<String>,
    secrets: Vec<(KeyBytes, Option<u64>)>,
    headers: Vec<(String, KeyBytes)>,
    max_in_flight: u32,
    rate_limit: Option<u64>,
    ordering: u8,
    timeout_ms: Option<u64>,
    retry: RetryRow,
    description: String,
    http2: Option<bool>,
}

fn plain(kind: u8, head: &[u8]) -> Result<EndpointSpecRow, BadRecord> {
    let (no, changed_at, plain): (_, _, PlainSpecRow) = take(kind, head)?;
    Ok(EndpointSpecRow {
        no,
        changed_at,
        spec: SpecRow {
            url: plain.url,
            types: plain.types,
            secrets: plain.secrets,
            headers: plain.headers,
            max_in_flight: plain.max_in_flight,
            rate_limit: plain.rate_limit,
            ordering: plain.ordering,
            timeout_ms: plain.timeout_ms,
            retry: plain.retry,
            description: plain.description,
            http2: plain.http2,
            shaping: KeyBytes(Vec::new()),
        },
    })
}
