//! The options of `replay` and `endpoints purge` that select deliveries.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Failure;
use super::client::{Client, Fault};
use super::filter::moment;
use crate::domain::endpoint::EndpointId;
use crate::domain::time::Timestamp;

/// The filters beside endpoint and status.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// Only these types, such as order.created or order.*; may be given again
    #[arg(long = "type", value_name = "PATTERN", value_delimiter = ',')]
    types: Vec<String>,
    /// Of events accepted then or later: a span back from now such as 1h, or an RFC 3339 time
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Of events accepted before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Count them and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

impl Selection {
    /// The request's body.
    pub fn object(
        &self,
        status: Option<&str>,
        now: Timestamp,
    ) -> Result<Map<String, Value>, Failure> {
        let mut object = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        set("status", status.map(|status| json!(status)));
        set("types", (!self.types.is_empty()).then(|| json!(self.types)));
        set(
            "since",
            moment("--since", &self.since, now)?.map(Value::from),
        );
        set(
            "until",
            moment("--until", &self.until, now)?.map(Value::from),
        );
        set("dry_run", self.dry_run.then_some(Value::Bool(true)));
        Ok(object)
    }
}

/// The daemon's answer to a replay or purge.
#[derive(Debug, Default, Deserialize)]
pub struct Begun {
    /// How many deliveries match.
    pub matched: u64,
    /// `None`: a dry run, or there was nothing to do.
    pub job: Option<String>,
}

/// Asks for `action` at one endpoint.
pub async fn ask(
    client: &Client,
    endpoint: &EndpointId,
    action: &str,
    body: &Map<String, Value>,
) -> Result<Begun, Fault> {
    let path = format!("/v1/endpoints/{endpoint}/{action}");
    let answer = client.post_json(&path, body).await?;
    client.read(&answer)
}

/// `1 delivery`, `7 deliveries`.
pub fn counted(count: u64) -> String {
    match count {
        1 => "1 delivery".to_owned(),
        count => format!("{count} deliveries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_make_a_body() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let none = Selection::default().object(None, now).unwrap();
        assert!(none.is_empty());
        let all = Selection {
            types: vec!["a.*".into(), "b".into()],
            since: Some("1h".into()),
            until: Some("2026-01-01T00:30:00Z".into()),
            dry_run: true,
        };
        assert_eq!(
            Value::Object(all.object(Some("dead"), now).unwrap()),
            json!({"status": "dead", "types": ["a.*", "b"], "since": "2026-01-01T00:00:00.000Z",
                "until": "2026-01-01T00:30:00.000Z", "dry_run": true})
        );
        let bad = Selection {
            since: Some("soon".into()),
            ..Selection::default()
        };
        let failure = bad.object(None, now).unwrap_err();
        assert!(matches!(failure, Failure::Usage(why) if why.contains("--since")));
    }
}
