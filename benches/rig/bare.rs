//! The delivery limit: a bare reqwest loop, no queue and no disk.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Requests under way, of this loop and of the loader of the daemon.
pub const CLIENTS: usize = 64;

/// Posts bodies that `body` makes, one after the other on each of [`CLIENTS`] connections.
pub async fn bare_loop(
    sink: SocketAddr,
    count: u64,
    body: impl Fn(u64) -> Bytes + Clone + Send + 'static,
) -> Duration {
    // The sink is plain HTTP, but the client must have some TLS.
    let tls = outboxd::transport::tls::client_config(None).expect("there are roots");
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build();
    let client = client.expect("a client can be made");
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let posting = (0..CLIENTS).map(|_| {
        let (client, next, body) = (client.clone(), next.clone(), body.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    break;
                }
                let request = client.post(format!("http://{sink}/")).body(body(number));
                let answer = request.send().await.expect("the sink answers");
                assert_eq!(answer.status(), 200);
                answer.bytes().await.expect("a whole answer");
            }
        })
    });
    for posting in posting.collect::<Vec<_>>() {
        posting.await.expect("no request failed");
    }
    start.elapsed()
}
