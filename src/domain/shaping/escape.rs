//! Printed values in the message of a preset, so that the service shows them and does not interpret
//! them: no mention, link or formatting comes out of an event's data.

use crate::domain::template::Output;

/// How a service's text is escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Escape {
    /// It shows text as it is.
    None,
    /// `&`, `<` and `>` are entities: Slack, where mentions and links stand in `<…>`.
    Entities,
    /// HTML in which names after `@` are mentions: Telegram.
    Html,
    /// A backslash before what Markdown interprets, and nothing that looks like a mention.
    Markdown,
    /// Mentions and links stand in `<…>`, and nothing escapes it: Google Chat.
    Brackets,
}

impl Escape {
    pub fn output(self) -> Output {
        match self {
            Escape::None => Output::Text,
            Escape::Entities => Output::Escaped(entities),
            Escape::Html => Output::Escaped(html),
            Escape::Markdown => Output::Escaped(markdown),
            Escape::Brackets => Output::Escaped(brackets),
        }
    }
}

/// Keeps what it follows from being taken together with what comes after it.
const ZERO_WIDTH_SPACE: char = '\u{200b}';

fn entities(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

fn html(text: &str, out: &mut String) {
    for part in text.split_inclusive('@') {
        entities(part, out);
        if part.ends_with('@') {
            out.push(ZERO_WIDTH_SPACE);
        }
    }
}

fn markdown(text: &str, out: &mut String) {
    for c in text.chars() {
        if "\\*_~`|>#[]()<!".contains(c) {
            out.push('\\');
        }
        out.push(c);
        if c == '@' {
            out.push(ZERO_WIDTH_SPACE);
        }
    }
}

fn brackets(text: &str, out: &mut String) {
    for c in text.chars() {
        out.push(c);
        if c == '<' {
            out.push(ZERO_WIDTH_SPACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(escape: Escape, text: &str) -> String {
        let mut out = String::new();
        match escape.output() {
            Output::Escaped(write) => write(text, &mut out),
            _ => out.push_str(text),
        }
        out
    }

    #[test]
    fn nothing_is_left_to_interpret() {
        let text = "<!channel> & @everyone *b*";
        assert_eq!(escaped(Escape::None, text), text);
        assert_eq!(
            escaped(Escape::Entities, text),
            "&lt;!channel&gt; &amp; @everyone *b*"
        );
        assert_eq!(
            escaped(Escape::Html, text),
            "&lt;!channel&gt; &amp; @\u{200b}everyone *b*"
        );
        assert_eq!(
            escaped(Escape::Markdown, text),
            "\\<\\!channel\\> & @\u{200b}everyone \\*b\\*"
        );
        assert_eq!(
            escaped(Escape::Brackets, "<users/all>"),
            "<\u{200b}users/all>"
        );
    }
}
