//! Colour on terminals, and text that is safe to print there.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Style};

pub const PLAIN: Style = Style::new();
pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default();
pub const ACCENT: Style = AnsiColor::Cyan.on_default();

/// Whether styles are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    pub colour: bool,
}

impl Paint {
    /// Colour if stdout is a terminal, `NO_COLOR` is empty or unset (no-color.org), and
    /// `TERM` is not `dumb`.
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Paint {
            colour: !refused && !dumb && io::stdout().is_terminal(),
        }
    }

    /// `text`, which must be safe to print, in `style`.
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.colour && style != PLAIN && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// The style of a delivery's status.
pub fn of_status(status: &str) -> Style {
    match status {
        "delivered" => GOOD,
        "dead" => BAD,
        "held" => WARN,
        "pending" => ACCENT,
        _ => PLAIN,
    }
}

/// `text` with everything escaped that a terminal would obey or hide: control characters
/// and marks that turn the writing direction.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len().saturating_add(16));
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_unsafe(c) => {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe.into()
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// At most `max` characters of `text`, escaped; `…` says that there was more.
pub fn excerpt(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", plain(text.get(..end).unwrap_or_default())),
        None => plain(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(plain("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(
            plain("\u{9b}31m\u{7f}\u{202e}x"),
            "\\u{9b}31m\\u{7f}\\u{202e}x"
        );
        assert!(matches!(plain("grün 😀"), Cow::Borrowed(_)));
    }

    #[test]
    fn excerpts_count_characters() {
        assert_eq!(excerpt("äöü", 3), "äöü");
        assert_eq!(excerpt("äöü\n", 3), "äöü…");
    }

    #[test]
    fn colour_is_written_only_when_wanted() {
        assert_eq!(Paint { colour: false }.paint(GOOD, "x"), "x");
        let painted = Paint { colour: true }.paint(GOOD, "x");
        assert!(painted.starts_with("\x1b[32m") && painted.ends_with("\x1b[0m"));
        assert_eq!(Paint { colour: true }.paint(PLAIN, "x"), "x");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_comes_through(text in any::<String>()) {
            prop_assert!(!plain(&text).contains(is_unsafe));
            prop_assert!(!excerpt(&text, 5).contains(is_unsafe));
        }
    }
}
