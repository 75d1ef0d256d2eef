//! Files that the configuration names: secrets, tokens, extra roots.
//!
//! Read whole and once, with a bound on their size. What they hold never appears in a
//! fault; their path does.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use super::Environment;
use super::fault::quoted;
use super::reader::Flaw;
use crate::domain::signature::Secret;

/// The largest secret or token file, in bytes.
const MAX_SECRET_FILE: u64 = 64 * 1024;
/// The largest file of roots, in bytes. All of Mozilla's take a quarter of a megabyte.
const MAX_CA_FILE: u64 = 8 << 20;
/// The longest token, in bytes.
const MAX_TOKEN: usize = 4096;

/// Where a secret's file is: a bare name is in `$CREDENTIALS_DIRECTORY` when that is set,
/// any other path is taken from the working directory.
pub(super) fn secret_path(name: &str, env: &Environment) -> PathBuf {
    match &env.credentials_directory {
        Some(directory) if !name.contains('/') => directory.join(name),
        _ => PathBuf::from(name),
    }
}

/// The whole content of a file of at most `limit` bytes.
pub(super) fn read_whole(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)?;
    if read as u64 > limit {
        return Err(std::io::Error::other(format!(
            "it is larger than {limit} bytes"
        )));
    }
    Ok(content)
}

fn read_named(path: &Path, limit: u64, fix: &str) -> Result<Vec<u8>, Flaw> {
    read_whole(path, limit)
        .map_err(|error| Flaw::new(format!("cannot read {}: {error}", path.display()), fix))
}

/// The text of a secret file, without the white space around it.
pub(super) fn read_secret_text(path: &Path) -> Result<String, Flaw> {
    let fix =
        "name a file that the daemon's user can read; under systemd, one from LoadCredential=";
    let content = read_named(path, MAX_SECRET_FILE, fix)?;
    let text = plain_text(content).map_err(|what| {
        Flaw::new(
            format!("{} {what}", path.display()),
            "save it as UTF-8 text",
        )
    })?;
    Ok(text.trim().to_owned())
}

/// The text of a file without the mark that editors put before it. No error holds its content.
pub fn plain_text(content: Vec<u8>) -> Result<String, &'static str> {
    if content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff") {
        return Err("is UTF-16 text");
    }
    let text = String::from_utf8(content).map_err(|_| "is not UTF-8 text")?;
    match text.strip_prefix('\u{feff}') {
        Some(text) => Ok(text.to_owned()),
        None => Ok(text),
    }
}

/// An endpoint's signing secret from its file.
pub(super) fn read_secret(path: &Path) -> Result<Secret, Flaw> {
    let text = read_secret_text(path)?;
    Secret::parse(&text)
        .map_err(|bad| Flaw::new(format!("in {}: {bad}", path.display()), SECRET_FIX))
}

/// How to get a valid secret.
pub(super) const SECRET_FIX: &str = "make one with `outboxd keygen`";

/// The SHA-256 of a bearer token from its file.
pub(super) fn read_token(path: &Path) -> Result<[u8; 32], Flaw> {
    let text = read_secret_text(path)?;
    let flawed = |what: &str, fix: &str| Err(Flaw::new(format!("{} {what}", path.display()), fix));
    if text.is_empty() {
        return flawed("is empty", "write the token into it");
    }
    if text.len() > MAX_TOKEN {
        return flawed(
            "holds a token of more than 4096 bytes",
            "write a shorter one",
        );
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return flawed(
            "holds more than one token of visible ASCII",
            "write one token on one line, without spaces, as clients send it",
        );
    }
    Ok(Sha256::digest(text.as_bytes()).into())
}

/// Checks that a file holds certificates in PEM that can be roots; its SHA-256.
pub(super) fn check_roots(path: &Path) -> Result<[u8; 32], Flaw> {
    let fix = "name a readable file of CA certificates in PEM";
    let content = read_named(path, MAX_CA_FILE, fix)?;
    let flawed = |what: String| Flaw::new(format!("{}: {what}", path.display()), fix);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&content) {
        let certificate = certificate.map_err(|_| flawed("this is not PEM".to_owned()))?;
        let n = roots.len() + 1;
        roots
            .add(certificate)
            .map_err(|_| flawed(format!("certificate {n} cannot be used as a root")))?;
    }
    if roots.is_empty() {
        return Err(flawed("it holds no certificate".to_owned()));
    }
    Ok(Sha256::digest(&content).into())
}

/// A file name as it was written, unless it is not one.
pub(super) fn file_name(text: &str) -> Result<&str, Flaw> {
    if text.starts_with("whsec_") || text.starts_with("whsk_") {
        let problem = "this is a secret, not the name of a file";
        return Err(Flaw::new(
            problem,
            "write it under \"secret\", or better into a file",
        ));
    }
    if text.contains("-----BEGIN") {
        let problem = "this is what a file holds, not its name";
        return Err(Flaw::new(
            problem,
            "write it into a file, and its path here",
        ));
    }
    if text.is_empty() {
        return Err(Flaw::new("this names no file", "write its path"));
    }
    if text.contains('\0') {
        return Err(Flaw::new(
            format!("{} is not a file name", quoted(text)),
            "remove the NUL",
        ));
    }
    Ok(text)
}
