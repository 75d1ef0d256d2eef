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
        let facts = Facts::new(endpoint, shaping, id, content);
        let limits = Limits {
            steps: Limits::STEPS,
            output: longest,
        };
        if let Some(template) = &shaping.template {
            rendered.body = body(&facts, shaping, template, limits)?;
        }
        let names = facts.names(None);
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
    facts: &Facts<'_>,
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
            Some(message(facts, text, preset, limits).map_err(at("text"))?)
        }
        _ => None,
    };
    let names = facts.names(message);
    let rendered = template.render(&names, limits);
    let rendered = rendered.map_err(Fault::from).map_err(at("template"))?;
    if is_json(shaping.content_type.as_ref()) {
        check_json(&rendered).map_err(|bad| at("template")(Fault::NotJson(bad)))?;
    }
    Ok(rendered.into())
}

/// The message of a preset, within what its service takes.
fn message(
    facts: &Facts<'_>,
    text: &Template,
    preset: &Preset,
    limits: Limits,
) -> Result<String, Fault> {
    let mut message = text.render(&facts.names(None), limits)?;
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

/// What templates can name, read once for all templates of a request.
struct Facts<'a> {
    endpoint: &'a Endpoint,
    shaping: &'a Shaping,
    id: String,
    content: &'a Content,
    data: Option<Arc<Json>>,
}

impl<'a> Facts<'a> {
    fn new(
        endpoint: &'a Endpoint,
        shaping: &'a Shaping,
        id: EventId,
        content: &'a Content,
    ) -> Self {
        let data = content.document();
        Facts {
            endpoint,
            shaping,
            id: id.to_string(),
            content,
            data: data.and_then(|data| Json::parse(&data).ok()).map(Arc::new),
        }
    }

    /// `text` is the message of a preset.
    fn names(&self, text: Option<String>) -> Names {
        let content = self.content;
        let extras = content.extras.as_deref();
        let channels = extras.map_or(&[][..], |extras| &extras.channels);
        let channels: Vec<&str> = channels.iter().map(|one| one.as_str()).collect();
        let event = EventFields {
            id: &self.id,
            r#type: content.event_type.as_str(),
            tenant: content.tenant.as_str(),
            key: content.key.as_ref().map(|key| key.as_str()),
            timestamp: &content.accepted_at.to_string(),
            channels: &channels,
            source: extras.and_then(|extras| extras.source.as_deref()),
        };
        let endpoint = self.endpoint;
        let params = self.params();
        let params: Vec<(&str, &str)> = params
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let names = Names::of_event(event, self.data.clone()).with_endpoint(
            endpoint.id.as_str(),
            endpoint.tenant.as_str(),
            Some(&endpoint.description),
            &params,
        );
        match text {
            Some(text) => names.with_text("text", &text),
            None => names,
        }
    }

    fn params(&self) -> Vec<(String, String)> {
        let wanted = self.shaping.preset.map_or(&[][..], |preset| &preset.params);
        let given = self.endpoint.url.query_pairs();
        let named = given.filter(|(name, _)| wanted.iter().any(|one| one == name));
        named
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }
}
