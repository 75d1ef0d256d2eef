//! A file of endpoints and sources that are made through the API: `[[endpoint]]` and `[[source]]` as in
//! the configuration, read with the same checks, and given as the API takes them.
//!
//! Keys that only the daemon's own configuration may have are faults here: grants of networks,
//! several secrets of an endpoint, and a source without verification. The content of a file that a
//! key names becomes the value of the corresponding key of the API.

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;

use super::fault::{DUPLICATE, Fault, Faults};
use super::load::{known_keys, note_syntax, read_named};
use super::reader::{Flaw, Reader, Section, Value};
use super::{Config, Environment, Listen, endpoints, files, shaping, sources};
use crate::domain::inbound::Given;
use crate::domain::json::Json;
use crate::domain::retry::RetryPolicy;

/// The endpoints and sources of a file.
#[derive(Default)]
pub struct Definitions {
    pub endpoints: Vec<Written>,
    pub sources: Vec<Written>,
}

/// One definition, secrets included. Not `Debug`.
pub struct Written {
    /// Its id in the file.
    pub id: String,
    /// The fields of the API, but for the id.
    pub fields: Given,
}

/// Reads and checks a file.
///
/// # Errors
/// All faults at once.
pub fn load(path: &Path, env: &Environment) -> Result<Definitions, Faults> {
    let text = read_named(path)?;
    read(&text, env).map_err(|list| Faults {
        path: Some(path.to_owned()),
        list,
    })
}

fn read(text: &str, env: &Environment) -> Result<Definitions, Vec<Fault>> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let reader = Reader::new(text, &[]);
    note_syntax(&reader, text, &errors);
    // After a syntax error the tree is incomplete, and its faults would mislead.
    if errors.iter().any(|error| error.message() != DUPLICATE) {
        return Err(reader.finish(&known_keys()));
    }
    let mut root = reader.root(table.get_ref());
    let base = Config::default();
    // The daemon judges an endpoint's rule over its own, which may be the longest.
    let retry = RetryPolicy {
        max: Duration::MAX,
        ..base.retry
    };
    endpoints::read(&reader, &mut root, &base.delivery, &retry, env);
    // The daemon itself checks whether it has a public URL.
    let listen = Listen {
        public_url: Some("https://outboxd.invalid".to_owned()),
        ..base.listen
    };
    sources::read(&mut root, &listen, env);
    let mut definitions = Definitions::default();
    // A second walk: the keys were taken from `root` already.
    let mut whole = reader.root(table.get_ref());
    for item in tables(&mut whole, "endpoint") {
        note_of_file_alone(&item, &ENDPOINT_OF_FILE);
        definitions.endpoints.extend(endpoint(&item, env));
    }
    for item in tables(&mut whole, "source") {
        note_unverified(&item);
        definitions.sources.extend(source(&item, env));
    }
    root.finish();
    match reader.is_sound() {
        true => Ok(definitions),
        false => Err(reader.finish(&known_keys())),
    }
}

/// The entries of a list of tables; none if it is something else, which is a fault already.
fn tables<'t>(root: &mut Section<'t>, key: &'static str) -> Vec<Value<'t>> {
    let list = root.get(key);
    list.and_then(|list| list.items().ok()).unwrap_or_default()
}

/// Keys of an endpoint that the API does not take, and what to do instead.
const ENDPOINT_OF_FILE: [(&str, &str); 3] = [
    (
        "allow_networks",
        "remove it; only the daemon's own configuration grants networks, in [delivery] or for its own \
         endpoints",
    ),
    (
        "secrets",
        "give the newest in secret; `outboxd endpoints rotate` makes a new one with an overlap",
    ),
    (
        "secret_files",
        "give the newest in secret_file; `outboxd endpoints rotate` makes a new one with an overlap",
    ),
];

fn note_of_file_alone(item: &Value<'_>, keys: &[(&'static str, &str)]) {
    let Ok(section) = item.section() else {
        return;
    };
    for (key, fix) in keys {
        if section.has(key) {
            let problem = "this key is for the daemon's own configuration alone";
            section.fault(key, &Flaw::new(problem, *fix));
        }
    }
}

fn note_unverified(item: &Value<'_>) {
    let Ok(mut section) = item.section() else {
        return;
    };
    let verify = section.get("verify").and_then(|value| value.text().ok());
    if verify == Some("none") {
        let problem = "\"none\" is for the daemon's own configuration alone";
        let fix = "give the source a preset, a token, or a recipe";
        section.fault("verify", &Flaw::new(problem, fix));
    }
}

/// The definition as it stands, with what the files hold in the place of their names. Faults of the
/// files were noted when the definition was checked.
fn endpoint(item: &Value<'_>, env: &Environment) -> Option<Written> {
    let mut fields = fields(item)?;
    let own = [("secret_file", "secret")];
    for (file_key, key) in own.into_iter().chain(shaping::FILES) {
        put_file(&mut fields, file_key, key, env);
    }
    if let Some(Json::Object(auth)) = fields.get_mut("auth") {
        for (file_key, key) in shaping::AUTH_FILES {
            put_file(auth, file_key, key, env);
        }
    }
    written(fields)
}

fn source(item: &Value<'_>, env: &Environment) -> Option<Written> {
    let mut fields = fields(item)?;
    for (file_key, key) in sources::FILES {
        put_file(&mut fields, file_key, key, env);
    }
    if let Some(Json::Array(names)) = fields.shift_remove("secret_files") {
        let texts = names.iter().filter_map(|name| content(name, env));
        let texts: Vec<Json> = texts.collect();
        if !texts.is_empty() {
            fields.insert("secrets".into(), Json::Array(texts));
        }
    }
    written(fields)
}

fn fields(item: &Value<'_>) -> Option<Given> {
    match item.json() {
        Ok(Json::Object(fields)) => Some(fields),
        _ => None,
    }
}

fn written(mut fields: Given) -> Option<Written> {
    let id = fields.shift_remove("id")?.as_str()?.to_owned();
    Some(Written { id, fields })
}

fn put_file(fields: &mut Given, file_key: &str, key: &'static str, env: &Environment) {
    let name = fields.shift_remove(file_key);
    if let Some(text) = name.and_then(|name| content(&name, env)) {
        fields.insert(key.into(), text);
    }
}

/// What a file holds; `None` if none is named.
fn content(name: &Json, env: &Environment) -> Option<Json> {
    let name = name.as_str().filter(|name| !name.is_empty())?;
    let text = files::read_secret_text(&files::secret_path(name, env)).ok()?;
    Some(Json::from(&*text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Vec<String> {
        let Err(faults) = read(text, &Environment::default()) else {
            panic!("taken:\n{text}");
        };
        let told = |fault: Fault| {
            let (line, column) = (fault.line.unwrap_or(0), fault.column.unwrap_or(0));
            format!("{line}:{column}: {}: {}", fault.key, fault.problem)
        };
        faults.into_iter().map(told).collect()
    }

    #[test]
    fn all_faults_are_reported_with_their_positions() {
        let text = r#"
[listen]
http = ""
[[endpoint]]
id = "one"
url = "ftp://example.com"
allow_networks = ["10.0.0.0/8"]
secrets = []
timeout = 5
[[endpoint]]
id = "one"
[[source]]
id = "s"
verify = "none"
"#;
        assert_eq!(
            refused(text),
            [
                "2:2: listen: unknown key",
                "6:7: endpoint[0].url: the URL's scheme is neither https nor http",
                "7:18: endpoint[0].allow_networks: this key is for the daemon's own configuration alone",
                "8:11: endpoint[0].secrets: this key is for the daemon's own configuration alone",
                "9:11: endpoint[0].timeout: a duration is a string, not an integer",
                "10:1: endpoint[1].url: this key is missing",
                "11:6: endpoint[1].id: \"one\" is the id of endpoint[0] already",
                "14:10: source[0].verify: \"none\" is for the daemon's own configuration alone",
            ]
        );
        assert!(refused("[[endpoint]\n")[0].starts_with("1:"));
        assert_eq!(refused("endpoint = 1").len(), 1);
    }

    #[test]
    fn files_are_read_into_the_keys_that_stand_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let secret = path("secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        let (idp, old) = (path("idp", "hush"), path("old", "older"));
        let text = format!(
            r#"[[endpoint]]
id = "one"
url = "https://example.com"
secret_file = "{secret}"
auth = {{ type = "oauth2", token_url = "https://example.com/t", client_id = "c", client_secret_file = "{idp}" }}
[[source]]
id = "gh"
preset = "github"
secret_files = ["{idp}", "{old}"]
"#
        );
        let Ok(read) = read(&text, &Environment::default()) else {
            panic!("{:?}", refused(&text));
        };
        let [one] = &*read.endpoints else {
            panic!("one endpoint");
        };
        assert_eq!(one.id, "one");
        let as_json = |written: &Written| {
            let text = Json::Object(written.fields.clone()).to_string();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let auth = serde_json::json!({"type": "oauth2", "token_url": "https://example.com/t",
            "client_id": "c", "client_secret": "hush"});
        let expected = serde_json::json!({"url": "https://example.com", "auth": auth,
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
        assert_eq!(as_json(one), expected);
        let [gh] = &*read.sources else {
            panic!("one source");
        };
        let expected = serde_json::json!({"preset": "github", "secrets": ["hush", "older"]});
        assert_eq!((&*gh.id, as_json(gh)), ("gh", expected));
    }
}
