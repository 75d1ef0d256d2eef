//! The CloudEvent that an accepted event goes out as.

use super::attribute::{AttributeName, MAX_TEXT_BYTES, Value, check_text};
use super::event::{CloudEvent, Data};
use crate::domain::time::Timestamp;

/// What of an accepted event a CloudEvent shows.
#[derive(Clone, Debug)]
pub struct Accepted<'a> {
    /// As it is written: `evt_…`.
    pub id: &'a str,
    pub tenant: &'a str,
    pub event_type: &'a str,
    /// The ordering key.
    pub key: Option<&'a str>,
    pub accepted_at: Timestamp,
    /// Of an opaque body; `None` for JSON.
    pub content_type: Option<&'a str>,
    pub data: Data,
}

/// Makes the CloudEvent of an event. `came_in` is the one that it was posted as, if it was:
/// then its own attributes go out with the event's data. `source` is the configured one, checked by
/// [`check_source`](super::check_source); else it is `/outboxd/TENANT`.
///
/// The key is `subject` and the extension `partitionkey`, unless it contains characters that no
/// attribute may hold: then neither is set.
pub fn outgoing(
    event: Accepted<'_>,
    came_in: Option<&CloudEvent>,
    source: Option<&str>,
) -> CloudEvent {
    let data = event.data;
    if let Some(came_in) = came_in {
        return CloudEvent {
            data,
            ..came_in.clone()
        };
    }
    let key = event
        .key
        .filter(|key| !key.is_empty() && check_text(key, MAX_TEXT_BYTES).is_ok());
    let partition = AttributeName::new("partitionkey").zip(key);
    CloudEvent {
        id: event.id.into(),
        source: match source {
            Some(source) => source.into(),
            None => format!("/outboxd/{}", event.tenant).into(),
        },
        event_type: event.event_type.into(),
        subject: key.map(Into::into),
        time: Some(event.accepted_at.to_string().into()),
        datacontenttype: match (event.content_type, &data) {
            (Some(content_type), _) => Some(content_type.into()),
            (None, Data::Json(_)) => Some("application/json".into()),
            (None, _) => None,
        },
        dataschema: None,
        extensions: partition
            .map(|(name, key)| (name, Value::String(key.into())))
            .into_iter()
            .collect(),
        data,
    }
}
