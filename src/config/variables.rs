//! Keys that are given in the environment: which variable names which key, and what a value
//! is in each form that a key may ask for.
//!
//! The name is `OUTBOXD_` and the key's path in upper case, `__` between levels. There is no
//! list of types: a key that wants a string gets the text as it is, others get it as TOML.
//! So nobody writes a string in quotes, and a string that looks like a number stays one. A
//! list of strings may also be written with commas. Nothing here repeats a value: it may
//! hold a secret.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::environment::{Assignment, PREFIX};
use super::fault::{Flaw, syntax_fix};

/// Between the levels of a key's path.
pub(super) const BETWEEN: &str = "__";

/// A variable that may name a key, and its value.
pub(super) struct Variable<'e> {
    pub name: &'e str,
    /// `None` if it is not UTF-8.
    forms: Option<Forms<'e>>,
}

struct Forms<'e> {
    text: &'e str,
    /// The text as a TOML string.
    string: DeValue<'e>,
    /// What the text is as TOML, or why it is none.
    toml: Result<DeValue<'e>, Flaw>,
    /// The parts between commas, as TOML strings.
    parts: DeValue<'e>,
}

/// The variables of an environment, with their values in every form.
pub(super) fn read<'e>(assignments: &'e [Assignment]) -> Vec<Variable<'e>> {
    let read = |given: &'e Assignment| Variable {
        name: &given.name,
        forms: given.value.to_str().map(Forms::of),
    };
    assignments.iter().map(read).collect()
}

/// The variable that gives the key at a path.
pub(super) fn variable_name(path: &str) -> String {
    format!("{PREFIX}{}", path.replace('.', BETWEEN).to_uppercase())
}

impl<'e> Forms<'e> {
    fn of(text: &'e str) -> Self {
        let trimmed = text.trim();
        let before = text.len() - text.trim_start().len();
        let toml = DeValue::parse(trimmed).map(Spanned::into_inner);
        let toml = toml.map_err(|error| {
            let at = before + error.span().map_or(0, |span| span.start);
            let characters = text.get(..at).unwrap_or(text).chars().count();
            let problem = format!("TOML, at character {}: {}", characters + 1, error.message());
            Flaw::new(problem, syntax_fix(error.message()))
        });
        Forms {
            text,
            string: DeValue::String(Cow::Borrowed(text)),
            toml,
            parts: DeValue::Array(parts(text)),
        }
    }

    /// Whether only TOML can be meant.
    fn is_bracketed(&self) -> bool {
        self.text.trim_start().starts_with(['[', '{'])
    }
}

/// What stands between commas, without the white space around it.
fn parts(text: &str) -> DeArray<'_> {
    let mut at = 0;
    let mut parts = DeArray::new();
    if text.trim().is_empty() {
        return parts;
    }
    for part in text.split(',') {
        let value = DeValue::String(Cow::Borrowed(part.trim()));
        parts.push(Spanned::new(at..at + part.len(), value));
        at += part.len() + 1;
    }
    parts
}

impl<'e> Variable<'e> {
    fn forms(&self) -> Result<&Forms<'e>, Flaw> {
        let flaw = || Flaw::new("this is not UTF-8", "write it as UTF-8");
        self.forms.as_ref().ok_or_else(flaw)
    }

    /// The text as it is. Quotes around it are an error: docker's `--env-file` leaves them,
    /// and with them a path would be another one.
    pub fn text(&self) -> Result<&str, Flaw> {
        let text = self.forms()?.text;
        let inside = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
        if inside('"').or(inside('\'')).is_some() {
            let fix = "write it without quotes: a variable's text is taken as it is";
            return Err(Flaw::new("the quotes are a part of this value", fix));
        }
        Ok(text)
    }

    /// The value as TOML. What is not TOML is a string, unless it begins as a list or a table.
    pub fn typed(&self) -> Result<&DeValue<'e>, Flaw> {
        let forms = self.forms()?;
        match &forms.toml {
            Ok(value) => Ok(value),
            Err(flaw) if forms.is_bracketed() => Err(flaw.clone()),
            Err(_) => Ok(&forms.string),
        }
    }

    /// The value as a list of strings: in TOML if it begins with a bracket, else its parts
    /// between commas.
    pub fn strings(&self) -> Result<&DeValue<'e>, Flaw> {
        let forms = self.forms()?;
        match forms.is_bracketed() {
            true => self.typed(),
            false => Ok(&forms.parts),
        }
    }

    /// Whether it is neither empty nor an empty list.
    pub fn is_filled(&self) -> bool {
        let filled = |forms: &Forms<'_>| match &forms.toml {
            Ok(DeValue::Array(items)) => !items.is_empty(),
            _ => !forms.text.is_empty(),
        };
        self.forms.as_ref().is_none_or(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_paths_in_upper_case() {
        assert_eq!(variable_name("data_dir"), "OUTBOXD_DATA_DIR");
        assert_eq!(variable_name("listen.http"), "OUTBOXD_LISTEN__HTTP");
    }
}
