//! `verify`: checks the signature of a message as a receiver would.

use std::time::Duration;

use super::secrets::{PublicKeyArgs, SecretArgs};
use super::{BodyArg, Failure, print, print_json};
use crate::clock;
use crate::config::units::parse_duration;
use crate::domain::signature::{self, Headers};

/// Check a Standard Webhooks signature; exit 0 if it is good, 1 with the reason if not
#[derive(clap::Args)]
pub struct Verify {
    #[command(flatten)]
    secrets: SecretArgs,
    #[command(flatten)]
    public_keys: PublicKeyArgs,
    /// webhook-id, as it was received
    #[arg(long)]
    id: String,
    /// webhook-timestamp, as it was received
    #[arg(long, value_name = "SECONDS")]
    timestamp: String,
    /// webhook-signature, as it was received
    #[arg(long)]
    signature: String,
    /// How far the timestamp may be from now, such as 5m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = tolerance)]
    tolerance: Duration,
    /// Print {"verified": …, "reason": …}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    body: BodyArg,
}

/// As in the configuration, or longer: an old message may be checked, if that is asked for.
fn tolerance(text: &str) -> Result<Duration, String> {
    parse_duration(text).or_else(|bad| {
        let span = text.parse::<jiff::SignedDuration>().ok();
        let span = span.and_then(|span| Duration::try_from(span).ok());
        span.ok_or_else(|| bad.to_string())
    })
}

pub fn run(args: &Verify) -> Result<(), Failure> {
    let (secrets, public_keys) = (args.secrets.read()?, args.public_keys.read()?);
    if secrets.is_empty() && public_keys.is_empty() {
        let ask = "give a secret with --secret-file, --secret or OUTBOXD_SECRET, \
                   or a public key with --public-key or --public-key-file";
        return Err(Failure::Usage(ask.to_owned()));
    }
    let body = args.body.read()?;
    let headers = Headers {
        id: &args.id,
        timestamp: &args.timestamp,
        signature: &args.signature,
    };
    let (now, tolerance) = (clock::now(), args.tolerance);
    let verdict = signature::verify(&secrets, &public_keys, headers, &body, now, tolerance);
    let reason = verdict.err().map(|reason| reason.to_string());
    if args.json {
        let verified = reason.is_none();
        print_json(&serde_json::json!({ "verified": verified, "reason": reason }))?;
    } else if reason.is_none() {
        print("verified\n")?;
    }
    match reason {
        None => Ok(()),
        Some(reason) => Err(Failure::Failed(format!("not verified: {reason}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tolerance_is_a_duration_with_a_unit() {
        assert_eq!(tolerance("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(tolerance("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(tolerance("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(tolerance("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(
            tolerance("1000000h"),
            Ok(Duration::from_secs(3_600_000_000))
        );
        for bad in ["", "5", "-5m", "5 parsecs", "99999999999999999999h"] {
            assert!(tolerance(bad).is_err(), "{bad}");
        }
    }
}
