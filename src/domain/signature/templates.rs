//! The two templates of a style of one's own: `content`, which is signed, and `format`, which
//! becomes the header's value.
//!
//! A body is bytes, not always text, and may be as large as all that a template may print. So it
//! never passes through the template: there `body` is a mark, which is exchanged for the bytes
//! in what was rendered. What a filter or test would make of the body it would make of the
//! mark, and sign something that no receiver expects; so `body` can be printed and nothing else.
//! [`check`] refuses other uses when a style is saved, [`fill`] what it cannot see.

/// The longest template, in bytes.
pub(super) const MAX_TEMPLATE: usize = 4096;
/// How often one template may print the body: a loop could make gigabytes of it.
pub(super) const MAX_BODIES: usize = 4;

/// Stands for the body. Noncharacters of Unicode (section 23.7): no text has them to say
/// something.
const MARK: &str = "\u{fdd0}body\u{fdd1}";
const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Statements that take what is printed between them, the body too, and make something else
/// of it.
const CAPTURES: [&str; 5] = ["autoescape", "call", "filter", "macro", "set"];

/// What a template sees.
#[derive(Clone, Debug)]
pub struct Variables<'a> {
    pub id: &'a str,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Stands for the body.
    pub body: &'static str,
    /// Encoded, newest first. `None` in `content`, where the name is not defined.
    pub signatures: Option<&'a [String]>,
}

/// Why a template cannot be one of a style, its syntax aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    #[error("the template is longer than {MAX_TEMPLATE} bytes")]
    Length,
    #[error("the template holds U+FDD0 or U+FDD1, which are no characters: remove them")]
    Noncharacter,
    #[error(
        "the body can only be printed, as {{{{ body }}}}, without a filter or test (line {line})"
    )]
    Body { line: usize },
    #[error("`{word}` and the body do not go together in one template: remove it (line {line})")]
    Captures { word: &'static str, line: usize },
    #[error("`signatures` are made from `content` and so not known in it (line {line})")]
    Signatures { line: usize },
}

/// What was rendered does not print the body as it is, or too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body can only be printed as it is, and at most {MAX_BODIES} times")]
pub(super) struct BadBody;

impl<'a> Variables<'a> {
    pub(super) fn new(id: &'a str, timestamp: u64, signatures: Option<&'a [String]>) -> Self {
        Variables {
            id,
            timestamp,
            body: MARK,
            signatures,
        }
    }
}

/// The rendered text in pieces, with the body where it was printed.
pub(super) fn fill<'a>(rendered: &'a str, body: &'a [u8]) -> Result<Vec<&'a [u8]>, BadBody> {
    let mut pieces = Vec::new();
    for (n, text) in rendered.split(MARK).enumerate() {
        if n > MAX_BODIES || text.contains(MARKS) {
            return Err(BadBody);
        }
        if n > 0 {
            pieces.push(body);
        }
        pieces.push(text.as_bytes());
    }
    Ok(pieces)
}

/// Checks what a template does with the body, and that `content` uses no signatures. Its syntax
/// is checked elsewhere.
pub(super) fn check(template: &str, is_content: bool) -> Result<(), BadTemplate> {
    if template.len() > MAX_TEMPLATE {
        return Err(BadTemplate::Length);
    }
    if template.contains(MARKS) {
        return Err(BadTemplate::Noncharacter);
    }
    let tags = tags(template);
    for tag in &tags {
        let (words, line) = (words(tag.inside), tag.line);
        if is_content && words.contains(&"signatures") {
            return Err(BadTemplate::Signatures { line });
        }
        if words.contains(&"body") && !tag.prints_body() {
            return Err(BadTemplate::Body { line });
        }
    }
    if !tags.iter().any(Tag::prints_body) {
        return Ok(());
    }
    for tag in tags.iter().filter(|tag| tag.kind == Kind::Statement) {
        let first = words(tag.inside).first().copied();
        if let Some(word) = CAPTURES.into_iter().find(|word| first == Some(*word)) {
            let line = tag.line;
            return Err(BadTemplate::Captures { word, line });
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Expression,
    Statement,
}

/// What stands between `{{` and `}}`, or `{%` and `%}`.
struct Tag<'a> {
    kind: Kind,
    inside: &'a str,
    /// From 1.
    line: usize,
}

impl Tag<'_> {
    fn prints_body(&self) -> bool {
        let control = |c: char| c.is_whitespace() || c == '-' || c == '+';
        self.kind == Kind::Expression && self.inside.trim_matches(control) == "body"
    }
}

/// The expressions and statements of a template; comments are left out.
fn tags(template: &str) -> Vec<Tag<'_>> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(rest) = template.get(at..) {
        let openings = ["{{", "{%", "{#"].into_iter();
        let opening = openings.filter_map(|mark| Some((rest.find(mark)?, mark)));
        let Some((begin, mark)) = opening.min() else {
            break;
        };
        let inside = rest.get(begin + 2..).unwrap_or_default();
        let (kind, end) = match mark {
            "{{" => (Some(Kind::Expression), end_of(inside, "}}")),
            "{%" => (Some(Kind::Statement), end_of(inside, "%}")),
            _ => (None, inside.find("#}").unwrap_or(inside.len())),
        };
        if let Some(kind) = kind {
            let before = template.get(..at + begin).unwrap_or_default();
            tags.push(Tag {
                kind,
                inside: inside.get(..end).unwrap_or_default(),
                line: before.matches('\n').count() + 1,
            });
        }
        at += begin + 2 + end + 2;
    }
    tags
}

/// Where `close` stands, strings left out; the end if it is missing.
fn end_of(inside: &str, close: &str) -> usize {
    let places = inside.char_indices();
    outside_of_strings(places)
        .map(|(at, _)| at)
        .find(|&at| inside.get(at..).is_some_and(|rest| rest.starts_with(close)))
        .unwrap_or(inside.len())
}

/// The names in a tag: not what stands in strings, nor attributes after a dot.
fn words(inside: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin: Option<usize> = None;
    let mut after_dot = false;
    let ends = std::iter::once((inside.len(), ' '));
    for (at, c) in outside_of_strings(inside.char_indices()).chain(ends) {
        if c.is_alphanumeric() || c == '_' {
            begin.get_or_insert(at);
            continue;
        }
        if let Some(begin) = begin.take() {
            if !after_dot {
                words.extend(inside.get(begin..at));
            }
            after_dot = false;
        }
        after_dot = c == '.' || (after_dot && c.is_whitespace());
    }
    words
}

/// Leaves out what stands in quotes; the quotes stay.
fn outside_of_strings(
    places: impl Iterator<Item = (usize, char)>,
) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut escaped = false;
    places.filter(move |&(_, c)| match quote {
        None => {
            if c == '"' || c == '\'' {
                quote = Some(c);
            }
            true
        }
        Some(_) if escaped => {
            escaped = false;
            false
        }
        Some(_) if c == '\\' => {
            escaped = true;
            false
        }
        Some(open) if c == open => {
            quote = None;
            true
        }
        Some(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_body_can_be_printed_and_nothing_else() {
        for good in [
            "{{ body }}",
            "{{body}}",
            "{{- body -}}",
            "{{ id }}.{{ timestamp }}.{{ body }}",
            "body {{ id }} {# body | upper #} {{ 'body' ~ \"}} body\" }}",
            "{% if id == 'x' %}{{ body }}{% endif %}",
            "{{ id.body }}",
            "{% set x = id %}{{ x }}",
            "{{",
            "{{ body",
            "",
        ] {
            assert_eq!(check(good, true), Ok(()), "{good}");
        }
        for bad in [
            "{{ body | upper }}",
            "{{ body ~ id }}",
            "{{ '}}' ~ body }}",
            "{{ \"\\\"}}\" ~ body }}",
            "{% if body %}x{% endif %}",
            "{% set x = body %}",
            "{{ (body) }}",
        ] {
            assert_eq!(
                check(bad, true),
                Err(BadTemplate::Body { line: 1 }),
                "{bad}"
            );
        }
        for (word, bad) in [
            ("set", "\n{% set x %}{{ body }}{% endset %}{{ x | length }}"),
            ("filter", "\n{%- filter upper %}{{ body }}{% endfilter %}"),
        ] {
            let refused = Err(BadTemplate::Captures { word, line: 2 });
            assert_eq!(check(bad, true), refused, "{bad}");
        }
        assert_eq!(
            check("{{ signatures[0] }}", true),
            Err(BadTemplate::Signatures { line: 1 })
        );
        assert_eq!(check("{{ signatures | join(',') }}", false), Ok(()));
        assert_eq!(check("\u{fdd0}", true), Err(BadTemplate::Noncharacter));
        assert_eq!(check(&"x".repeat(4097), true), Err(BadTemplate::Length));
    }

    #[test]
    fn the_body_takes_the_place_of_its_mark() {
        let rendered = format!("a.{MARK}.{MARK}");
        let pieces = fill(&rendered, b"\xff\x00").unwrap();
        assert_eq!(pieces.concat(), b"a.\xff\x00.\xff\x00");
        assert_eq!(fill("x", b"b").unwrap(), [b"x"]);
        assert!(fill(&MARK.repeat(MAX_BODIES), b"b").is_ok());
        assert_eq!(fill(&MARK.repeat(MAX_BODIES + 1), b"b"), Err(BadBody));
        assert_eq!(fill(&MARK.to_uppercase(), b"b"), Err(BadBody));
        assert_eq!(fill("\u{fdd0}", b"b"), Err(BadBody));
    }

    proptest! {
        #[test]
        fn any_template_is_taken_or_refused(text in "([{}%#'\"\\\\. a\u{e9}-]|body|set){0,40}") {
            let _ = check(&text, true);
        }

        #[test]
        fn whatever_the_body_holds_it_is_put_in_once(body in any::<Vec<u8>>()) {
            let rendered = format!("x{MARK}y");
            let filled = fill(&rendered, &body).unwrap().concat();
            prop_assert_eq!(filled, [b"x", body.as_slice(), b"y"].concat());
        }
    }
}
