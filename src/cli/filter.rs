//! The filters and paging options of list commands, and the query made of them.

use url::form_urlencoded;

use super::Failure;
use super::paint::{DIM, Paint, plain};
use super::when;
use crate::domain::time::Timestamp;

/// Which events a list is about.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Only these types: a type, a prefix that ends in ".*", or "*"
    #[arg(long = "type", value_name = "PATTERN")]
    pub event_type: Option<String>,
    /// Only this tenant
    #[arg(long)]
    pub tenant: Option<String>,
    /// Accepted then or later: a span back from now such as 1h, or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Accepted before then
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
}

/// Paging.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Part {
    /// How many at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: Option<u16>,
    /// The cursor that the page before ended with
    #[arg(long)]
    pub cursor: Option<String>,
}

/// Builds a query string.
#[derive(Debug, Default)]
pub struct QueryString(String);

impl QueryString {
    pub fn add(&mut self, name: &str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0
            .extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an option such as `--since` means, as the API takes it.
pub(super) fn moment(
    flag: &str,
    text: &Option<String>,
    now: Timestamp,
) -> Result<Option<String>, Failure> {
    let Some(text) = text else { return Ok(None) };
    when::parse_past(text, now)
        .map(|at| Some(at.to_string()))
        .map_err(|why| Failure::Usage(format!("{flag} {text:?} is {why}")))
}

impl Filter {
    pub fn add_to(&self, query: &mut QueryString, now: Timestamp) -> Result<(), Failure> {
        query.add("type", self.event_type.as_deref());
        query.add("tenant", self.tenant.as_deref());
        query.add("since", moment("--since", &self.since, now)?.as_deref());
        query.add("until", moment("--until", &self.until, now)?.as_deref());
        Ok(())
    }
}

impl Part {
    pub fn add_to(&self, query: &mut QueryString) {
        let limit = self.limit.map(|limit| limit.to_string());
        query.add("limit", limit.as_deref());
        query.add("cursor", self.cursor.as_deref());
    }
}

/// The line under a page that is not the last.
pub fn more(next: Option<&str>, paint: Paint) -> String {
    match next {
        Some(cursor) => {
            let line = format!("more: --cursor {}", plain(cursor));
            format!("{}\n", paint.paint(DIM, &line))
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_make_a_query() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let filter = Filter {
            event_type: Some("a&b".into()),
            since: Some("1h".into()),
            ..Filter::default()
        };
        let mut query = QueryString::default();
        filter.add_to(&mut query, now).unwrap();
        let part = Part {
            limit: Some(5),
            cursor: None,
        };
        part.add_to(&mut query);
        assert_eq!(
            query.as_str(),
            "?type=a%26b&since=2026-01-01T00%3A00%3A00.000Z&limit=5"
        );
        let bad = Filter {
            until: Some("soon".into()),
            ..Filter::default()
        };
        let failure = bad.add_to(&mut query, now).unwrap_err();
        assert!(matches!(failure, Failure::Usage(why) if why.contains("--until")));
    }
}
