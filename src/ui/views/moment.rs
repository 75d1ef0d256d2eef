//! A time on a page: relative for reading, exact for pointing at and for scripts.

use std::fmt;

use askama::filters::HtmlSafe;

use crate::domain::time::Timestamp;
use crate::domain::when;

/// A `<time>` element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    /// When the page was made.
    pub now: Timestamp,
}

impl Moment {
    pub fn new(at: Timestamp, now: Timestamp) -> Moment {
        Moment { at, now }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<time datetime=\"{}\" title=\"{}\">{}</time>",
            self.at,
            when::moment(self.at),
            when::relative(self.at, self.now)
        )
    }
}

// Times and spans are digits, letters and signs that mean nothing in HTML.
impl HtmlSafe for Moment {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_moment_is_relative_with_the_exact_time_beside_it() {
        let at = Timestamp::from_millis(1_767_225_600_007);
        let moment = Moment::new(at, at + Duration::from_secs(125));
        assert_eq!(
            moment.to_string(),
            "<time datetime=\"2026-01-01T00:00:00.007Z\" title=\"2026-01-01 00:00:00.007Z\">2m ago</time>"
        );
    }
}
