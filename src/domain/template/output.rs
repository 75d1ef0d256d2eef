//! How printed values are written, and how many bytes of them.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::{AutoEscape, Error, ErrorKind, State, Value};

use super::call::ESCAPED;
use super::print;
use super::value::{Piece, Shape, fault};
use crate::domain::json::write_string;

/// How printed values are written.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// As they are; lists and maps as JSON.
    Text,
    /// As JSON values: texts in quotes. `|safe` and captured texts are written as they are.
    Json,
    /// Through the function, which appends its first argument, escaped, to the second. `|safe`
    /// and captured texts are written as they are.
    Escaped(fn(&str, &mut String)),
}

pub(super) fn auto_escape(output: Output) -> AutoEscape {
    match output {
        Output::Text => AutoEscape::None,
        Output::Json => AutoEscape::Custom("json".into()),
        Output::Escaped(_) => AutoEscape::Custom(ESCAPED.into()),
    }
}

/// What writes printed values. It stops when twice `most` bytes were printed, for a text that is
/// captured and then printed counts twice; the exact limit is checked at the end.
pub(super) fn formatter(
    output: Output,
    most: usize,
) -> impl Fn(&mut minijinja::Output, &mut State, &Value) -> Result<(), Error> + Send + Sync {
    let printed = AtomicUsize::new(0);
    move |out, _, value| {
        let text = written(output, value)?;
        let before = printed.fetch_add(text.len(), Ordering::Relaxed);
        if before.saturating_add(text.len()) > most.saturating_mul(2) {
            return Err(Error::from(ErrorKind::WriteFailure));
        }
        out.write_str(&text)?;
        Ok(())
    }
}

fn written(output: Output, value: &Value) -> Result<Cow<'_, str>, Error> {
    let plain = match value.as_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(scalar(value)?),
    };
    Ok(match output {
        _ if value.is_safe() => plain,
        Output::Text => plain,
        Output::Json if value.is_undefined() => Cow::Borrowed("null"),
        Output::Json if value.as_str().is_none() => plain,
        Output::Json => {
            let mut quoted = String::with_capacity(plain.len() + 2);
            write_string(&plain, &mut quoted);
            Cow::Owned(quoted)
        }
        Output::Escaped(escape) => {
            let mut escaped = String::with_capacity(plain.len());
            escape(&plain, &mut escaped);
            Cow::Owned(escaped)
        }
    })
}

/// A scalar; lists and maps were made texts before.
fn scalar(value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match Piece::Value(value).shape() {
        // Of `… if …` without an `else`.
        Shape::Undefined => {}
        Shape::Null => text.push_str("null"),
        Shape::Bool(value) => text.push_str(if value { "true" } else { "false" }),
        Shape::Number(number) => print::write_number(number, &mut text),
        Shape::Text(found) => text.push_str(found),
        other => {
            return Err(fault(format!("{} cannot be printed here", other.kind())));
        }
    }
    Ok(text)
}
