//! The runtime of a loader, a bare loop or a server.

/// On the thread that uses it.
pub fn current_thread() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime can be made")
}
