//! Loads the configuration in effect, from a file or from the defaults.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::environment::PREFIX;
use super::fault::{DUPLICATE, Fault, Faults, Lines, syntax_fix};
use super::files::read_whole;
use super::reader::{At, Flaw, Reader, Section};
use super::sections::Reading;
use super::unknown::{is_meant, unknown_variable};
use super::variables::{Variable, variable_name};
use super::{Backup, Config, Environment, Listen, backup, sections, variables};

/// The largest configuration file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A configuration without fault.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file it came from; `None` if there is none.
    pub path: Option<PathBuf>,
    /// The variables that gave keys.
    pub variables: Vec<String>,
}

/// Reads and checks the configuration: from `path`, else `$OUTBOXD_CONFIG`, else the
/// system's file if it is there, else the defaults. A file that is named must exist. Keys
/// that the environment gives win over all of them.
///
/// # Errors
///
/// All faults at once.
pub fn load(path: Option<&Path>, env: &Environment) -> Result<Loaded, Faults> {
    let Some((path, text)) = read_text(path, env)? else {
        return parse("", env);
    };
    match parse(&text, env) {
        Ok(loaded) => Ok(Loaded {
            path: Some(path),
            ..loaded
        }),
        Err(faults) => Err(Faults {
            path: Some(path),
            list: faults.list,
        }),
    }
}

/// Where the daemon listens, for clients: all other tables are left alone, and no secret
/// or token file is opened, as a client of the daemon may not be permitted to read them. The
/// same holds for the variables of other tables.
///
/// # Errors
///
/// The file cannot be read, is not TOML, or `[listen]` or its variables have faults.
pub fn load_listen(path: Option<&Path>, env: &Environment) -> Result<Listen, Faults> {
    load_table(path, env, "listen", |reader, section| {
        sections::read_listen(reader, section, Reading::Client, env)
    })
}

/// How the log is shipped, for `restore`: all other tables are left alone.
///
/// # Errors
///
/// The file cannot be read, is not TOML, or `[backup]` or its variables have faults.
pub fn load_backup(path: Option<&Path>, env: &Environment) -> Result<Backup, Faults> {
    load_table(path, env, "backup", |_, section| backup::read(section, env))
}

/// One table of the file.
fn load_table<T>(
    path: Option<&Path>,
    env: &Environment,
    name: &'static str,
    read: impl for<'t> FnOnce(&'t Reader<'t>, Section<'t>) -> T,
) -> Result<T, Faults> {
    let (path, text) = match read_text(path, env)? {
        Some((path, text)) => (Some(path), text),
        None => (None, String::new()),
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    let variables = variables::read(&env.assignments);
    let reader = Reader::new(&text, &variables);
    note_syntax(&reader, &text, &errors);
    note_unknown(&reader, &variables, &variable_name(name));
    if errors.is_empty() {
        let section = reader.root(table.get_ref()).section(name);
        let found = read(&reader, section);
        if reader.is_sound() {
            return Ok(found);
        }
    }
    let list = reader.finish(&known_keys());
    Err(Faults { path, list })
}

/// The text of a file that a key names.
pub(super) fn read_named(path: &Path) -> Result<String, Faults> {
    let read = read_text(Some(path), &Environment::default())?;
    Ok(read.map(|(_, text)| text).unwrap_or_default())
}

/// The file and its text; `None` if none is named and the system's is not there.
fn read_text(path: Option<&Path>, env: &Environment) -> Result<Option<(PathBuf, String)>, Faults> {
    let named = path.or(env.config.as_deref());
    let Some(path) = named.or(env.system_config.as_deref()) else {
        return Ok(None);
    };
    let faulty = |place, problem: &str, fix| {
        Err(Faults {
            path: Some(path.to_owned()),
            list: vec![Fault::new(place, "", problem, fix)],
        })
    };
    let content = match read_whole(path, MAX_FILE) {
        Ok(content) => content,
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => {
            let problem = format!("cannot read the configuration: {error}");
            let fix = "name a file that is there and readable with --config or OUTBOXD_CONFIG";
            return faulty(None, &problem, fix);
        }
    };
    match String::from_utf8(content) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let valid = String::from_utf8_lossy(error.as_bytes().get(..valid).unwrap_or(&[]));
            let place = Lines::of(&valid).place(valid.len());
            faulty(Some(place), "this is not UTF-8", "save the file as UTF-8")
        }
    }
}

/// Checks the text of a configuration; files that it names are read.
///
/// # Errors
///
/// All faults at once.
pub fn parse(text: &str, env: &Environment) -> Result<Loaded, Faults> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let variables = variables::read(&env.assignments);
    let reader = Reader::new(text, &variables);
    let faulty = || Faults {
        path: None,
        list: reader.finish(&known_keys()),
    };
    note_syntax(&reader, text, &errors);
    note_unknown(&reader, &variables, PREFIX);
    // After a syntax error the tree is incomplete, and its faults would mislead. A key given
    // twice leaves the rest as it was written.
    if errors.iter().any(|error| error.message() != DUPLICATE) {
        return Err(faulty());
    }
    let config = sections::read(&reader, reader.root(table.get_ref()), env);
    if reader.is_sound() {
        return Ok(Loaded {
            config,
            path: None,
            variables: named(&variables),
        });
    }
    Err(faulty())
}

/// Notes what is not TOML.
pub(super) fn note_syntax(reader: &Reader<'_>, text: &str, errors: &[toml::de::Error]) {
    if errors.is_empty() {
        return;
    }
    let known = known_keys();
    for error in errors {
        let at = error.span().map(|span| span.start);
        let key = key_at(text, at, &known);
        let problem = format!("TOML: {}", error.message());
        reader.fault(
            at.map_or(At::Nowhere, At::File),
            &key,
            None,
            &Flaw::new(problem, syntax_fix(error.message())),
        );
    }
}

/// The variables that gave keys.
fn named(variables: &[Variable<'_>]) -> Vec<String> {
    if variables.is_empty() {
        return Vec::new();
    }
    let known = known_variables();
    let names = variables.iter().map(|given| given.name);
    let named = names.filter(|name| known.contains(*name));
    named.map(str::to_owned).collect()
}

/// Notes each variable that was meant to name a key and names none, of those whose name begins so.
fn note_unknown<'t>(reader: &Reader<'t>, variables: &'t [Variable<'t>], prefix: &str) {
    if variables.is_empty() {
        return;
    }
    let known = known_variables();
    for variable in variables {
        let name = variable.name;
        if name.starts_with(prefix) && !known.contains(name) && is_meant(name, &known) {
            let at = At::Variable(variable.name, 0);
            reader.fault(at, "", None, &unknown_variable(variable.name, &known));
        }
    }
}

/// Every key there is, without indices, such as `endpoint.retry.first`: what is asked for
/// when a file has one of each table.
pub(super) fn known_keys() -> BTreeSet<String> {
    known(|reader| reader.asked())
}

/// Every variable that names a key.
pub(super) fn known_variables() -> BTreeSet<String> {
    known(|reader| reader.asked_variables())
}

/// Every key of the configuration, including those of sources.
#[cfg(test)]
pub(super) fn read_keys() -> BTreeSet<String> {
    known_in(
        "endpoint = [{}]\nsource = [{}]\nauth.tokens = [{}]",
        |reader| reader.asked(),
    )
}

/// What is known when everything was asked for.
fn known(of: impl Fn(&Reader<'_>) -> BTreeSet<String>) -> BTreeSet<String> {
    known_in("endpoint = [{}]\nauth.tokens = [{}]", of)
}

fn known_in(text: &str, of: impl Fn(&Reader<'_>) -> BTreeSet<String>) -> BTreeSet<String> {
    let (table, _) = DeTable::parse_recoverable(text);
    let reader = Reader::new(text, &[]);
    sections::read(
        &reader,
        reader.root(table.get_ref()),
        &Environment::default(),
    );
    of(&reader)
}

/// The key that a syntax error is about, as far as the line tells. Only names that exist
/// are repeated: on a line that does not parse anything might be a secret.
fn key_at(text: &str, at: Option<usize>, known: &BTreeSet<String>) -> String {
    let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = text
        .get(start..)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    let name = line
        .split('=')
        .next()
        .unwrap_or_default()
        .trim()
        .trim_matches(['[', ']']);
    let is_known = |path: &String| path == name || path.ends_with(&format!(".{name}"));
    if !name.is_empty() && known.iter().any(is_known) {
        name.to_owned()
    } else {
        String::new()
    }
}
