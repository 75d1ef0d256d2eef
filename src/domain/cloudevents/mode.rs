//! Which mode a request uses.

use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};

use super::fault::shown;
use super::media;

/// How the content types of events in an event format begin.
const FAMILY: &str = "application/cloudevents";
const SPECVERSION: HeaderName = HeaderName::from_static("ce-specversion");

/// How a request carries CloudEvents (HTTP protocol binding, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Structured,
    Batch,
    Binary,
}

/// The event format of a request is none that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the event format `{found}` is not understood; send application/cloudevents+json, \
     application/cloudevents-batch+json or the binary mode"
)]
pub struct UnknownFormat {
    /// The media type, shortened.
    pub found: String,
}

impl Mode {
    /// The mode of a request; `None` if it carries no CloudEvent. Parameters of the content type
    /// are not judged.
    ///
    /// # Errors
    /// It is a CloudEvent in a format such as Avro or XML.
    pub fn of(headers: &HeaderMap) -> Result<Option<Mode>, UnknownFormat> {
        let content_type = headers
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()));
        let essence = content_type.as_deref().map_or("", media::essence);
        let begins = essence.get(..FAMILY.len());
        if !begins.is_some_and(|begins| begins.eq_ignore_ascii_case(FAMILY)) {
            return Ok(headers.contains_key(&SPECVERSION).then_some(Mode::Binary));
        }
        match essence.to_ascii_lowercase().as_str() {
            "application/cloudevents+json" => Ok(Some(Mode::Structured)),
            "application/cloudevents-batch+json" => Ok(Some(Mode::Batch)),
            other => Err(UnknownFormat {
                found: shown(other).into_owned(),
            }),
        }
    }
}
