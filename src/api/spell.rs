//! Choices spelled as the configuration spells them.

use crate::domain::endpoint::{Ordering, Source};

pub fn ordering(ordering: Ordering) -> &'static str {
    match ordering {
        Ordering::None => "none",
        Ordering::Key => "key",
        Ordering::Strict => "strict",
    }
}

pub fn source(source: Source) -> &'static str {
    match source {
        Source::Toml => "toml",
        Source::Api => "api",
    }
}
