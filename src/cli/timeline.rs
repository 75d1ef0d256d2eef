//! What happened, moment by moment: the lines that `events show` and `demo` print.

use anstyle::Style;

use super::paint::{DIM, Paint, plain};
use super::when;
use crate::domain::time::Timestamp;

/// One line: when, how it went, what it was, and a remark.
#[derive(Clone, Debug)]
pub struct Moment {
    pub at: Timestamp,
    /// One character: `●` began, `✓` went well, `✗` failed, `…` is to come.
    pub mark: char,
    pub style: Style,
    /// Escaped when shown.
    pub what: String,
    /// Escaped when shown.
    pub remark: String,
}

impl Moment {
    /// The line, not ended. `start` is the moment that the offset counts from; `width`
    /// that of `what` in a block of lines, in characters.
    pub fn line(&self, start: Timestamp, width: usize, paint: Paint) -> String {
        let brief = self.brief(start, width, paint);
        format!("{}  {brief}", when::moment(self.at))
    }

    /// The line without the date and time: the offset says when.
    pub fn brief(&self, start: Timestamp, width: usize, paint: Paint) -> String {
        let offset = format!("+{}", when::span(self.at.since(start)));
        let what = plain(&self.what);
        let padding = " ".repeat(width.saturating_sub(what.chars().count()));
        let line = format!(
            "{}  {} {}{padding}  {}",
            paint.paint(DIM, &format!("{offset:>8}")),
            paint.paint(self.style, &self.mark.to_string()),
            paint.paint(self.style, &what),
            plain(&self.remark),
        );
        line.trim_end().to_owned()
    }
}

/// A block of lines, each indented by two and ended.
pub fn render(moments: &[Moment], start: Timestamp, paint: Paint) -> String {
    let width = |moment: &Moment| plain(&moment.what).chars().count();
    let width = moments.iter().map(width).max().unwrap_or(0);
    let lines = moments.iter();
    lines
        .map(|moment| format!("  {}\n", moment.line(start, width, paint)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::paint::{BAD, PLAIN};
    use std::time::Duration;

    #[test]
    fn lines_line_up_and_hold_no_control_characters() {
        let start = Timestamp::from_millis(1_767_225_600_000);
        let moments = [
            Moment {
                at: start,
                mark: '●',
                style: PLAIN,
                what: "accepted".into(),
                remark: String::new(),
            },
            Moment {
                at: start + Duration::from_millis(1234),
                mark: '✗',
                style: BAD,
                what: "attempt 1".into(),
                remark: "503 in 41ms\x1b".into(),
            },
        ];
        assert_eq!(
            render(&moments, start, Paint { colour: false }),
            "  2026-01-01 00:00:00.000Z      +0ms  ● accepted\n  \
             2026-01-01 00:00:01.234Z     +1.2s  ✗ attempt 1  503 in 41ms\\u{1b}\n"
        );
    }
}
