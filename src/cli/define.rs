//! An endpoint's fields as options, and the request made of them. The daemon validates them;
//! its response names the field that it refuses.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::shape::Shape;
use super::{Failure, read_body, shown};
use crate::config::plain_text;
use crate::domain::signature::Secret;

/// Everything of an endpoint but its URL and tenant.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What it is")]
pub struct Fields {
    /// Types that it wants, such as order.created, order.* or *; may be given again
    #[arg(long, alias = "type", value_name = "PATTERN", value_delimiter = ',')]
    types: Vec<String>,
    /// The file with its whsec_ secret or whsk_ key, `-` for stdin; else a secret is made
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// A static header, such as "x-team: orders"; may be given again, all replace those before
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Attempts at once
    #[arg(long, value_name = "N")]
    max_in_flight: Option<u64>,
    /// Attempts in a span of time, such as 50/s or 600/m
    #[arg(long, value_name = "RATE")]
    rate_limit: Option<String>,
    /// none, key or strict
    #[arg(long, value_name = "ORDER")]
    ordering: Option<String>,
    /// For a whole attempt, such as 10s
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// false: HTTP/1.1 only
    #[arg(long, value_name = "BOOL")]
    http2: Option<bool>,
    /// A part of its retry rule, such as first=1s or schedule=5s,5m; may be given again,
    /// all replace those before
    #[arg(long, value_name = "KEY=VALUE")]
    retry: Vec<String>,
    /// Whatever helps to tell it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    shape: Shape,
}

impl Fields {
    /// Those that were given, as the API takes them.
    pub fn object(&self) -> Result<Map<String, Value>, Failure> {
        let mut object = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
        set("types", (!self.types.is_empty()).then(|| json!(self.types)));
        set("headers", headers(&self.headers)?);
        set(
            "max_in_flight",
            self.max_in_flight.map(|count| json!(count)),
        );
        set("rate_limit", text(&self.rate_limit));
        set("ordering", text(&self.ordering));
        set("timeout", text(&self.timeout));
        set("http2", self.http2.map(|flag| json!(flag)));
        set("retry", retry(&self.retry)?);
        set("description", text(&self.description));
        let secret = self.secret_file.as_deref().map(secret).transpose()?;
        set("secret", secret.map(|secret| json!(secret.reveal())));
        self.shape.add_to(&mut object)?;
        Ok(object)
    }
}

fn headers(lines: &[String]) -> Result<Option<Value>, Failure> {
    let mut headers = Map::new();
    for line in lines {
        // The value may be a secret, and is not repeated.
        let Some((name, value)) = line.split_once(':') else {
            let ask = "--header takes a name, a colon and a value, such as \"x-team: orders\"";
            return Err(Failure::Usage(ask.to_owned()));
        };
        if headers
            .insert(name.trim().to_owned(), json!(value.trim()))
            .is_some()
        {
            return Err(Failure::Usage(format!(
                "--header {} is there twice",
                name.trim()
            )));
        }
    }
    Ok((!headers.is_empty()).then_some(Value::Object(headers)))
}

fn retry(parts: &[String]) -> Result<Option<Value>, Failure> {
    let mut retry = Map::new();
    for part in parts {
        let fault = |why: &str| Failure::Usage(format!("--retry {part:?} {why}"));
        let (key, text) = part
            .split_once('=')
            .ok_or_else(|| fault("is not a KEY=VALUE, such as first=1s"))?;
        let value = match key {
            "factor" | "jitter" => {
                let number: f64 = text.parse().map_err(|_| fault("holds no number"))?;
                json!(number)
            }
            "schedule" => json!(text.split(',').map(str::trim).collect::<Vec<_>>()),
            _ => json!(text),
        };
        if retry.insert(key.to_owned(), value).is_some() {
            return Err(fault("is there twice"));
        }
    }
    Ok((!retry.is_empty()).then_some(Value::Object(retry)))
}

/// The one secret of a file. Never repeated in a failure.
fn secret(path: &Path) -> Result<Secret, Failure> {
    let at = |why: &str| Failure::Usage(format!("--secret-file {}: {why}", shown(path)));
    let text = plain_text(read_body(path)?).map_err(|what| at(&format!("it {what}")))?;
    Secret::parse(text.trim()).map_err(|fault| at(&fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        fields: Fields,
    }

    fn object(line: &[&str]) -> Result<Value, Failure> {
        let words = ["x"].iter().chain(line);
        let object = Line::try_parse_from(words).unwrap().fields.object()?;
        Ok(Value::Object(object))
    }

    #[test]
    fn options_are_fields() {
        assert_eq!(object(&[]).unwrap(), json!({}));
        #[rustfmt::skip]
        let line = [
            "--types", "a.*,b", "--types", "c", "--header", "x-a: 1:2", "--header", "x-b:",
            "--max-in-flight", "3", "--rate-limit", "50/s", "--ordering", "key", "--timeout", "5s",
            "--retry", "first=1s", "--retry", "factor=2", "--retry", "schedule=1s, 2s", "--description", "d",
        ];
        assert_eq!(
            object(&line).unwrap(),
            json!({"types": ["a.*", "b", "c"], "headers": {"x-a": "1:2", "x-b": ""},
                "max_in_flight": 3, "rate_limit": "50/s", "ordering": "key", "timeout": "5s",
                "retry": {"first": "1s", "factor": 2.0, "schedule": ["1s", "2s"]}, "description": "d"})
        );
    }

    #[test]
    fn what_cannot_be_meant_is_usage() {
        for line in [
            ["--header", "hunter2"],
            ["--retry", "first"],
            ["--retry", "factor=much"],
        ] {
            let failure = object(&line).unwrap_err();
            assert!(matches!(failure, Failure::Usage(_)), "{failure}");
            assert!(!failure.to_string().contains("hunter2"));
        }
        assert!(object(&["--retry", "max=1s", "--retry", "max=2s"]).is_err());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, "hunter2").unwrap();
        let failure = object(&["--secret-file", file.to_str().unwrap()]).unwrap_err();
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
        // With and without the mark that editors put before a text.
        for mark in ["", "\u{feff}"] {
            let text = format!("{mark}whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
            std::fs::write(&file, text).unwrap();
            let good = object(&["--secret-file", file.to_str().unwrap()]).unwrap();
            assert_eq!(good["secret"], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        }
    }
}
