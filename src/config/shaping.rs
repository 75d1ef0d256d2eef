//! The keys of an endpoint that shape its requests. What they mean is the domain's; here they are made
//! JSON, and files are read into the keys that stand for them.

use std::sync::Arc;

use http::HeaderMap;

use super::Environment;
use super::files;
use super::reader::{Flaw, Section, Value};
use super::request::is_reserved;
use crate::domain::json::Json;
use crate::domain::shaping::{self, Around, BadShaping, Given, KEYS, Shaping};
use crate::domain::signature::{SecretKind, needs_signing_key};

/// Keys that name a file with the value of another key.
pub(super) const FILES: [(&str, &str); 4] = [
    ("signing_key_file", "signing_key"),
    ("client_cert_file", "client_cert"),
    ("client_key_file", "client_key"),
    ("ca_file", "ca"),
];

/// The same within `auth`.
pub(super) const AUTH_FILES: [(&str, &str); 2] = [
    ("client_secret_file", "client_secret"),
    ("private_key_file", "private_key"),
];

/// What shapes an endpoint's requests; `None` if nothing does, or something is faulty.
pub(super) fn read(
    section: &mut Section<'_>,
    headers: &HeaderMap,
    kinds: &[SecretKind],
    env: &Environment,
) -> Option<Arc<Shaping>> {
    let mut given = Given::new();
    for key in KEYS {
        if let Some(json) = section.take(key, Value::json) {
            given.insert(key.into(), json);
        }
    }
    for (file_key, key) in FILES {
        let read = |value: &Value<'_>| {
            let name = files::file_name(value.text()?)?;
            files::read_secret_text(&files::secret_path(name, env))
        };
        let Some(text) = section.take(file_key, read) else {
            continue;
        };
        if given.contains_key(key) {
            let problem = format!("{key} and {file_key} are both there");
            section.fault(file_key, &Flaw::new(problem, "remove one of them"));
        }
        given.insert(key.into(), Json::String(text.into()));
    }
    if let Some(Json::Object(auth)) = given.get_mut("auth") {
        read_auth_files(section, auth, env);
    }
    let around = Around {
        headers,
        secrets: kinds,
        is_reserved,
    };
    match shaping::read(&given, around) {
        Ok(shaping) => {
            let shaping = shaping?;
            if needs_key(&shaping, kinds) {
                let flaw = Flaw::new(
                    "v1a needs a key of Ed25519",
                    "make one with `outboxd keygen --ed25519`, and name its file in signing_key_file",
                );
                section.fault("signatures", &flaw);
            }
            Some(Arc::new(shaping))
        }
        Err(bad) => {
            fault(section, &bad);
            None
        }
    }
}

/// Puts what the files hold in the place of their names.
fn read_auth_files(section: &Section<'_>, auth: &mut Given, env: &Environment) {
    for (file_key, key) in AUTH_FILES {
        let Some(name) = auth.shift_remove(file_key) else {
            continue;
        };
        let fault = |flaw: Flaw| {
            let problem = format!("at {file_key}: {}", flaw.problem);
            section.fault("auth", &Flaw::new(problem, flaw.fix));
        };
        let name = match name.as_str().map(files::file_name) {
            Some(Ok(name)) => name,
            Some(Err(flaw)) => {
                fault(flaw);
                continue;
            }
            None => {
                fault(Flaw::new(
                    "this is a string",
                    "write the file's path in quotes",
                ));
                continue;
            }
        };
        if auth.contains_key(key) {
            fault(Flaw::new(
                format!("{key} is there too"),
                "remove one of them",
            ));
        }
        match files::read_secret_text(&files::secret_path(name, env)) {
            Ok(text) => drop(auth.insert(key.into(), Json::String(text.into()))),
            Err(flaw) => fault(flaw),
        }
    }
}

fn needs_key(shaping: &Shaping, kinds: &[SecretKind]) -> bool {
    shaping.signing_key.is_none() && needs_signing_key(&shaping.signatures, kinds.iter().copied())
}

fn fault(section: &Section<'_>, bad: &BadShaping) {
    // Where its key stands; the rest of the path is inside of it.
    let end = bad.key.find(['.', '[']).unwrap_or(bad.key.len());
    let (key, rest) = bad.key.split_at(end);
    let problem = match rest.trim_start_matches('.') {
        "" => String::new(),
        place => format!("at {place}: "),
    };
    let (what, fix) = bad.problem.what_and_fix();
    section.fault(key, &Flaw::new(format!("{problem}{what}"), fix));
}
