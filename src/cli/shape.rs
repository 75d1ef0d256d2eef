//! An endpoint's fields that shape its requests, as options.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Failure, read_body, shown};

/// What its requests look like, and how its answers are read; see docs/shaping.md.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What it gets")]
pub struct Shape {
    /// Only events that match this JSON, such as {"data":{"amount":{"$gte":100}}}, or @FILE
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Only events of these channels; may be given again
    #[arg(long = "channel", value_name = "NAME", value_delimiter = ',')]
    channels: Vec<String>,
    /// standard, bare, cloudevents, cloudevents-binary or template
    #[arg(long)]
    format: Option<String>,
    /// The body as a template (Jinja), or @FILE
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
    /// Of the template's body [default: application/json]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// slack, discord, teams, telegram, pagerduty, google_chat, mattermost or ntfy
    #[arg(long)]
    preset: Option<String>,
    /// The message that a preset sends, a template, or @FILE
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// POST, PUT or PATCH
    #[arg(long)]
    method: Option<String>,
    /// What answers mean, as JSON such as {"permanent":["4xx"]}, or @FILE
    #[arg(long, value_name = "JSON")]
    answer: Option<String>,
    /// v1, v1a, svix, github, stripe, shopify, slack, or JSON of an own one; may be given again
    #[arg(long = "signature", value_name = "STYLE")]
    signatures: Vec<String>,
    /// The file with the whsk_ key for v1a, `-` for stdin; else one is made
    #[arg(long, value_name = "FILE")]
    signing_key_file: Option<PathBuf>,
    /// The file with how it authenticates, as JSON such as {"type":"bearer","token":"…"}
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// The file with its client certificate, in PEM
    #[arg(long, value_name = "FILE")]
    client_cert_file: Option<PathBuf>,
    /// The file with the key of its client certificate, in PEM
    #[arg(long, value_name = "FILE")]
    client_key_file: Option<PathBuf>,
    /// The file with further authorities that it trusts, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// true: ask for consent before the first delivery (CloudEvents)
    #[arg(long, value_name = "BOOL")]
    cloudevents_handshake: Option<bool>,
    /// The source of its CloudEvents [default: /outboxd/TENANT]
    #[arg(long, value_name = "URI")]
    cloudevents_source: Option<String>,
}

impl Shape {
    /// Those that were given, as the API takes them.
    pub fn add_to(&self, object: &mut Map<String, Value>) -> Result<(), Failure> {
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        set("filter", checked("--filter", &self.filter)?);
        let channels = &self.channels;
        set("channels", (!channels.is_empty()).then(|| json!(channels)));
        for (name, text) in [
            ("format", &self.format),
            ("content_type", &self.content_type),
            ("preset", &self.preset),
            ("method", &self.method),
            ("cloudevents_source", &self.cloudevents_source),
        ] {
            set(name, text.as_ref().map(|text| json!(text)));
        }
        set("template", written("--template", &self.template)?);
        set("text", written("--text", &self.text)?);
        set("answer", parsed("--answer", &self.answer)?);
        set("signatures", styles(&self.signatures)?);
        for (name, flag, file) in [
            ("signing_key", "--signing-key-file", &self.signing_key_file),
            ("client_cert", "--client-cert-file", &self.client_cert_file),
            ("client_key", "--client-key-file", &self.client_key_file),
            ("ca", "--ca-file", &self.ca_file),
        ] {
            let text = file.as_deref().map(|file| read(flag, file)).transpose()?;
            set(name, text.map(|text| json!(text.trim())));
        }
        if let Some(file) = &self.auth_file {
            let text = read("--auth-file", file)?;
            // What it holds is a secret, and is not repeated.
            let at = || Failure::Usage(format!("--auth-file {}: not JSON", shown(file)));
            set("auth", Some(serde_json::from_str(&text).map_err(|_| at())?));
        }
        let handshake = self.cloudevents_handshake;
        set("cloudevents_handshake", handshake.map(|flag| json!(flag)));
        Ok(())
    }
}

fn read(flag: &str, file: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(read_body(file)?);
    text.map_err(|_| Failure::Usage(format!("{flag} {}: not text", shown(file))))
}

/// The text itself, or what is in the file that it names after `@`.
pub fn text_or_file(flag: &str, text: &str) -> Result<String, Failure> {
    match text.strip_prefix('@') {
        Some(file) => read(flag, Path::new(file)),
        None => Ok(text.to_owned()),
    }
}

fn written(flag: &str, text: &Option<String>) -> Result<Option<Value>, Failure> {
    let text = text.as_deref().map(|text| text_or_file(flag, text));
    Ok(text.transpose()?.map(|text| json!(text)))
}

/// JSON as it was written, checked; of a file after `@`.
pub fn json_of(flag: &str, text: &str) -> Result<String, Failure> {
    let text = text_or_file(flag, text)?;
    let checked: Result<&RawValue, _> = serde_json::from_str(&text);
    match checked {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::Usage(format!("{flag}: not JSON: {error}"))),
    }
}

/// JSON, as a string that the daemon reads: numbers stay as they were written.
fn checked(flag: &str, text: &Option<String>) -> Result<Option<Value>, Failure> {
    let text = text.as_deref().map(|text| json_of(flag, text));
    Ok(text.transpose()?.map(|text| json!(text)))
}

/// JSON, as what it is: it is shown so when the definition is read back.
fn parsed(flag: &str, text: &Option<String>) -> Result<Option<Value>, Failure> {
    let text = text.as_deref().map(|text| json_of(flag, text));
    let bad = |error| Failure::Usage(format!("{flag}: not JSON: {error}"));
    let text = text.transpose()?;
    text.map(|text| serde_json::from_str(&text).map_err(bad))
        .transpose()
}

fn styles(given: &[String]) -> Result<Option<Value>, Failure> {
    let mut styles = Vec::with_capacity(given.len());
    for text in given {
        styles.push(match text.starts_with('{') {
            true => serde_json::from_str(text)
                .map_err(|error| Failure::Usage(format!("--signature: not JSON: {error}")))?,
            false => json!(text),
        });
    }
    Ok((!styles.is_empty()).then_some(Value::Array(styles)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        shape: Shape,
    }

    fn object(line: &[&str]) -> Result<Value, Failure> {
        let words = ["x"].iter().chain(line);
        let mut object = Map::new();
        let line = Line::try_parse_from(words).unwrap();
        line.shape.add_to(&mut object)?;
        Ok(Value::Object(object))
    }

    #[test]
    fn options_are_fields() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t");
        std::fs::write(&file, "{{ data }}").unwrap();
        let template = format!("@{}", file.display());
        #[rustfmt::skip]
        let line = [
            "--filter", r#"{"data":{"n":1.50}}"#, "--channel", "a,b", "--template", &template,
            "--answer", r#"{"permanent":["4xx"]}"#, "--signature", "v1", "--signature",
            r#"{"header":"x-own"}"#, "--method", "PUT", "--cloudevents-handshake", "true",
        ];
        assert_eq!(
            object(&line).unwrap(),
            json!({"filter": r#"{"data":{"n":1.50}}"#, "channels": ["a", "b"],
                "template": "{{ data }}", "answer": {"permanent": ["4xx"]},
                "signatures": ["v1", {"header": "x-own"}], "method": "PUT",
                "cloudevents_handshake": true})
        );
        for bad in [["--filter", "{"], ["--answer", "x"], ["--signature", "{"]] {
            assert!(matches!(object(&bad), Err(Failure::Usage(_))), "{bad:?}");
        }
        std::fs::write(&file, "hunter2").unwrap();
        let failure = object(&["--auth-file", file.to_str().unwrap()]).unwrap_err();
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }
}
