//! A source's fields as options, and the request made of them. The daemon validates them; its
//! response names the field that it refuses.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::shape::json_of;
use crate::cli::{Failure, read_body, shown};
use crate::config::plain_text;

/// What a source is, as options. The daemon validates them.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What it is")]
pub struct Fields {
    /// The file with a secret, `-` for stdin; may be given again, newest first
    #[arg(long, value_name = "FILE")]
    secret_file: Vec<PathBuf>,
    /// The type of its events, a template such as "stripe.{{ type }}"
    #[arg(long = "type", value_name = "TEMPLATE")]
    event_type: Option<String>,
    /// A header that is kept and sent on, or * for all that may be; may be given again
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    forward_headers: Vec<String>,
    /// How far its timestamps may be off, such as 5m
    #[arg(long, value_name = "DURATION")]
    tolerance: Option<String>,
    /// A network that may call, such as 192.0.2.0/24; may be given again
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    allow_from: Vec<String>,
    /// The file with the verify token (meta)
    #[arg(long, value_name = "FILE")]
    verify_token_file: Option<PathBuf>,
    /// The app's id (zalo)
    #[arg(long, value_name = "ID")]
    app_id: Option<String>,
    /// The provider's public key (discord and others that sign with Ed25519)
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// The OrganizationId (salesforce)
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// The file with the token of the URL's query, for providers that sign nothing
    #[arg(long, value_name = "FILE")]
    url_token_file: Option<PathBuf>,
    /// A JSON pointer to an array: one event each
    #[arg(long, value_name = "POINTER")]
    split: Option<String>,
    /// Calls in a span of time, such as 50/s
    #[arg(long, value_name = "RATE")]
    rate_limit: Option<String>,
    /// The largest body, such as 1MiB
    #[arg(long, value_name = "SIZE")]
    max_event_size: Option<String>,
    /// For how long a repeated delivery id is known, such as 7d
    #[arg(long, value_name = "DURATION")]
    idempotency_window: Option<String>,
    /// A recipe of one's own as JSON, or @FILE; see docs/sources.md
    #[arg(long, value_name = "JSON")]
    verify: Option<String>,
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
        let list = |items: &[String]| (!items.is_empty()).then(|| json!(items));
        let secrets = self
            .secret_file
            .iter()
            .map(|file| secret("--secret-file", file));
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        set("secrets", list(&secrets));
        set("forward_headers", list(&self.forward_headers));
        set("allow_from", list(&self.allow_from));
        for (name, flag, file) in [
            (
                "verify_token",
                "--verify-token-file",
                &self.verify_token_file,
            ),
            ("token", "--url-token-file", &self.url_token_file),
        ] {
            let text = file.as_deref().map(|file| secret(flag, file)).transpose()?;
            set(name, text.map(|text| json!(text)));
        }
        for (name, text) in [
            ("type", &self.event_type),
            ("tolerance", &self.tolerance),
            ("app_id", &self.app_id),
            ("public_key", &self.public_key),
            ("account", &self.account),
            ("split", &self.split),
            ("rate_limit", &self.rate_limit),
            ("max_event_size", &self.max_event_size),
            ("idempotency_window", &self.idempotency_window),
        ] {
            set(name, text.as_ref().map(|text| json!(text)));
        }
        let verify = self.verify.as_deref().map(|text| json_of("--verify", text));
        let verify = verify.transpose()?;
        let verify = verify.map(|text| serde_json::from_str(&text)).transpose();
        set(
            "verify",
            verify.map_err(|error| Failure::Usage(format!("--verify: not JSON: {error}")))?,
        );
        Ok(object)
    }
}

/// The secret of a file, without the line's end. Never repeated in a failure.
pub fn secret(flag: &str, file: &Path) -> Result<String, Failure> {
    let at = |why: &str| Failure::Usage(format!("{flag} {}: {why}", shown(file)));
    let text = plain_text(read_body(file)?).map_err(|what| at(&format!("it {what}")))?;
    match text.trim() {
        "" => Err(at("it is empty")),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_of_an_editor_is_not_part_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, "\u{feff}hunter2\n").unwrap();
        assert_eq!(secret("--secret-file", &file).unwrap(), "hunter2");
        std::fs::write(&file, b"\xff\xfeh\0").unwrap();
        let failure = secret("--secret-file", &file).unwrap_err();
        assert!(failure.to_string().contains("UTF-16"), "{failure}");
    }
}
