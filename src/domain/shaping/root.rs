//! An event as filters see it.

use indexmap::IndexMap;

use crate::domain::content::{Content, is_read_as_json};
use crate::domain::event::{EventId, NewEvent, Payload, Tenant};
use crate::domain::event::{EventType, Key};
use crate::domain::extras::Extras;
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// The document that filters judge: `id`, `type`, `tenant`, `key`, `time`, `channels`, `source`,
/// `headers`, `data`. What an event does not have is absent, and so is `data` of a body that is not
/// JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Root(Json);

/// What of an event stands in it besides `id`, `time` and `data`.
struct Parts<'a> {
    tenant: &'a Tenant,
    event_type: &'a EventType,
    key: Option<&'a Key>,
    extras: Option<&'a Extras>,
}

impl Root {
    /// That of an event that was not accepted yet: without `id` and `time`, which follow by
    /// [`accepted`](Self::accepted). `data` is read only if somebody looks at it.
    pub fn of_new(event: &NewEvent, with_data: bool) -> Root {
        let parts = Parts {
            tenant: &event.tenant,
            event_type: &event.event_type,
            key: event.key.as_ref(),
            extras: event.extras.as_deref(),
        };
        let data = match &event.payload {
            Payload::Json(data) => Some(data),
            Payload::Opaque { content_type, body } => {
                is_read_as_json(content_type, parts.extras).then_some(body)
            }
        };
        let data = data.filter(|_| with_data);
        let data = data.and_then(|data| Json::parse(data).ok());
        Root(Json::Object(parts.fields(data)))
    }

    /// That of a stored event.
    pub fn of(id: EventId, content: &Content) -> Root {
        let parts = Parts {
            tenant: &content.tenant,
            event_type: &content.event_type,
            key: content.key.as_ref(),
            extras: content.extras.as_deref(),
        };
        let data = content.document().and_then(|data| Json::parse(&data).ok());
        Root(Json::Object(parts.fields(data))).accepted(id, content.accepted_at)
    }

    /// Adds what an event has once it is accepted.
    pub fn accepted(self, id: EventId, at: Timestamp) -> Root {
        let Json::Object(mut fields) = self.0 else {
            return self;
        };
        fields.insert("id".into(), text(&id.to_string()));
        fields.insert("time".into(), text(&at.to_string()));
        Root(Json::Object(fields))
    }

    pub fn json(&self) -> &Json {
        &self.0
    }
}

impl Parts<'_> {
    fn fields(&self, data: Option<Json>) -> IndexMap<Box<str>, Json> {
        let mut fields = IndexMap::with_capacity(9);
        let mut put = |name: &str, value: Json| {
            fields.insert(name.into(), value);
        };
        put("type", text(self.event_type.as_str()));
        put("tenant", text(self.tenant.as_str()));
        if let Some(key) = self.key {
            put("key", text(key.as_str()));
        }
        let (mut channels, mut headers) = (Vec::new(), IndexMap::new());
        if let Some(extras) = self.extras {
            channels.extend(extras.channels.iter().map(|one| text(one.as_str())));
            for (name, value) in &extras.headers {
                let value = String::from_utf8_lossy(value.as_bytes());
                headers.insert(name.as_str().into(), text(&value));
            }
            if let Some(source) = &extras.source {
                put("source", text(source));
            }
        }
        put("channels", Json::Array(channels));
        put("headers", Json::Object(headers));
        if let Some(data) = data {
            put("data", data);
        }
        fields
    }
}

fn text(text: &str) -> Json {
    Json::String(text.into())
}
