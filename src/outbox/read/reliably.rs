//! What becomes of a read that fails: a damaged index ends the process, and one that the disk has
//! failed is waited for.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::outbox::handle::Outbox;
use crate::outbox::index::PagesError;
use crate::outbox::log;
use crate::outbox::request::Request;
use crate::outbox::views::ReadError;

/// How long a read waits for the writer to begin to build an index that has failed. Once the building
/// has begun, it waits for its end.
const RENEWAL_WAIT: Duration = Duration::from_secs(10);

impl From<PagesError> for ReadError {
    fn from(error: PagesError) -> ReadError {
        if error.is_damage() {
            ReadError::Index(error.to_string())
        } else {
            ReadError::Unreadable(error.to_string())
        }
    }
}

impl From<log::ReadError> for ReadError {
    fn from(error: log::ReadError) -> ReadError {
        match error {
            log::ReadError::NotThere(_) | log::ReadError::Damaged(_) => {
                ReadError::Damaged(error.to_string())
            }
            log::ReadError::Log(error) => ReadError::Unreadable(error.to_string()),
        }
    }
}

impl Outbox {
    /// What a read gives. A damaged index ends the process: what it hides is in the log. One that the
    /// disk has failed is waited for, as the writer builds it anew, and read again.
    pub(in crate::outbox) fn reliably<T>(
        &self,
        mut read: impl FnMut() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let mut seen = Some(self.shared.renewals.count());
        // One call of `read`, as it is large where it is inlined.
        loop {
            let answer = read();
            match &answer {
                Err(ReadError::Unreadable(_))
                    if seen.take().is_some_and(|n| self.is_renewed(n)) =>
                {
                    continue;
                }
                Err(error @ ReadError::Index(_)) => self.shared.index_failed(&error.to_string()),
                _ => {}
            }
            return answer;
        }
    }

    /// Whether the index has failed, or was built anew since the count of renewals was `seen`. Waits
    /// until it is built.
    fn is_renewed(&self, seen: u64) -> bool {
        if self.shared.index.read().entries.failure().is_none() {
            return self.shared.renewals.count() != seen;
        }
        // The writer looks after the index before it answers anything.
        let (nobody_listens, _) = oneshot::channel();
        let _ = self.requests.send(Request::Ping(nobody_listens));
        self.shared.renewals.wait(seen, RENEWAL_WAIT);
        true
    }
}
