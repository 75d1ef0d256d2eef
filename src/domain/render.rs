//! The request that an endpoint's definition makes of an event, without what changes from attempt to
//! attempt: signatures and tokens.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};

use crate::domain::cloudevents::{self, Accepted, CloudEvent, Data};
use crate::domain::content::Content;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::EventId;
use crate::domain::json::{BadJson, Json};
use crate::domain::shaping::{Format, Preset, Shaping, cut, is_json};
use crate::domain::template::{EventFields, Limits, Names, RenderFault, Template, check_json};

/// The longest rendered value of a header, in bytes.
const LONGEST_HEADER: usize = 8 * 1024;

/// A request, but for its target and signatures.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// `None`: the event's own.
    pub content_type: Option<HeaderValue>,
    /// Rendered ones, and those of a CloudEvent in binary mode. They replace static ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// Why an event cannot be rendered by a definition. Never holds anything of the event's data.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{part}`: {fault}")]
pub struct Unrendered {
    /// The key at fault: `template`, `text`, `headers.x-team` or `format`.
    pub part: String,
    pub fault: Fault,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Template(#[from] RenderFault),
    #[error("the rendered body is not JSON: {0}; the `content_type` says that it is")]
    NotJson(BadJson),
    #[error(
        "the rendered value holds a character that no header may hold, or is longer than {LONGEST_HEADER} bytes"
    )]
    Header,
    #[error("{0}")]
    CloudEvent(#[from] cloudevents::Unsendable),
}

/// Makes the request of an event. `longest` bounds a rendered body, in bytes.
///
/// # Errors
/// The part of the definition that cannot be rendered for this event. The same every time.
pub fn render(
    endpoint: &Endpoint,
    shaping: &Shaping,
    id: EventId,
    content: &Content,
    longest: usize,
) -> Result<Rendered, Unrendered> {
    let mut rendered = match shaping.format {
        Format::Standard => plain(content.body.clone()),
        Format::Bare => plain(content.data().unwrap_or_else(|| content.body.clone())),
        Format::CloudEvents => structured(&cloudevent(shaping, id, content)),
        Format::CloudEventsBinary => binary(&cloudevent(shaping, id, content))?,
        Format::Template => Rendered {
            content_type: Some(match &shaping.content_type {
                Some(own) => own.clone(),
                None => HeaderValue::from_static("application/json"),
            }),
            ..plain(Bytes::new())
        },
    };
    if shaping.has_templates() {
        let names = names(endpoint, shaping, id, content);
        let limits = Limits {
            steps: Limits::STEPS,
            output: longest,
        };
        if let Some(template) = &shaping.template {
            rendered.body = body(&names, shaping, template, limits)?;
        }
        for (name, template) in &shaping.header_templates {
            let value = header(template, &names).map_err(|fault| Unrendered {
                part: format!("headers.{name}"),
                fault,
            })?;
            rendered.headers.push((name.clone(), value));
        }
    }
    Ok(rendered)
}

fn plain(body: Bytes) -> Rendered {
    Rendered {
        content_type: None,
        headers: Vec::new(),
        body,
    }
}

fn cloudevent(shaping: &Shaping, id: EventId, content: &Content) -> CloudEvent {
    let data = content.data();
    let event = Accepted {
        id: &id.to_string(),
        tenant: content.tenant.as_str(),
        event_type: content.event_type.as_str(),
        key: content.key.as_ref().map(|key| key.as_str()),
        accepted_at: content.accepted_at,
        content_type: content.opaque.then_some(&*content.content_type),
        data: match data {
            Some(data) => Data::Json(data),
            None => Data::of(Some(&content.content_type), content.body.clone()),
        },
    };
    let extras = content.extras.as_deref();
    let came_in = extras.and_then(|extras| extras.cloudevent.as_ref());
    cloudevents::outgoing(event, came_in, shaping.cloudevents_source.as_deref())
}

fn structured(event: &CloudEvent) -> Rendered {
    Rendered {
        content_type: Some(HeaderValue::from_static(cloudevents::STRUCTURED)),
        headers: Vec::new(),
        body: cloudevents::structured(event).into(),
    }
}

fn binary(event: &CloudEvent) -> Result<Rendered, Unrendered> {
    let binary = cloudevents::binary(event).map_err(|fault| Unrendered {
        part: "format".to_owned(),
        fault: fault.into(),
    })?;
    Ok(Rendered {
        content_type: binary.content_type,
        headers: binary.headers,
        body: binary.body,
    })
}

fn body(
    names: &Names,
    shaping: &Shaping,
    template: &Template,
    limits: Limits,
) -> Result<Bytes, Unrendered> {
    let at = |part: &'static str| {
        move |fault: Fault| Unrendered {
            part: part.to_owned(),
            fault,
        }
    };
    let message = match (&shaping.text, shaping.preset) {
        (Some(text), Some(preset)) => {
            Some(message(names, text, preset, limits).map_err(at("text"))?)
        }
        _ => None,
    };
    let rendered = match message {
        Some(message) => template.render(&names.clone().with_text("text", &message), limits),
        None => template.render(names, limits),
    };
    let rendered = rendered.map_err(Fault::from).map_err(at("template"))?;
    if is_json(shaping.content_type.as_ref()) {
        check_json(&rendered).map_err(|bad| at("template")(Fault::NotJson(bad)))?;
    }
    Ok(rendered.into())
}

/// The message of a preset, within what its service takes.
fn message(
    names: &Names,
    text: &Template,
    preset: &Preset,
    limits: Limits,
) -> Result<String, Fault> {
    let mut message = text.render(names, limits)?;
    let (chars, bytes) = (preset.longest_text, preset.longest_bytes);
    cut(&mut message, chars, bytes, preset.escape);
    Ok(message)
}

fn header(template: &Template, names: &Names) -> Result<HeaderValue, Fault> {
    let limits = Limits {
        steps: Limits::STEPS,
        output: LONGEST_HEADER,
    };
    let text = template.render(names, limits)?;
    let text = text.trim();
    let is_visible = text.chars().all(|c| !c.is_control());
    let value = HeaderValue::from_bytes(text.as_bytes()).ok();
    let mut value = value.filter(|_| is_visible).ok_or(Fault::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What all templates of a request can name.
fn names(endpoint: &Endpoint, shaping: &Shaping, id: EventId, content: &Content) -> Names {
    let data = content.document();
    let data = data.and_then(|data| Json::parse(&data).ok());
    let extras = content.extras.as_deref();
    let channels = extras.map_or(&[][..], |extras| &extras.channels);
    let channels: Vec<&str> = channels.iter().map(|one| one.as_str()).collect();
    let event = EventFields {
        id: &id.to_string(),
        r#type: content.event_type.as_str(),
        tenant: content.tenant.as_str(),
        key: content.key.as_ref().map(|key| key.as_str()),
        timestamp: &content.accepted_at.to_string(),
        channels: &channels,
        source: extras.and_then(|extras| extras.source.as_deref()),
    };
    let wanted = shaping.preset.map_or(&[][..], |preset| &preset.params);
    let given = endpoint.url.query_pairs();
    let params: Vec<_> = given
        .filter(|(name, _)| wanted.iter().any(|one| one == name))
        .collect();
    let params: Vec<(&str, &str)> = params
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    Names::of_event(event, data.map(Arc::new)).with_endpoint(
        endpoint.id.as_str(),
        endpoint.tenant.as_str(),
        Some(&endpoint.description),
        &params,
    )
}
