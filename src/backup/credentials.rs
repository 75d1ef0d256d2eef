//! The keys to an S3-compatible store in a file, in the form of AWS's shared credentials file:
//!
//! ```text
//! [default]
//! aws_access_key_id = …
//! aws_secret_access_key = …
//! aws_session_token = …
//! ```
//!
//! The file is read again for each request after it changed, so that keys which expire are
//! replaced by whoever makes them without a word to outboxd.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

/// The longest file, in bytes.
const LONGEST: u64 = 64 << 10;

#[derive(Debug)]
pub struct FileCredentials {
    path: PathBuf,
    /// What was read last, and when the file had changed then.
    read: Mutex<Option<(SystemTime, Arc<AwsCredential>)>>,
}

impl FileCredentials {
    pub fn new(path: PathBuf) -> FileCredentials {
        FileCredentials {
            path,
            read: Mutex::new(None),
        }
    }

    fn current(&self) -> Result<Arc<AwsCredential>, CredentialsError> {
        let changed = std::fs::metadata(&self.path)
            .and_then(|meta| meta.modified())
            .map_err(|source| self.unreadable(source))?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, known)) = &*read
            && *at == changed
        {
            return Ok(known.clone());
        }
        let text = read_text(&self.path).map_err(|source| self.unreadable(source))?;
        let found = Arc::new(parse(&text).ok_or_else(|| CredentialsError::Incomplete {
            path: self.path.clone(),
        })?);
        *read = Some((changed, found.clone()));
        Ok(found)
    }

    fn unreadable(&self, source: std::io::Error) -> CredentialsError {
        CredentialsError::Unreadable {
            path: self.path.clone(),
            source,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} has no aws_access_key_id and aws_secret_access_key under [default]", path.display())]
    Incomplete { path: PathBuf },
}

#[async_trait]
impl CredentialProvider for FileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.current()
            .map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })
    }
}

fn read_text(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The keys under `[default]`, or before any section.
fn parse(text: &str) -> Option<AwsCredential> {
    let (mut id, mut secret, mut token) = (None, None, None);
    let mut counts = true;
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[') {
            counts = section.trim_end_matches(']').trim() == "default";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| counts) else {
            continue;
        };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match key.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(AwsCredential {
        key_id: id?,
        secret_key: secret?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_default_section() {
        let text = "\u{feff}# mine\n[other]\naws_access_key_id = wrong\n[default]\n\
            aws_access_key_id = AKIA1\n aws_secret_access_key=a/b=c \n\n[x]\naws_session_token = no\n";
        let found = parse(text).unwrap();
        assert_eq!((&*found.key_id, &*found.secret_key), ("AKIA1", "a/b=c"));
        assert_eq!(found.token, None);
        assert!(parse("aws_access_key_id = a\n").is_none());
        assert!(parse("[default]\naws_access_key_id = a\naws_secret_access_key =\n").is_none());
    }

    #[test]
    fn a_file_that_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let keys = FileCredentials::new(path.clone());
        assert!(matches!(
            keys.current(),
            Err(CredentialsError::Unreadable { .. })
        ));
        let write = |id: &str, age: u64| {
            let text = format!("aws_access_key_id = {id}\naws_secret_access_key = s\n");
            std::fs::write(&path, text).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age);
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(at).unwrap();
        };
        write("one", 1000);
        assert_eq!(keys.current().unwrap().key_id, "one");
        write("two", 2000);
        assert_eq!(keys.current().unwrap().key_id, "two");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(
            keys.current(),
            Err(CredentialsError::Incomplete { .. })
        ));
    }
}
