//! The directory or S3-compatible store that holds what is shipped, through `object_store`.
//!
//! Every object is written once, under a name that is new, with a condition that it is not there
//! (`If-None-Match` of RFC 9110 on S3, a hard link in a directory). So two stores that take
//! themselves for the same one cannot write over each other.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
};

use super::credentials::FileCredentials;
use super::names::{Generation, Name, Part};
use super::seal::{self, SealError};
use crate::config::{BackupKey, BackupUrl, S3};
use crate::domain::time::Timestamp;

/// Of one request to a store. A part of 8 MiB has to pass in it.
const REQUEST: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(5);
/// Requests that a store failed are repeated for so long before the error is shown.
const RETRY: Duration = Duration::from_secs(10);

/// Why a place cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot make the directory {path}: {source}")]
    Directory {
        path: String,
        source: std::io::Error,
    },
    #[error("{0}")]
    Store(#[from] object_store::Error),
    #[error("{name}: {source}")]
    Seal { name: String, source: SealError },
    #[error("the store holds another object under the name {0}")]
    Taken(String),
}

impl PlaceError {
    /// Whether the object is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            PlaceError::Store(object_store::Error::NotFound { .. })
        )
    }
}

/// An object that is there.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    pub name: Name,
    /// Bytes, as it is stored.
    pub size: u64,
    /// By the clock of the store.
    pub modified: Timestamp,
}

/// Where shipped generations are. Cheap to clone.
#[derive(Clone)]
pub struct Place {
    store: Arc<dyn ObjectStore>,
    /// Of a directory.
    dir: Option<PathBuf>,
    prefix: String,
    key: Option<BackupKey>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

impl Place {
    /// Opens `url`; makes a directory that is not there. No request is made to a store yet.
    pub fn open(url: &BackupUrl, s3: &S3, key: Option<BackupKey>) -> Result<Place, PlaceError> {
        let mut dir = None;
        let (store, prefix): (Arc<dyn ObjectStore>, _) = match url {
            BackupUrl::File(path) => {
                make_private(path).map_err(|source| PlaceError::Directory {
                    path: path.display().to_string(),
                    source,
                })?;
                let store = LocalFileSystem::new_with_prefix(path)?.with_fsync(true);
                dir = Some(path.clone());
                (Arc::new(store), String::new())
            }
            BackupUrl::S3 { bucket, prefix } => (Arc::new(open_s3(bucket, s3)?), prefix.clone()),
        };
        Ok(Place {
            dir,
            ..Place::of(store, prefix, key)
        })
    }

    /// Readies a directory for the generation: only its owner may enter, and what writes that were
    /// cut short left there is deleted. Nothing is to be done in other places.
    pub fn ready(&self, generation: Generation) -> Result<(), PlaceError> {
        let Some(dir) = &self.dir else {
            return Ok(());
        };
        let dir = dir.join(generation.to_string());
        let ready = make_private(&dir).and_then(|()| delete_cut_short(&dir));
        ready.map_err(|source| PlaceError::Directory {
            path: dir.display().to_string(),
            source,
        })
    }

    /// A place in any store.
    pub fn of(store: Arc<dyn ObjectStore>, prefix: String, key: Option<BackupKey>) -> Place {
        Place {
            store,
            dir: None,
            prefix,
            key,
        }
    }

    /// What names the key that seals here; `None`: nothing is sealed.
    pub fn key_id(&self) -> Option<String> {
        self.key.as_ref().map(seal::key_id)
    }

    /// The generations, oldest first.
    pub async fn generations(&self) -> Result<Vec<Generation>, PlaceError> {
        let prefix = (!self.prefix.is_empty()).then(|| Path::from(self.prefix.as_str()));
        let listed = self.store.list_with_delimiter(prefix.as_ref()).await?;
        let names = listed.common_prefixes.iter();
        let mut found: Vec<_> = names
            .filter_map(|path| Generation::parse(path.filename()?))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// What is there of a generation; what outboxd does not write is left out.
    pub async fn list(&self, generation: Generation) -> Result<Vec<Listed>, PlaceError> {
        let root = self.path(&generation.to_string());
        let mut objects = self.store.list(Some(&root));
        let mut found = Vec::new();
        while let Some(object) = objects.try_next().await? {
            let path = object.location.as_ref();
            let name = path
                .strip_prefix(root.as_ref())
                .and_then(|name| Name::parse(name.trim_start_matches('/')));
            if let Some(name) = name {
                let modified = object.last_modified.timestamp_millis();
                found.push(Listed {
                    name,
                    size: object.size,
                    modified: Timestamp::from_millis(modified.try_into().unwrap_or(0)),
                });
            }
        }
        Ok(found)
    }

    /// How many bytes an object has whose content has `len`.
    pub fn stored_len(&self, len: u64) -> u64 {
        match self.key {
            Some(_) => seal::sealed_len(len),
            None => len,
        }
    }

    /// Whether the part has the length that its name says.
    pub fn is_whole(&self, part: &Part, size: u64) -> bool {
        size == self.stored_len(part.to - part.from)
    }

    /// Stores an object that must not be there yet; one that is there with the same content is as
    /// good. What says what the generation is stays readable without the key.
    ///
    /// # Errors
    /// [`PlaceError::Taken`]: it is there with another content.
    pub async fn put_new(
        &self,
        generation: Generation,
        name: Name,
        content: Bytes,
    ) -> Result<(), PlaceError> {
        let full = format!("{generation}/{name}");
        let stored = match (&self.key, name) {
            (Some(key), Name::Part(_)) => {
                let sealed = seal::seal(key, &full, &content);
                let sealed = sealed.map_err(|source| PlaceError::Seal {
                    name: full.clone(),
                    source,
                });
                Bytes::from(sealed?)
            }
            _ => content.clone(),
        };
        let path = self.path(&full);
        let create = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&path, stored.into(), create).await {
            Ok(_) => Ok(()),
            // An earlier try whose answer was lost, or a repeated request.
            Err(object_store::Error::AlreadyExists { .. }) => {
                match self.get(generation, name).await {
                    Ok(there) if there == content => Ok(()),
                    Ok(_) | Err(PlaceError::Seal { .. }) => Err(PlaceError::Taken(full)),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The content of an object.
    pub async fn get(&self, generation: Generation, name: Name) -> Result<Vec<u8>, PlaceError> {
        let full = format!("{generation}/{name}");
        let got = self.store.get(&self.path(&full)).await?;
        let stored = got.bytes().await?;
        match (&self.key, name) {
            (Some(key), Name::Part(_)) => seal::open(key, &full, &stored)
                .map_err(|source| PlaceError::Seal { name: full, source }),
            _ => Ok(stored.into()),
        }
    }

    /// Whether an object is there.
    pub async fn has(&self, generation: Generation, name: Name) -> Result<bool, PlaceError> {
        let path = self.path(&format!("{generation}/{name}"));
        match self.store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes an object; one that is not there is as good.
    pub async fn delete(&self, generation: Generation, name: Name) -> Result<(), PlaceError> {
        match self
            .store
            .delete(&self.path(&format!("{generation}/{name}")))
            .await
        {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self, name: &str) -> Path {
        match self.prefix.as_str() {
            "" => Path::from(name),
            prefix => Path::from(format!("{prefix}/{name}")),
        }
    }
}

/// `object_store` writes a file as `NAME#N` before it gives it its name.
fn delete_cut_short(dir: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            delete_cut_short(&entry.path())?;
        } else if entry.file_name().to_string_lossy().contains('#') {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn make_private(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path)
}

/// Makes ring what TLS to a store uses; whoever came first may have done so.
fn use_ring() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn open_s3(bucket: &str, s3: &S3) -> Result<object_store::aws::AmazonS3, PlaceError> {
    use_ring();
    let options = ClientOptions::new()
        .with_timeout(REQUEST)
        .with_connect_timeout(CONNECT)
        .with_user_agent(http::HeaderValue::from_static(concat!(
            "outboxd/",
            env!("CARGO_PKG_VERSION")
        )))
        // The address of a store is the operator's.
        .with_allow_http(true);
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 3,
        retry_timeout: RETRY,
    };
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(options)
        .with_retry(retry);
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    if let Some(path) = &s3.credentials_file {
        builder = builder.with_credentials(Arc::new(FileCredentials::new(path.clone())));
    }
    Ok(builder.build()?)
}
