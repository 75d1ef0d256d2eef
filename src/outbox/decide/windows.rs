//! How long an idempotency key is valid: a key of a source for the window of that source, any other
//! key for `ingest.idempotency_window`.

use std::collections::HashMap;
use std::time::Duration;

use crate::domain::event::{SOURCE_WINDOW, source_of_key};

/// The windows of the sources in force, by their ids.
#[derive(Clone, Debug, Default)]
pub struct SourceWindows {
    /// `None` until the application has set them. Before that no key of a source expires: otherwise
    /// cleaning would forget the keys of sources with a longer window at each start.
    known: Option<HashMap<String, Duration>>,
}

impl SourceWindows {
    pub fn new(windows: HashMap<String, Duration>) -> SourceWindows {
        SourceWindows {
            known: Some(windows),
        }
    }

    /// How long this key is valid. `others` is the window of keys that belong to no source; the
    /// keys of a source that is no longer in force are valid for [`SOURCE_WINDOW`].
    pub fn of(&self, key: &str, others: Duration) -> Duration {
        let Some((source, _)) = source_of_key(key) else {
            return others;
        };
        match &self.known {
            Some(windows) => windows.get(source).copied().unwrap_or(SOURCE_WINDOW),
            None => Duration::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::source_key;

    #[test]
    fn a_key_is_valid_for_the_window_of_its_source() {
        let day = Duration::from_secs(24 * 3600);
        let key = |source: &str| source_key(source, "evt_1");
        let windows = SourceWindows::new([("github".to_owned(), 30 * day)].into());
        assert_eq!(windows.of("order-7", day), day);
        assert_eq!(windows.of("\0cloudevent:a b", day), day);
        assert_eq!(windows.of(key("github").as_str(), day), 30 * day);
        assert_eq!(windows.of(key("stripe").as_str(), day), SOURCE_WINDOW);
        // Before the windows are set no key of a source expires.
        let unknown = SourceWindows::default();
        assert_eq!(unknown.of("order-7", day), day);
        assert_eq!(unknown.of(key("github").as_str(), day), Duration::MAX);
    }
}
