//! `sign`: the headers that outboxd would send with a body.

use rand::TryRng;
use rand::rngs::SysRng;

use super::secrets::SecretArgs;
use super::{BodyArg, Failure, print, print_json};
use crate::clock;
use crate::domain::event::EventId;
use crate::domain::signature;

/// Sign a body by Standard Webhooks and print the three headers
#[derive(clap::Args)]
pub struct Sign {
    #[command(flatten)]
    secrets: SecretArgs,
    /// webhook-id; a new one if not given
    #[arg(long)]
    id: Option<String>,
    /// webhook-timestamp, in seconds since 1970; now if not given
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<u64>,
    /// Print the headers as a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    body: BodyArg,
}

pub fn run(args: &Sign) -> Result<(), Failure> {
    let secrets = args.secrets.require()?;
    let body = args.body.read()?;
    let id = match &args.id {
        Some(id) if id.is_empty() || id.contains(|c: char| c.is_control()) => {
            return Err(Failure::Usage(
                "--id is text without control characters".to_owned(),
            ));
        }
        Some(id) => id.clone(),
        None => new_id()?,
    };
    let timestamp = args.timestamp.unwrap_or_else(|| clock::now().as_secs());
    let signature = signature::header_value(&secrets, &id, timestamp, &body);
    if args.json {
        return print_json(&serde_json::json!({
            "webhook-id": id,
            "webhook-timestamp": timestamp.to_string(),
            "webhook-signature": signature,
        }));
    }
    print(&format!(
        "webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}\n"
    ))
}

/// An id as events have it.
fn new_id() -> Result<String, Failure> {
    let mut random = [0; 16];
    let drawn = SysRng.try_fill_bytes(&mut random);
    drawn.map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
    // A ULID: 48 bits of milliseconds, 80 of dice.
    let time = u128::from(clock::now().as_millis()) << 80;
    Ok(EventId(time | u128::from_be_bytes(random) >> 48).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_an_event_id_of_now() {
        let id: EventId = new_id().unwrap().parse().unwrap();
        let age = clock::now().since(id.timestamp());
        assert!(age.as_secs() < 60);
        assert!(new_id().unwrap() != new_id().unwrap());
    }
}
