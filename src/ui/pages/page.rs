//! How pages are framed, and what they say after something was done.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{self, HeaderValue};

use crate::ui::base::failed::Failed;
use crate::ui::base::shell::Shell;
use crate::ui::base::visit::Visit;

/// What was done, by the word that stands for it in the address. The address holds no text, so
/// nobody can make a page say something by a link.
const SAID: [(&str, &str); 21] = [
    (
        "ended",
        "The link that opened this page has ended. Open a new one.",
    ),
    (
        "created",
        "The endpoint is made. “Send a test” shows whether it works.",
    ),
    ("changed", "The change is in force."),
    ("deleted", "It is deleted."),
    (
        "enabled",
        "The endpoint is enabled. What it held goes out now, paced.",
    ),
    (
        "disabled",
        "The endpoint is paused. Its deliveries are held until it is enabled.",
    ),
    (
        "tested",
        "A test event is on its way to this endpoint; it is in the list of deliveries.",
    ),
    (
        "rotated",
        "There is a new secret. The ones before it sign too while they overlap.",
    ),
    ("retried", "The delivery is attempted again."),
    (
        "cancelled",
        "The delivery is cancelled: it is dead, and can be retried.",
    ),
    (
        "erased",
        "The event is erased. Its body is gone from the disk within 24 hours.",
    ),
    ("sent", "The event is accepted and durable."),
    (
        "duplicate",
        "This idempotency key was used before with the same content: this is the event.",
    ),
    ("replaying", "The replay has begun."),
    ("purging", "The purge has begun."),
    ("nothing", "Nothing matched, so nothing was done."),
    ("job-cancelled", "The job is cancelled. What it did stays."),
    (
        "source-created",
        "The source is made. Give its URL to the provider.",
    ),
    (
        "source-deleted",
        "The source is removed. What came in stays.",
    ),
    ("source-rotated", "The new secret counts from now on."),
    ("logged-out", "You are logged out."),
];

/// The frame of a page that belongs to the entry `here` of the list of pages.
pub fn shell(visit: &Visit, here: &'static str, title: impl Into<String>) -> Shell {
    let said = visit.said.as_deref();
    let said = SAID.iter().find(|(word, _)| Some(*word) == said);
    Shell {
        here,
        said: said.map(|(_, text)| *text),
        ..Shell::new(visit, title)
    }
}

/// Leads to another page after something was done: 303, so that a reload does not do it again.
pub fn go(path: &str, said: &'static str) -> Result<Response, Failed> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let place = match said {
        "" => path.to_owned(),
        said => format!("{path}{joint}said={said}"),
    };
    let place = HeaderValue::from_str(&place);
    let place = place.map_err(|_| Failed::internal("the next page has no address"))?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_said_by_known_words_only() {
        let words: std::collections::BTreeSet<&str> = SAID.iter().map(|(word, _)| *word).collect();
        assert_eq!(words.len(), SAID.len());
        let response = go("/ui/events?type=a", "erased").unwrap();
        assert_eq!(
            response.headers()["location"],
            "/ui/events?type=a&said=erased"
        );
    }
}
