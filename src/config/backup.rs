//! `[backup]`: where the log is shipped to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Environment;
use super::fault::quoted;
use super::files::{file_name, read_secret_text, secret_path};
use super::reader::{Flaw, Section, Value};
use super::request::parse_url;
use super::values::{duration, unless_empty};

/// The shortest and the longest `interval`.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
/// The shortest `retain`.
const RETAIN_MIN: Duration = Duration::from_secs(60);
const EXAMPLE: &str = "write such as \"file:///mnt/outboxd\" or \"s3://bucket/prefix\"";

/// Where the log is shipped to, and how. The table `[backup]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// `None`: nothing is shipped.
    pub to: Option<BackupUrl>,
    /// How old what is not shipped yet may become while the store answers.
    pub interval: Duration,
    /// For how long what the log has dropped is kept.
    pub retain: Duration,
    /// Seals what leaves the machine.
    pub key: Option<BackupKey>,
    pub s3: S3,
}

/// How an S3-compatible store is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3 {
    /// Without a slash at its end. `None`: that of AWS for the region.
    pub endpoint: Option<String>,
    /// `None`: what the usual variables of AWS say.
    pub region: Option<String>,
    /// In the form of AWS; read again when it changes. `None`: the usual variables of AWS.
    pub credentials_file: Option<PathBuf>,
}

/// A directory, or a place in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupUrl {
    /// An absolute path.
    File(PathBuf),
    /// `prefix` has no slash at its ends and may be empty.
    S3 { bucket: String, prefix: String },
}

impl fmt::Display for BackupUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupUrl::File(path) => write!(f, "file://{}", path.display()),
            BackupUrl::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            BackupUrl::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// Why a text is not a [`BackupUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBackupUrl {
    #[error("it is neither file:// nor s3://")]
    Scheme,
    #[error("file:// needs an absolute path after it")]
    Path,
    #[error("s3:// needs the name of a bucket after it: 3 to 63 of a-z 0-9 . -")]
    Bucket,
    #[error("a prefix has only A-Z a-z 0-9 . _ - and single slashes, and at most 512 bytes")]
    Prefix,
}

impl BackupUrl {
    /// Reads `file:///path` or `s3://bucket/prefix`.
    pub fn parse(text: &str) -> Result<BackupUrl, BadBackupUrl> {
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(BackupUrl::File(path)),
                false => Err(BadBackupUrl::Path),
            };
        }
        let rest = text.strip_prefix("s3://").ok_or(BadBackupUrl::Scheme)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let of_bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_bucket = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|byte| of_bucket(byte) || matches!(byte, b'.' | b'-'))
            && bucket.bytes().next().is_some_and(of_bucket)
            && bucket.bytes().last().is_some_and(of_bucket);
        if !is_bucket {
            return Err(BadBackupUrl::Bucket);
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
        if !is_prefix || prefix.len() > 512 {
            return Err(BadBackupUrl::Prefix);
        }
        Ok(BackupUrl::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

/// A key of 32 bytes. `Debug` never shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct BackupKey(pub [u8; 32]);

impl fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BackupKey(…)")
    }
}

impl BackupKey {
    /// The key in a file: 32 bytes in base64, on one line. No error holds any of it.
    pub fn read(path: &Path) -> Result<BackupKey, String> {
        read_key(path).map_err(|flaw| format!("{}; {}", flaw.problem, flaw.fix))
    }
}

fn read_key(path: &Path) -> Result<BackupKey, Flaw> {
    let text = read_secret_text(path)?;
    let bytes = BASE64_STANDARD.decode(text.as_bytes()).ok();
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    key.map(BackupKey).ok_or_else(|| {
        let problem = format!("{} does not hold 32 bytes in base64", path.display());
        Flaw::new(problem, "make a key with `openssl rand -base64 32`")
    })
}

pub(super) fn read(mut backup: Section<'_>, env: &Environment) -> Backup {
    let base = Backup::default();
    let key_file = backup.take("key_file", unless_empty(named)).flatten();
    let credentials = backup
        .take("credentials_file", unless_empty(named))
        .flatten();
    let s3 = S3 {
        endpoint: backup.take("endpoint", unless_empty(endpoint)).flatten(),
        region: backup.take("region", unless_empty(region)).flatten(),
        credentials_file: credentials.map(|name| secret_path(&name, env)),
    };
    if let Some(path) = &s3.credentials_file
        && let Err(flaw) = read_secret_text(path)
    {
        backup.fault("credentials_file", &flaw);
    }
    let read = Backup {
        to: backup.take("to", unless_empty(target)).flatten(),
        interval: backup
            .take("interval", duration(INTERVALS))
            .unwrap_or(base.interval),
        retain: backup
            .take("retain", duration(RETAIN_MIN..=super::units::MAX_DURATION))
            .unwrap_or(base.retain),
        key: key_file.and_then(|name| match read_key(&secret_path(&name, env)) {
            Ok(key) => Some(key),
            Err(flaw) => {
                backup.fault("key_file", &flaw);
                None
            }
        }),
        s3,
    };
    if read.s3 != S3::default() && matches!(read.to, Some(BackupUrl::File(_))) {
        let problem =
            "endpoint, region and credentials_file are for s3://, and backup.to is file://";
        backup.fault(
            "to",
            &Flaw::new(problem, "remove them, or write an s3:// URL"),
        );
    }
    backup.finish();
    read
}

fn named(value: &Value<'_>) -> Result<String, Flaw> {
    file_name(value.text()?).map(str::to_owned)
}

fn target(value: &Value<'_>) -> Result<BackupUrl, Flaw> {
    let text = value.text()?;
    BackupUrl::parse(text)
        .map_err(|bad| Flaw::new(format!("{} cannot be used: {bad}", quoted(text)), EXAMPLE))
}

fn endpoint(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let example = "write one such as \"https://s3.example.com\"";
    let url = parse_url(text).map_err(|bad| Flaw::new(bad.to_string(), example))?;
    if url.query().is_some() || url.path() != "/" {
        return Err(Flaw::new("the URL has a path or query", example));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn region(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match !text.is_empty() && text.len() <= 64 && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("{} is not the name of a region", quoted(text)),
            "write such as \"eu-central-1\"",
        )),
    }
}

impl Backup {
    /// What an operator should know before relying on it.
    pub fn warnings(&self) -> Vec<String> {
        let Some(to) = &self.to else {
            return Vec::new();
        };
        let mut warnings = Vec::new();
        if self.key.is_none() {
            warnings.push(format!(
                "backup.key_file is not set: {to} gets event bodies and signing secrets in plain text"
            ));
        }
        if let BackupUrl::S3 { bucket, .. } = to {
            warnings.push(format!(
                "a bucket that keeps old versions of objects keeps erased events in \
                 them: suspend versioning of {bucket}, or let it delete old versions"
            ));
        }
        warnings
    }
}
