//! The request that an endpoint's definition makes of an event, without what changes from attempt to
//! attempt: signatures and tokens.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::domain::cloudevents::{self, Accepted, CloudEvent, Data, Mode};
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
    if let Some(event) = received(content) {
        return event;
    }
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

/// The CloudEvent that a source took in, if it is one: its body is kept as it came, and so are its
/// headers in the binary mode.
fn received(content: &Content) -> Option<CloudEvent> {
    let extras = content.extras.as_deref()?;
    extras.source.as_ref()?;
    let mut headers: HeaderMap = extras.headers.iter().cloned().collect();
    let content_type = HeaderValue::from_str(&content.content_type).ok()?;
    headers.insert(CONTENT_TYPE, content_type);
    match Mode::of(&headers).ok()?? {
        Mode::Structured => cloudevents::parse_structured(&content.body).ok(),
        Mode::Binary => cloudevents::parse_binary(&headers, &content.body).ok(),
        // The elements of one come as events in the structured mode.
        Mode::Batch => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{EventType, Tenant};
    use crate::domain::extras::Extras;
    use crate::domain::time::Timestamp;

    fn content(content_type: &str, body: &str, headers: &[(&str, &str)], source: bool) -> Content {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        Content {
            tenant: Tenant::default(),
            event_type: EventType::new("cloudevents.a").unwrap(),
            key: None,
            accepted_at: Timestamp::from_millis(0),
            content_type: content_type.into(),
            opaque: true,
            body: Bytes::copy_from_slice(body.as_bytes()),
            data_at: 0,
            extras: Some(Arc::new(Extras {
                headers: headers.collect(),
                source: source.then(|| "s".to_owned()),
                ..Extras::default()
            })),
        }
    }

    #[test]
    fn a_cloudevent_that_a_source_took_in_goes_out_as_itself() {
        let structured =
            r#"{"specversion":"1.0","id":"7","source":"/a","type":"t","data":{"n":1.50}}"#;
        let json = "application/cloudevents+json; charset=utf-8";
        let event = received(&content(json, structured, &[], true)).unwrap();
        assert_eq!(
            (&*event.id, &*event.source, &*event.event_type),
            ("7", "/a", "t")
        );
        assert_eq!(event.data.bytes(), r#"{"n":1.50}"#);
        let headers = [
            ("ce-specversion", "1.0"),
            ("ce-id", "8"),
            ("ce-source", "/b"),
            ("ce-type", "u"),
        ];
        let event = received(&content("text/plain", "hello", &headers, true)).unwrap();
        assert_eq!((&*event.id, &*event.source), ("8", "/b"));
        assert_eq!(event.data.bytes(), "hello");
        // Opaque events of the API, and other bodies, are no CloudEvents.
        assert_eq!(received(&content(json, structured, &[], false)), None);
        assert_eq!(received(&content("text/plain", "hello", &[], true)), None);
        assert_eq!(received(&content(json, "{}", &[], true)), None);
    }
}
