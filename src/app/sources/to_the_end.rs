//! Changes that finish even if the caller disconnects.

use crate::app::error::Error;

/// Finishes a change even if the caller is gone: the stored source and the one in force must not
/// differ.
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        tracing::error!(%error, "changing a source failed");
        Err(Error::Internal(
            "the source could not be changed; see the log",
        ))
    })
}
