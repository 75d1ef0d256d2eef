//! `keygen`: a new secret from the operating system's randomness.

use rand::TryRng;
use rand::rngs::SysRng;

use super::{Failure, print, print_json};
use crate::domain::signature::Secret;

/// Print a new whsec_ secret, or a whsk_ key and its whpk_
#[derive(clap::Args)]
pub struct Keygen {
    /// An Ed25519 signing key, and below it the public key for receivers
    #[arg(long)]
    ed25519: bool,
    /// Print {"secret": "whsec_…"}, with --ed25519 and "public_key": "whpk_…"
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Keygen) -> Result<(), Failure> {
    let secret = match args.ed25519 {
        true => new_signing_key()?,
        false => new_secret()?,
    };
    if args.json {
        print_json(&to_json(&secret))
    } else {
        print(&to_text(&secret))
    }
}

fn to_json(secret: &Secret) -> serde_json::Value {
    let shown = secret.reveal();
    match secret.public_key() {
        None => serde_json::json!({ "secret": shown }),
        Some(public) => {
            serde_json::json!({ "secret": shown, "public_key": public.to_string() })
        }
    }
}

/// Each on a line of its own.
fn to_text(secret: &Secret) -> String {
    let shown = secret.reveal();
    match secret.public_key() {
        None => format!("{shown}\n"),
        Some(public) => format!("{shown}\n{public}\n"),
    }
}

/// 32 bytes from the operating system.
pub fn new_secret() -> Result<Secret, Failure> {
    Ok(Secret::generate(random()?))
}

fn new_signing_key() -> Result<Secret, Failure> {
    let key = Secret::generate_ed25519(random()?);
    key.map_err(|error| Failure::Failed(format!("no signing key: {error}")))
}

fn random() -> Result<[u8; 32], Failure> {
    let mut random = [0; 32];
    let drawn = SysRng.try_fill_bytes(&mut random);
    drawn.map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
    Ok(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_new_each_time() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert!(one != other);
        assert_eq!(one.to_stored().len(), 32);
        assert!(new_signing_key().unwrap() != new_signing_key().unwrap());
    }

    #[test]
    fn a_signing_key_is_shown_with_its_public_key() {
        let key = new_signing_key().unwrap();
        let (shown, public) = (key.reveal(), key.public_key().unwrap().to_string());
        assert!(shown.starts_with("whsk_") && public.starts_with("whpk_"));
        assert_eq!(to_text(&key), format!("{shown}\n{public}\n"));
        assert_eq!(
            to_json(&key),
            serde_json::json!({ "secret": shown, "public_key": public })
        );
        let secret = new_secret().unwrap();
        assert_eq!(to_text(&secret), secret.reveal() + "\n");
        assert_eq!(
            to_json(&secret),
            serde_json::json!({ "secret": secret.reveal() })
        );
    }
}
