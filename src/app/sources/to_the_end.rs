//! Changes that do not depend on who asked for them.

use crate::app::error::Error;

/// Does a change to its end even if the caller is gone: what is stored and what is in force must not
/// differ.
pub(super) async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tokio::spawn(change).await.unwrap_or_else(|error| {
        tracing::error!(%error, "changing a source broke down");
        Err(Error::Internal(
            "changing the source broke down; see the log",
        ))
    })
}
