//! An event whose attributes come one after another, in whatever mode.

use super::attribute::{
    AttributeName, BadAttribute, MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_IDENTITY_BYTES,
    MAX_NAME_BYTES, MAX_TEXT_BYTES, Value, check_source, check_text, check_time, check_uri,
};
use super::event::{CloudEvent, Data, SPECVERSION};
use super::fault::{Problem, shown};
use super::media;

#[derive(Default)]
pub(super) struct Draft {
    has_version: bool,
    id: Option<Box<str>>,
    source: Option<Box<str>>,
    event_type: Option<Box<str>>,
    subject: Option<Box<str>>,
    time: Option<Box<str>>,
    datacontenttype: Option<Box<str>>,
    dataschema: Option<Box<str>>,
    extensions: Vec<(AttributeName, Value)>,
    extension_bytes: usize,
}

impl Draft {
    /// Takes an attribute, checked. The caller sees to it that no name comes twice.
    pub(super) fn set(&mut self, name: &str, value: Value) -> Result<(), Problem> {
        match name {
            "specversion" => {
                let version = string(value)?;
                if &*version != SPECVERSION {
                    return Err(BadAttribute::Version(shown(&version).into_owned()).into());
                }
                self.has_version = true;
            }
            "id" => self.id = Some(text(value, MAX_IDENTITY_BYTES)?),
            "source" => {
                let source = string(value)?;
                check_source(&source)?;
                self.source = Some(source);
            }
            "type" => self.event_type = Some(text(value, MAX_NAME_BYTES)?),
            "subject" => self.subject = Some(text(value, MAX_TEXT_BYTES)?),
            "time" => {
                let time = text(value, MAX_NAME_BYTES)?;
                check_time(&time)?;
                self.time = Some(time);
            }
            "datacontenttype" => {
                let content_type = text(value, MAX_NAME_BYTES)?;
                if !media::is_media_type(&content_type) {
                    return Err(BadAttribute::MediaType.into());
                }
                self.datacontenttype = Some(content_type);
            }
            "dataschema" => {
                let schema = text(value, MAX_TEXT_BYTES)?;
                check_uri(&schema)?;
                self.dataschema = Some(schema);
            }
            _ => self.extend(name, value)?,
        }
        Ok(())
    }

    fn extend(&mut self, name: &str, value: Value) -> Result<(), Problem> {
        let name = AttributeName::new(name).ok_or(Problem::Name)?;
        if self.extensions.len() >= MAX_EXTENSIONS {
            return Err(Problem::TooManyExtensions);
        }
        if let Value::String(text) = &value {
            self.extension_bytes = self.extension_bytes.saturating_add(text.len());
            if self.extension_bytes > MAX_EXTENSION_BYTES {
                return Err(Problem::ExtensionsTooLong);
            }
            check_text(text, MAX_EXTENSION_BYTES)?;
        }
        self.extensions.push((name, value));
        Ok(())
    }

    /// The event without its data, or the attribute at fault.
    pub(super) fn finish(self) -> Result<CloudEvent, (&'static str, Problem)> {
        let missing = |name| move || (name, Problem::Missing);
        if !self.has_version {
            return Err(missing("specversion")());
        }
        let event = CloudEvent {
            id: self.id.ok_or_else(missing("id"))?,
            source: self.source.ok_or_else(missing("source"))?,
            event_type: self.event_type.ok_or_else(missing("type"))?,
            subject: self.subject,
            time: self.time,
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            extensions: self.extensions,
            data: Data::None,
        };
        if event.source.len().saturating_add(event.id.len()) > MAX_IDENTITY_BYTES {
            return Err(("id", Problem::IdentityTooLong));
        }
        Ok(event)
    }
}

/// Attributes that the specification defines; all are strings.
pub(super) const DEFINED: [&str; 8] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
];
/// Those of them that it requires.
pub(super) const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

fn string(value: Value) -> Result<Box<str>, BadAttribute> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(BadAttribute::NotString {
            found: other.kind(),
        }),
    }
}

fn text(value: Value, limit: usize) -> Result<Box<str>, BadAttribute> {
    let text = string(value)?;
    if text.is_empty() {
        return Err(BadAttribute::Empty);
    }
    check_text(&text, limit)?;
    Ok(text)
}
