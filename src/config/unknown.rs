//! What a name that no key has was meant to be: of a key in the file, and of a variable.

use std::collections::BTreeSet;

use super::environment::{OTHERS, PREFIX};
use super::fault::{At, Flaw};
use super::variables::BETWEEN;
use crate::domain::nearest::nearest;

/// A key that nobody took.
pub(super) struct Unknown<'t> {
    pub name: &'t str,
    pub at: At<'t>,
    pub path: String,
    pub endpoint: Option<&'t str>,
    pub siblings: Vec<&'static str>,
}

impl Unknown<'_> {
    /// What to write instead; `known` are the paths of all keys there are.
    pub fn fix(&self, known: &BTreeSet<String>) -> String {
        // A slip of a key here is likelier than a key of another table.
        if let Some(name) = nearest(self.name, self.siblings.iter().copied()) {
            return format!("did you mean {name:?}?");
        }
        let elsewhere: Vec<String> = known
            .iter()
            .filter(|path| {
                path.rsplit_once('.')
                    .is_some_and(|(_, name)| name == self.name)
            })
            .map(|path| format!("{path:?}"))
            .collect();
        if !elsewhere.is_empty() {
            let place = if self.path == self.name {
                "at the top"
            } else {
                "in this table"
            };
            return format!(
                "did you mean {}? it is not a key {place}",
                elsewhere.join(" or ")
            );
        }
        format!("remove it; the keys here are {}", self.siblings.join(", "))
    }
}

/// Whether a variable that names no key was meant to: it has two underscores, has them wrong, or is a
/// table. Another name that begins so is a script's or a service manager's own; `known` are the names of keys.
pub(super) fn is_meant(name: &str, known: &BTreeSet<String>) -> bool {
    let letters = |name: &str| name.replace('_', "").to_uppercase();
    let own = letters(name);
    let is_table = |key: &String| key.starts_with(&format!("{name}{BETWEEN}"));
    let is_like = |key: &String| letters(key) == own || is_table(key);
    name.contains(BETWEEN) || known.iter().any(is_like)
}

/// What is wrong with a variable that names no key; `known` are the names that do.
pub(super) fn unknown_variable(name: &str, known: &BTreeSet<String>) -> Flaw {
    let others = OTHERS.map(str::to_owned);
    let all = known.iter().cloned().chain(others).collect();
    Flaw::new("this variable names no key", unknown_fix(name, &all))
}

fn unknown_fix(name: &str, known: &BTreeSet<String>) -> String {
    let begins = |whole: &str, part: &str| {
        let rest = whole.strip_prefix(part);
        rest.is_some_and(|rest| rest.starts_with(BETWEEN))
    };
    if let Some(whole) = known.iter().find(|whole| begins(name, whole)) {
        return format!("set {whole}, which takes the whole value");
    }
    if let Some(key) = known.iter().find(|key| begins(key, name)) {
        return format!("give each key of this table a variable of its own, such as {key}");
    }
    let tail = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let key = |tail: &str| tail.rsplit(BETWEEN).next().map(str::to_owned);
    let meant = tail(name);
    let tails: Vec<String> = known.iter().map(|name| tail(name)).collect();
    let same_key = tails.iter().filter(|tail| key(tail) == key(&meant));
    let same_key: Vec<&str> = same_key.map(String::as_str).collect();
    let shown = |tail: &str| format!("{PREFIX}{}", tail.to_uppercase());
    let all = tails.iter().map(String::as_str);
    let near = nearest(&meant, same_key.iter().copied());
    match near.or_else(|| nearest(&meant, all).filter(|_| same_key.is_empty())) {
        Some(tail) => format!("did you mean {}?", shown(tail)),
        None if !same_key.is_empty() => {
            let names: Vec<String> = same_key.into_iter().map(shown).collect();
            format!("did you mean {}?", names.join(" or "))
        }
        None => "unset it; a name is OUTBOXD_ and the key in upper case with two underscores \
                 between levels, such as OUTBOXD_LISTEN__HTTP"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_what_was_meant() {
        let known = [
            "CONFIG",
            "DATA_DIR",
            "ENDPOINT",
            "LISTEN__HTTP",
            "LOG__LEVEL",
            "OUTBOX__MAX_SIZE",
            "RETENTION__MAX_SIZE",
        ];
        let known = known.map(|name| format!("{PREFIX}{name}")).into();
        for (name, fix) in [
            ("LISEN__HTTP", "did you mean OUTBOXD_LISTEN__HTTP?"),
            ("LISTEN_HTTP", "did you mean OUTBOXD_LISTEN__HTTP?"),
            ("listen__http", "did you mean OUTBOXD_LISTEN__HTTP?"),
            ("HTTP", "did you mean OUTBOXD_LISTEN__HTTP?"),
            ("CONFG", "did you mean OUTBOXD_CONFIG?"),
            ("DATADIR", "did you mean OUTBOXD_DATA_DIR?"),
            (
                "MAX_SIZE",
                "did you mean OUTBOXD_OUTBOX__MAX_SIZE or OUTBOXD_RETENTION__MAX_SIZE?",
            ),
            (
                "RETNTION__MAX_SIZE",
                "did you mean OUTBOXD_RETENTION__MAX_SIZE?",
            ),
            (
                "ENDPOINT__0__URL",
                "set OUTBOXD_ENDPOINT, which takes the whole value",
            ),
            (
                "LISTEN",
                "give each key of this table a variable of its own, such as OUTBOXD_LISTEN__HTTP",
            ),
        ] {
            assert_eq!(unknown_fix(&format!("{PREFIX}{name}"), &known), fix);
        }
        for (name, meant) in [
            ("LISTEN_HTTP", true),
            ("DATADIR", true),
            ("log__level", true),
            ("NOWHERE__X", true),
            ("BIN", false),
            ("LOG", true),
            ("HTTP", false),
        ] {
            assert_eq!(
                is_meant(&format!("{PREFIX}{name}"), &known),
                meant,
                "{name}"
            );
        }
        for name in ["", "ENTIRELY_DIFFERENT", &"X".repeat(5000)] {
            let fix = unknown_fix(&format!("{PREFIX}{name}"), &known);
            assert!(fix.starts_with("unset it; "), "{fix}");
        }
    }
}
