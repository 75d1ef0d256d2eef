//! Where a recipe finds a text in a request.

use http::header::HeaderName;

use super::call::{View, first};
use super::pointer::{Pointer, other_key, scalar};
use super::soap;
use crate::domain::nearest::nearest;

/// The longest text that is read, in bytes. Signatures, times, ids and types are shorter.
const MAX_TEXT: usize = 4096;

/// One place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `header:NAME`
    Header(HeaderName),
    /// `part:HEADER:NAME`: the part of a list `name=value,…`.
    Part(HeaderName, Box<str>),
    /// `query:NAME`
    Query(Box<str>),
    /// `form:NAME`
    Form(Box<str>),
    /// `body:/POINTER` into the JSON of the body; several values are joined.
    Body(Pointer),
    /// `item:/POINTER` into the element that `split` has made an event.
    Item(Pointer),
    /// `named:/POINTER`: the last name of the pointer, if there is such a value in the body.
    Named(Pointer),
    /// `item-named:/POINTER`: the same in the element.
    ItemNamed(Pointer),
    /// `key:NAME`: the first key of the body's object that is not this one.
    OtherKey(Box<str>),
    /// `soap:NAME`: of a Salesforce outbound message.
    Soap(soap::Field),
    /// `text:TEXT`, always the same.
    Text(Box<str>),
}

/// The kinds, as they are written before the colon.
const KINDS: [&str; 11] = [
    "header",
    "part",
    "query",
    "form",
    "body",
    "item",
    "named",
    "item-named",
    "key",
    "soap",
    "text",
];

/// The element of an array that is an event of its own.
pub(super) type Item<'t> = Option<&'t [u8]>;

impl Place {
    /// # Errors
    /// What is wrong, and how to fix it.
    pub(super) fn parse(text: &str) -> Result<Place, (String, String)> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let pointer = || {
            Pointer::parse(rest).ok_or_else(|| {
                let fix = "write one such as \"body:/data/id\"; `*` stands for every item";
                ("this is not a JSON pointer".to_owned(), fix.to_owned())
            })
        };
        let named = || match rest {
            "" => Err((
                format!("there is no name after \"{kind}:\""),
                "write one".to_owned(),
            )),
            rest => Ok(rest.into()),
        };
        Ok(match kind {
            "header" => Place::Header(header(rest)?),
            "part" => {
                let (name, part) = rest.split_once(':').unwrap_or((rest, ""));
                if part.is_empty() {
                    let problem = "there is no name of a part".to_owned();
                    return Err((problem, "write such as \"part:x-signature:t\"".to_owned()));
                }
                Place::Part(header(name)?, part.into())
            }
            "query" => Place::Query(named()?),
            "form" => Place::Form(named()?),
            "body" => Place::Body(pointer()?),
            "item" => Place::Item(pointer()?),
            "named" => Place::Named(pointer()?),
            "item-named" => Place::ItemNamed(pointer()?),
            "key" => Place::OtherKey(named()?),
            "text" => Place::Text(named()?),
            "soap" => Place::Soap(soap::Field::named(rest).ok_or_else(|| {
                let problem = "there is no such field".to_owned();
                (problem, "write OrganizationId or Id".to_owned())
            })?),
            kind => {
                let fix = match nearest(kind, KINDS.into_iter()) {
                    Some(meant) => format!("did you mean \"{meant}:\"?"),
                    None => "write one such as \"header:x-signature\" or \"body:/id\"".to_owned(),
                };
                return Err(("this is not a place of a request".to_owned(), fix));
            }
        })
    }

    /// Whether it is in an element and not in the call.
    pub(super) fn is_of_item(&self) -> bool {
        matches!(self, Place::Item(_) | Place::ItemNamed(_))
    }

    /// The text that is there in the call, unless it is empty or too long.
    pub(super) fn read(&self, view: &View<'_>) -> Option<String> {
        view.note_read();
        let text = match self {
            Place::Header(name) => view.header(name)?.to_owned(),
            Place::Part(name, part) => {
                let mut values = view.headers(name).flat_map(|value| parts(value, part));
                values.next()?.to_owned()
            }
            Place::Query(name) => first(view.query(), name)?.to_owned(),
            Place::Form(name) => first(view.form()?, name)?.to_owned(),
            Place::Body(pointer) => joined(pointer, view.document())?,
            Place::Named(pointer) => named(pointer, view.document())?,
            Place::Item(_) | Place::ItemNamed(_) => return None,
            Place::OtherKey(name) => other_key(view.document(), name)?,
            Place::Soap(field) => soap::read(view.call.body, *field)?,
            Place::Text(text) => text.to_string(),
        };
        bounded(text)
    }

    /// The text that is there in an element, unless it is empty or too long.
    pub(super) fn read_item(&self, item: &[u8]) -> Option<String> {
        match self {
            Place::Item(pointer) => bounded(joined(pointer, item)?),
            Place::ItemNamed(pointer) => bounded(named(pointer, item)?),
            _ => None,
        }
    }

    /// Whether something is there, be it empty or too long.
    pub(super) fn is_there(&self, view: &View<'_>) -> bool {
        match self {
            Place::Header(name) | Place::Part(name, _) => view.call.headers.contains_key(name),
            Place::Query(name) => first(view.query(), name).is_some(),
            Place::Form(name) => view.form().is_some_and(|form| first(form, name).is_some()),
            Place::Body(pointer) => !pointer.find(view.document()).is_empty(),
            // A message without its organization is one of another.
            Place::Soap(_) => true,
            other => other.read(view).is_some(),
        }
    }

    /// What a fault calls it. Never what stands there.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Header(name) | Place::Part(name, _) => format!("the header {name}"),
            Place::Query(name) => format!("the query parameter {name}"),
            Place::Form(name) => format!("the form field {name}"),
            _ => "the value in the body".to_owned(),
        }
    }

    /// The header that it is in.
    pub(super) fn header(&self) -> Option<&HeaderName> {
        match self {
            Place::Header(name) | Place::Part(name, _) => Some(name),
            _ => None,
        }
    }

    pub(super) fn is_constant(&self) -> bool {
        matches!(self, Place::Text(_))
    }

    /// Whether reading it reads the body.
    pub(super) fn is_in_body(&self) -> bool {
        !matches!(
            self,
            Place::Header(_) | Place::Part(..) | Place::Query(_) | Place::Text(_)
        )
    }
}

fn bounded(text: String) -> Option<String> {
    (!text.is_empty() && text.len() <= MAX_TEXT).then_some(text)
}

/// The values of a name in a list `name=value,name=value`.
pub(super) fn parts<'t>(list: &'t str, name: &str) -> impl Iterator<Item = &'t str> {
    list.split(',').filter_map(move |part| {
        let (own, value) = part.trim().split_once('=')?;
        (own == name).then_some(value)
    })
}

fn header(name: &str) -> Result<HeaderName, (String, String)> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        let fix = "write letters, digits and hyphens, such as \"header:x-signature\"";
        ("this is not a header name".to_owned(), fix.to_owned())
    })
}

/// One value; several are joined so that different lists give different texts.
fn joined(pointer: &Pointer, json: &[u8]) -> Option<String> {
    let found = pointer.find(json);
    let mut texts = found.into_iter().map(scalar);
    let first = texts.next()??;
    let mut rest = texts.peekable();
    if rest.peek().is_none() {
        return Some(first);
    }
    let mut joined = escaped(&first);
    for text in rest {
        joined.push(' ');
        joined.push_str(&escaped(&text?));
    }
    Some(joined)
}

/// Without spaces, which separate.
pub(super) fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(' ', "%20")
}

fn named(pointer: &Pointer, json: &[u8]) -> Option<String> {
    match pointer.find(json).is_empty() {
        true => None,
        false => pointer.last().map(str::to_owned),
    }
}
