//! Bytes that somebody sent, as text that a page can show: indented, as they are, or in hex. However
//! they look, they stay text.

use std::fmt::Write;

/// How much of a body a page shows, in bytes; in hex, where each takes more room, a quarter.
const SHOWN: usize = 16 * 1024;
/// The deepest indentation, in steps.
const DEEPEST: usize = 24;
const ROW: usize = 16;

/// How a body is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Pretty,
    Raw,
    Hex,
}

impl Form {
    pub const ALL: [Form; 3] = [Form::Pretty, Form::Raw, Form::Hex];

    pub fn as_str(self) -> &'static str {
        match self {
            Form::Pretty => "pretty",
            Form::Raw => "raw",
            Form::Hex => "hex",
        }
    }

    /// The form of this name; `Pretty` if there is none.
    pub fn named(name: &str) -> Form {
        let all = Form::ALL.into_iter();
        all.clone()
            .find(|form| form.as_str() == name)
            .unwrap_or(Form::Pretty)
    }
}

/// A body, as far as it is shown.
#[derive(Debug, PartialEq, Eq)]
pub struct BodyShown {
    pub text: String,
    pub form: Form,
    pub bytes: usize,
    pub is_cut: bool,
}

impl BodyShown {
    /// Shows a body. One that is not JSON is not indented.
    pub fn new(body: &[u8], is_json: bool, form: Form) -> BodyShown {
        let most = match form {
            Form::Hex => SHOWN / 4,
            Form::Pretty | Form::Raw => SHOWN,
        };
        let part = body.get(..most).unwrap_or(body);
        let text = match form {
            Form::Hex => hex(part),
            Form::Pretty if is_json => indented(&String::from_utf8_lossy(part)),
            Form::Pretty | Form::Raw => printable(&String::from_utf8_lossy(part)),
        };
        BodyShown {
            text,
            form,
            bytes: body.len(),
            is_cut: part.len() < body.len(),
        }
    }
}

/// Text without characters that a browser would not show, or that would change how others are read.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut out, c);
    }
    out
}

fn push(out: &mut String, c: char) {
    let is_hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
    match c {
        '\n' | '\t' => out.push(c),
        _ if c.is_control() || is_hidden => out.extend(c.escape_unicode()),
        _ => out.push(c),
    }
}

/// JSON with its parts on lines of their own. Strings and numbers stay as they were written, and so
/// does what is not JSON.
fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut chars = text.chars().filter(|c| *c != '\r').peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(DEEPEST)));
    };
    while let Some(c) = chars.next() {
        if in_string {
            push(&mut out, c);
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                let end = if c == '{' { '}' } else { ']' };
                match chars.next_if_eq(&end) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => push(&mut out, c),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (row, bytes) in bytes.chunks(ROW).enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(out, "{:08x} ", row * ROW);
        for at in 0..ROW {
            let gap = if at == ROW / 2 { " " } else { "" };
            let _ = match bytes.get(at) {
                Some(byte) => write!(out, "{gap} {byte:02x}"),
                None => write!(out, "{gap}   "),
            };
        }
        out.push_str("  ");
        let shown = |byte: &u8| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '.',
        };
        out.extend(bytes.iter().map(shown));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use askama::Template;
    use proptest::prelude::*;

    #[derive(Template)]
    #[template(source = "<pre>{{ text }}</pre>", ext = "html")]
    struct Pre<'a> {
        text: &'a str,
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_as_text(body in proptest::collection::vec(any::<u8>(), 0..200), is_json: bool) {
            for form in Form::ALL {
                let shown = BodyShown::new(&body, is_json, form);
                let page = Pre { text: &shown.text }.render().unwrap();
                let inside = &page["<pre>".len()..page.len() - "</pre>".len()];
                prop_assert!(!inside.contains(['<', '>', '"', '\'']), "{}", inside);
                prop_assert!(inside.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()));
            }
        }

        #[test]
        fn indenting_changes_nothing_but_white_space(value in "[\\[\\]{},:0-9a\" ]{0,60}") {
            let bare = |text: &str| text.replace([' ', '\n'], "");
            prop_assert_eq!(bare(&indented(&value)), bare(&value));
        }
    }

    #[test]
    fn json_is_indented_as_it_was_written() {
        let json = br#"{"a" : 1.0e0,"b":[ ],"c":[{"d":"x,\"{"},12345678901234567890]}"#;
        let shown = BodyShown::new(json, true, Form::Pretty);
        assert_eq!(
            shown.text,
            "{\n  \"a\": 1.0e0,\n  \"b\": [],\n  \"c\": [\n    {\n      \"d\": \"x,\\\"{\"\n    },\n    \
             12345678901234567890\n  ]\n}"
        );
    }

    #[test]
    fn what_would_hide_or_turn_text_is_spelled_out() {
        assert_eq!(printable("a\u{202e}b\0\r\n"), "a\\u{202e}b\\u{0}\\u{d}\n");
        let raw = BodyShown::new(b"<b>\xff", false, Form::Raw);
        assert_eq!((raw.text.as_str(), raw.is_cut), ("<b>\u{fffd}", false));
        let long = BodyShown::new(&[b'x'; SHOWN + 1], false, Form::Raw);
        assert!(long.is_cut && long.text.len() == SHOWN);
        let hex = BodyShown::new(b"0123456789abcdef\x00<", false, Form::Hex);
        assert_eq!(
            hex.text,
            "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef\n\
             00000010  00 3c                                             .<\n"
        );
    }
}
