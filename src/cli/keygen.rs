//! `keygen`: a new secret from the operating system's randomness.

use rand::TryRng;
use rand::rngs::SysRng;

use super::{Failure, print, print_json};
use crate::domain::signature::Secret;

/// Print a new whsec_ secret
#[derive(clap::Args)]
pub struct Keygen {
    /// Print {"secret": "whsec_…"}
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Keygen) -> Result<(), Failure> {
    let secret = new_secret()?.reveal();
    if args.json {
        print_json(&serde_json::json!({ "secret": secret }))
    } else {
        print(&(secret + "\n"))
    }
}

/// 32 bytes from the operating system.
pub fn new_secret() -> Result<Secret, Failure> {
    let mut random = [0; 32];
    let drawn = SysRng.try_fill_bytes(&mut random);
    drawn.map_err(|error| Failure::Failed(format!("no randomness: {error}")))?;
    Ok(Secret::generate(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_new_each_time() {
        let (one, other) = (new_secret().unwrap(), new_secret().unwrap());
        assert!(one != other);
        assert_eq!(one.as_bytes().len(), 32);
    }
}
