//! Whose webhooks come in, `[[source]]`. What the keys mean is the domain's; here they are made JSON,
//! and files are read into the keys that stand for them.

use std::collections::HashMap;

use super::fault::quoted;
use super::files;
use super::reader::{Flaw, Section, Value};
use super::{Environment, Listen};
use crate::domain::inbound::{BadSource, Given, KEYS, Source, SourceId, read as read_source};
use crate::domain::json::Json;

/// Keys that name a file with the value of another key.
pub(super) const FILES: [(&str, &str); 2] = [
    ("token_file", "token"),
    ("verify_token_file", "verify_token"),
];

/// Without these another definition would be judged, and faults found that are none.
const VERIFYING: [&str; 5] = ["preset", "verify", "secrets", "token", "public_key"];
/// The placeholder for the content of a file that cannot be read. It is never in force.
const UNREAD: &str = "?";

/// All sources of the file that are without fault.
pub(super) fn read<'t>(root: &mut Section<'t>, listen: &Listen, env: &Environment) -> Vec<Source> {
    let list = |value: &Value<'t>| value.tables("sources are a list of tables");
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut sources = Vec::new();
    let items = root.take("source", list).unwrap_or_default();
    for (n, item) in items.iter().enumerate() {
        let Some(mut section) = item.section().map_err(|flaw| item.fault(&flaw)).ok() else {
            continue;
        };
        let id = section.take("id", |value| unique_id(value, n, &mut seen));
        sources.extend(read_one(section, id, listen, env));
    }
    sources
}

fn unique_id<'t>(
    value: &Value<'t>,
    n: usize,
    seen: &mut HashMap<&'t str, usize>,
) -> Result<SourceId, Flaw> {
    let text = value.text()?;
    let id = SourceId::new(text).map_err(|bad| {
        let fix = "write a short name such as \"stripe-live\"";
        Flaw::new(format!("{} is not an id: {bad}", quoted(text)), fix)
    })?;
    let made = text.strip_prefix("src_").map(ulid::Ulid::from_string);
    if made.is_some_and(|ulid| ulid.is_ok()) {
        let problem = format!("{} looks like an id made by the API", quoted(text));
        let fix = "choose a name that is not src_ and a ULID";
        return Err(Flaw::new(problem, fix));
    }
    match seen.insert(text, n) {
        None => Ok(id),
        Some(first) => {
            let problem = format!("{} is the id of source[{first}] already", quoted(text));
            Err(Flaw::new(problem, "give each source an id of its own"))
        }
    }
}

fn read_one(
    mut section: Section<'_>,
    id: Option<SourceId>,
    listen: &Listen,
    env: &Environment,
) -> Option<Source> {
    // Every key is taken before anything is given up, so that all faults show at once.
    let mut given = Given::new();
    for key in KEYS {
        if let Some(json) = section.take(key, Value::json) {
            given.insert(key.into(), json);
        }
    }
    let read_file = |value: &Value<'_>| {
        let name = files::file_name(value.text()?)?;
        files::read_secret_text(&files::secret_path(name, env))
    };
    // A file that cannot be read is a fault already; what is missing because of it is none. A secret
    // has a form, so nothing can stand for it.
    let mut is_unread = false;
    for (file_key, key) in FILES {
        let text = section.take(file_key, read_file);
        if text.is_none() && !section.is_filled(file_key) {
            continue;
        }
        if given.contains_key(key) {
            section.fault(file_key, &both(key, file_key));
        }
        is_unread |= text.is_none();
        let text = text.as_deref().unwrap_or(UNREAD);
        given.insert(key.into(), Json::from(text));
    }
    let secrets = section.each("secret_files", read_file).unwrap_or_default();
    let no_secret = secrets.is_empty() && section.is_filled("secret_files");
    if !secrets.is_empty() {
        if section.is_filled("secrets") {
            section.fault("secret_files", &both("secrets", "secret_files"));
        }
        let secrets = secrets.iter().map(|text| Json::from(&**text));
        given.insert("secrets".into(), Json::Array(secrets.collect()));
    }
    section.require("id", "give it a short name such as id = \"stripe-live\"");
    // With another name the faults of the keys are found all the same.
    let name = id.clone().or_else(|| SourceId::new("source").ok())?;
    let mut source = read_source(name.clone(), &given);
    // One fault is found at a time, so what is faulty is left out to find the next.
    while let Err(bad) = &source {
        let key = root(&bad.key);
        if !(no_secret && key == "secrets") {
            fault(&section, bad);
        }
        if VERIFYING.contains(&key) || given.shift_remove(key).is_none() {
            break;
        }
        source = read_source(name.clone(), &given);
    }
    if let Ok(source) = &source
        && source.needs_url()
        && listen.public_url.is_none()
    {
        let problem = "the provider signs the URL, which outboxd does not know";
        section.fault("preset", &Flaw::new(problem, "set public_url in [listen]"));
    }
    section.finish();
    id.and(source.ok()).filter(|_| !is_unread)
}

fn both(key: &str, file_key: &str) -> Flaw {
    let problem = format!("{key} and {file_key} are both there");
    Flaw::new(problem, "remove one of them")
}

/// The key of the table that a fault is at or inside of.
fn root(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap_or(key)
}

fn fault(section: &Section<'_>, bad: &BadSource) {
    // Where its key stands; the rest of the path is inside of it.
    let (key, rest) = bad.key.split_at(root(&bad.key).len());
    let problem = match rest.trim_start_matches('.') {
        "" => bad.problem.clone(),
        place => format!("at {place}: {}", bad.problem),
    };
    section.fault(key, &Flaw::new(problem, bad.fix.clone()));
}
