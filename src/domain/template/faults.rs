//! What a rendering that fails says: short, with a place, and never a value of the event.

use minijinja::machinery::{Token, tokenize};
use minijinja::{Error, ErrorKind};

use super::names::Names;
use super::value::{Fields, Piece, Shape};

/// The longest message, in bytes.
const MAX_MESSAGE: usize = 300;

/// The longest name in a message, in bytes.
const MAX_NAME: usize = 120;

/// Why a rendering failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A name leads to no value.
    Undefined,
    /// A value does not fit what is done with it.
    Operation,
    /// The steps are used up.
    Steps,
    /// The output is too long.
    Output,
}

/// A rendering that failed. The message holds no values of the event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", line.map(|line| format!(" (line {line})")).unwrap_or_default())]
pub struct RenderFault {
    pub kind: FaultKind,
    /// From 1, in the source.
    pub line: Option<usize>,
    /// At most 300 bytes.
    pub message: String,
    /// The path that is undefined, such as `data.customer.name`.
    pub undefined: Option<String>,
}

/// The fault that the engine's error means.
pub(super) fn describe(error: &Error, source: &str, names: &Names) -> RenderFault {
    let line = error.line();
    match error.kind() {
        ErrorKind::OutOfFuel => RenderFault {
            kind: FaultKind::Steps,
            line,
            message: "the template needs too many steps: make its loops, texts or lists smaller"
                .to_owned(),
            undefined: None,
        },
        ErrorKind::WriteFailure => too_long(line),
        ErrorKind::UndefinedError => {
            let (text, last) = expression(error, source);
            undefined(text, last, line, names)
        }
        kind => RenderFault {
            kind: FaultKind::Operation,
            line,
            message: shortened(error.detail().unwrap_or(&kind.to_string()), MAX_MESSAGE),
            undefined: None,
        },
    }
}

/// The output is longer than its limit.
pub(super) fn too_long(line: Option<usize>) -> RenderFault {
    RenderFault {
        kind: FaultKind::Output,
        line,
        message: "the output is too long: print less, or use `|truncate(…)`".to_owned(),
        undefined: None,
    }
}

/// The expression at fault, or what stands before the filter or test at fault in its tag, whose
/// last path is then the one. The engine's range of `a.b.c` can begin at `b`.
fn expression<'a>(error: &Error, source: &'a str) -> (&'a str, bool) {
    let Some(range) = error.range() else {
        return ("", false);
    };
    let before = source.get(..range.start).unwrap_or_default();
    let head = before.trim_end();
    if ["|", " is", " is not"]
        .iter()
        .any(|word| head.ends_with(word))
    {
        let tag = ["{{", "{%"]
            .iter()
            .filter_map(|tag| head.rfind(tag))
            .max()
            .unwrap_or(0);
        return (head.get(tag + 2..).unwrap_or_default(), true);
    }
    let is_path = |c: char| c.is_alphanumeric() || "_.[]\"'".contains(c);
    let head = before.trim_end_matches(is_path).len();
    (source.get(head..range.end).unwrap_or_default(), false)
}

fn undefined(text: &str, last: bool, line: Option<usize>, names: &Names) -> RenderFault {
    let name = name_in(text, last, names);
    let why = name
        .as_deref()
        .and_then(|name| names.why_absent(name.split(['.', '[']).next().unwrap_or_default()));
    let message = match (&name, why) {
        (Some(name), Some(why)) => format!("`{name}` is undefined: {why}"),
        (Some(name), None) => {
            format!("`{name}` is undefined: correct the name, or write `{name}|default(\"…\")`")
        }
        (None, _) => "a value is undefined: write `…|default(\"…\")`".to_owned(),
    };
    RenderFault {
        kind: FaultKind::Undefined,
        line,
        message: shortened(&message, MAX_MESSAGE),
        undefined: name,
    }
}

/// The first path in an expression that does not lead to a value, or the last. Names that the
/// template sets itself are not known here; such a path counts only if there is no other.
fn name_in(text: &str, last: bool, names: &Names) -> Option<String> {
    let mut unknown = None;
    let mut paths = paths(text);
    if last {
        paths.reverse();
    }
    for path in paths {
        match missing(&path, names) {
            Missing::At(len) => return Some(spelled(path.get(..len).unwrap_or(&path))),
            Missing::Unknown => {
                unknown.get_or_insert(path);
            }
            Missing::Nowhere => {}
        }
    }
    unknown.map(|path| spelled(&path))
}

enum Part {
    Name(String),
    Text(String),
    Place(i64),
}

/// The paths (`data.items[0].name`) in an expression, in their order, without those that may be
/// undefined.
fn paths(text: &str) -> Vec<Vec<Part>> {
    let tokens: Vec<Token> = tokenize(text, true, Default::default())
        .map_while(Result::ok)
        .map(|(token, _)| token)
        .collect();
    let mut rest = &*tokens;
    let mut found = Vec::new();
    loop {
        match rest {
            [] => return found,
            // The name of a filter or of a test.
            [Token::Pipe, Token::Ident(_), after @ ..]
            | [
                Token::Ident("is"),
                Token::Ident("not"),
                Token::Ident(_),
                after @ ..,
            ]
            | [Token::Ident("is"), Token::Ident(_), after @ ..] => rest = after,
            [Token::Ident(name), after @ ..] if !is_word(name) => {
                let mut path = vec![Part::Name((*name).to_owned())];
                rest = follow(after, &mut path);
                let is_optional = matches!(
                    rest,
                    [Token::Pipe, Token::Ident("default" | "d"), ..]
                        | [
                            Token::Ident("is"),
                            Token::Ident("defined" | "undefined"),
                            ..
                        ]
                        | [
                            Token::Ident("is"),
                            Token::Ident("not"),
                            Token::Ident("defined"),
                            ..
                        ]
                );
                if !is_optional {
                    found.push(path);
                }
            }
            [_, after @ ..] => rest = after,
        }
    }
}

/// Adds the parts that follow a name, and gives what follows them.
fn follow<'a, 't>(mut rest: &'a [Token<'t>], path: &mut Vec<Part>) -> &'a [Token<'t>] {
    loop {
        let (part, after) = match rest {
            [Token::Dot, Token::Ident(name), after @ ..] => {
                (Some(Part::Name((*name).to_owned())), after)
            }
            [Token::Dot, Token::Int(n), after @ ..]
            | [
                Token::BracketOpen,
                Token::Int(n),
                Token::BracketClose,
                after @ ..,
            ] => (place(*n), after),
            [
                Token::BracketOpen,
                Token::Str(name),
                Token::BracketClose,
                after @ ..,
            ] => (Some(Part::Text((*name).to_owned())), after),
            [
                Token::BracketOpen,
                Token::String(name),
                Token::BracketClose,
                after @ ..,
            ] => (Some(Part::Text(name.to_string())), after),
            _ => return rest,
        };
        let Some(part) = part else { return rest };
        path.push(part);
        rest = after;
    }
}

fn place(n: u64) -> Option<Part> {
    i64::try_from(n).ok().map(Part::Place)
}

fn is_word(name: &str) -> bool {
    matches!(
        name,
        "and"
            | "or"
            | "not"
            | "in"
            | "is"
            | "if"
            | "else"
            | "true"
            | "false"
            | "none"
            | "True"
            | "False"
            | "None"
            | "range"
            | "loop"
    )
}

enum Missing {
    /// So many parts of the path, the last of which is missing.
    At(usize),
    Nowhere,
    /// It begins with a name that is not in [`Names`].
    Unknown,
}

fn missing(path: &[Part], names: &Names) -> Missing {
    let mut parts = path.iter();
    let Some(Part::Name(root)) = parts.next() else {
        return Missing::Unknown;
    };
    let Some(root_value) = names.value(root) else {
        return if names.why_absent(root).is_some() {
            Missing::At(1)
        } else {
            Missing::Unknown
        };
    };
    let mut piece = Piece::Value(root_value);
    for (n, part) in parts.enumerate() {
        let next = match (part, piece.shape()) {
            (Part::Name(name) | Part::Text(name), Shape::Map(fields)) => find(fields, name),
            (Part::Place(at), Shape::List(items)) => {
                usize::try_from(*at).ok().and_then(|at| items.get(at))
            }
            _ => None,
        };
        match next {
            Some(next) => piece = next,
            None => return Missing::At(n + 2),
        }
    }
    Missing::Nowhere
}

fn find<'a>(fields: Fields<'a>, name: &str) -> Option<Piece<'a>> {
    fields.get(name)
}

fn spelled(path: &[Part]) -> String {
    let mut out = String::new();
    for part in path {
        match part {
            Part::Name(name) if out.is_empty() => out.push_str(name),
            Part::Name(name) => {
                out.push('.');
                out.push_str(name);
            }
            Part::Text(name) => out.push_str(&format!("[{name:?}]")),
            Part::Place(n) => out.push_str(&format!("[{n}]")),
        }
    }
    shortened(&out, MAX_NAME)
}

/// At most `most` bytes of a text.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}
