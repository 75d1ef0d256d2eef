//! Random bytes, from the operating system.

use rand::TryRng;
use rand::rngs::SysRng;

use super::error::Error;

/// Bytes from the operating system.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => {
            tracing::error!(%error, "the operating system gives no randomness");
            Err(Error::Internal(
                "the operating system gives no randomness; see the log",
            ))
        }
    }
}
