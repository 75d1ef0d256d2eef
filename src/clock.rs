//! The only wall clock. What decides over time gets the time handed in.

use std::time::SystemTime;

use crate::domain::time::Timestamp;

/// This moment; the beginning of 1970 if the clock claims to be before it.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::default() + since
}
