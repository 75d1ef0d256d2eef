//! The event that a command tries something with: one that was accepted, or a new one.

use serde_json::value::RawValue;

use super::Failure;
use super::shape::json_of;

/// An event.
#[derive(Clone, Debug, clap::Args)]
pub struct Sample {
    /// The id of an event that was accepted
    #[arg(required_unless_present = "event_type", conflicts_with = "event_type")]
    event: Option<String>,
    /// The type of an event that was not
    #[arg(long = "type", value_name = "TYPE", requires = "data")]
    event_type: Option<String>,
    /// Its data, a JSON value, or @FILE
    #[arg(long, value_name = "DATA", requires = "event_type")]
    data: Option<String>,
}

/// As the API takes it, in JSON.
pub enum Asked {
    /// A string.
    Id(String),
    /// An object with `type` and `data`.
    New(String),
}

impl Sample {
    pub fn asked(&self) -> Result<Asked, Failure> {
        match (&self.event, &self.event_type, &self.data) {
            (Some(event), ..) => quoted(event).map(Asked::Id),
            (None, Some(event_type), Some(data)) => {
                let (event_type, data) = (quoted(event_type)?, json_of("--data", data)?);
                Ok(Asked::New(format!(
                    r#"{{"type":{event_type},"data":{data}}}"#
                )))
            }
            _ => Err(Failure::Usage(
                "give an event's id, or --type and --data".to_owned(),
            )),
        }
    }
}

fn quoted(text: &str) -> Result<String, Failure> {
    serde_json::to_string(text).map_err(|error| Failure::Failed(error.to_string()))
}

/// A request's body that is JSON already.
pub fn raw(json: String) -> Result<Box<RawValue>, Failure> {
    RawValue::from_string(json).map_err(|error| Failure::Failed(error.to_string()))
}
