//! An attempt: when, how long, how far it came, and what was answered.

use std::time::Duration;

use url::{Host, Url};

use super::badge::Badge;
use super::body::printable;
use super::moment::Moment;
use super::sight::Sight;
use crate::domain::attempt::{Attempt, AttemptError, ErrorKind};
use crate::domain::time::Timestamp;
use crate::domain::when;

/// The widest bar of a duration.
const BAR: u64 = 100;

/// A step on the way of a request, and whether it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    pub ok: bool,
}

/// See the module.
#[derive(Debug)]
pub struct AttemptShown {
    /// From 1.
    pub number: u32,
    pub at: Moment,
    /// Since the event was accepted.
    pub after: String,
    pub took: String,
    /// The duration beside the others', out of 100.
    pub bar: u64,
    pub badge: Badge,
    /// How far it came.
    pub steps: Vec<Step>,
    pub kind: Option<&'static str>,
    pub detail: Option<String>,
    pub address: Option<String>,
    /// `None`: nothing came, or it may not be seen.
    pub response: Option<String>,
}

/// What is around an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    pub number: u32,
    pub accepted_at: Timestamp,
    pub longest: Duration,
    /// The URL of the endpoint, if it is in force.
    pub url: Option<&'a Url>,
    pub now: Timestamp,
}

impl AttemptShown {
    pub fn new(attempt: &Attempt, around: Around<'_>, sight: &Sight) -> AttemptShown {
        let error = attempt.error.as_ref();
        let badge = match (attempt.status, error) {
            (Some(status), None) => Badge::good(status.to_string()),
            (Some(status), Some(_)) => Badge::bad(status.to_string()),
            (None, Some(error)) => Badge::bad(error.kind.as_str()),
            (None, None) => Badge::good("delivered"),
        };
        let bar = attempt.duration.as_millis() * u128::from(BAR);
        let bar = bar / around.longest.as_millis().max(1);
        let response = attempt.response_body.as_ref();
        let from = attempt.address.map(|at| at.ip());
        let response = (sight.responses.show(from) && !response.is_empty())
            .then(|| printable(&String::from_utf8_lossy(response)));
        AttemptShown {
            number: around.number,
            at: Moment::new(attempt.at, around.now),
            after: when::span(attempt.at.since(around.accepted_at)),
            took: when::span(attempt.duration),
            bar: u64::try_from(bar).unwrap_or(BAR).clamp(1, BAR),
            badge,
            steps: steps(around.url, error.map(|error| error.kind)),
            kind: error.map(|error| error.kind.as_str()),
            detail: error.map(|error| detail(error, sight)),
            address: attempt
                .address
                .filter(|_| sight.addresses)
                .map(|at| at.to_string()),
            response,
        }
    }
}

/// What went wrong; without addresses for those who may not see them.
pub fn detail(error: &AttemptError, sight: &Sight) -> String {
    match sight.addresses {
        true => printable(&error.detail),
        false => error.kind.sentence().to_owned(),
    }
}

/// How far an attempt came on its way to a URL. Empty where that cannot be told: of a timeout the
/// detail says what took so long.
fn steps(url: Option<&Url>, failed: Option<ErrorKind>) -> Vec<Step> {
    let Some(url) = url else {
        return Vec::new();
    };
    let has_name = !matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)));
    let way = [
        ("DNS", ErrorKind::Dns, has_name),
        ("address", ErrorKind::Blocked, true),
        ("connect", ErrorKind::Connect, true),
        ("TLS", ErrorKind::Tls, url.scheme() == "https"),
        ("answer", ErrorKind::Protocol, true),
    ];
    let is_told = match failed {
        None | Some(ErrorKind::Status) => true,
        Some(kind) => way.iter().any(|(_, of_kind, _)| *of_kind == kind),
    };
    let mut steps = Vec::new();
    for (name, kind, is_taken) in way.into_iter().filter(|_| is_told) {
        let ok = failed != Some(kind);
        if is_taken || !ok {
            steps.push(Step { name, ok });
        }
        if !ok {
            break;
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_came_as_far_as_its_kind_says() {
        let way = |url: &str, kind| {
            let url: Url = url.parse().unwrap();
            let steps = steps(Some(&url), kind);
            let steps = steps.iter().map(|step| (step.name, step.ok));
            steps.collect::<Vec<_>>()
        };
        let all = way("https://example.com/", None);
        assert_eq!(all.len(), 5);
        assert_eq!(way("https://example.com/", Some(ErrorKind::Status)), all);
        assert_eq!(
            way("https://example.com/", Some(ErrorKind::Dns)),
            [("DNS", false)]
        );
        assert_eq!(way("https://example.com/", Some(ErrorKind::Timeout)), []);
        assert_eq!(
            way("http://127.0.0.1/", Some(ErrorKind::Connect)),
            [("address", true), ("connect", false)]
        );
    }
}
