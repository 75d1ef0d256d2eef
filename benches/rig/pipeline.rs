//! Events through the whole daemon to a sink.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::bare::{CLIENTS, bare_loop};
use super::daemon::Daemon;
use super::load::{self, EVENT};
use super::runtime;
use super::server;

const ARRIVAL_DEADLINE: Duration = Duration::from_secs(120);

pub struct Sink {
    pub address: SocketAddr,
    arrivals: mpsc::Receiver<()>,
}

impl Sink {
    pub fn start() -> Sink {
        let (tell, arrivals) = mpsc::channel();
        let address = server::serve(server::ANY, http::StatusCode::OK, move |_| {
            // The bench is over when nobody listens.
            let _ = tell.send(());
        });
        Sink { address, arrivals }
    }

    /// A table `[[endpoint]]` of this sink.
    pub fn endpoint(&self, id: &str) -> String {
        format!(
            "[[endpoint]]\nid = \"{id}\"\nurl = \"http://{}/{id}\"\nmax_in_flight = {CLIENTS}\n\
             secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
             allow_networks = [\"127.0.0.0/8\"]\n",
            self.address
        )
    }

    /// From the first event handed in until each has arrived at so many endpoints.
    pub fn deliver(&self, daemon: &Daemon, events: u64, endpoints: u64, size: usize) -> Duration {
        let start = Instant::now();
        let body = event(size);
        let limit = (events, Duration::MAX);
        let clients = CLIENTS.min(usize::try_from(events).unwrap_or(CLIENTS));
        let posting = load::post(daemon.address, EVENT, clients, limit, move |_| body.clone());
        assert_eq!(runtime::current_thread().block_on(posting).0, events);
        self.wait(events * endpoints);
        start.elapsed()
    }

    /// Posts bodies of that size straight to the sink.
    pub fn bare(&self, count: u64, size: usize) -> Duration {
        let body = event(size);
        let took = runtime::current_thread()
            .block_on(bare_loop(self.address, count, move |_| body.clone()));
        self.wait(count);
        took
    }

    fn wait(&self, count: u64) {
        for _ in 0..count {
            let came = self.arrivals.recv_timeout(ARRIVAL_DEADLINE);
            came.expect("it arrives");
        }
    }
}

/// An event of so many bytes.
pub fn event(size: usize) -> Bytes {
    let head = r#"{"type":"bench","data":{"x":""#;
    let filling = "x".repeat(size.saturating_sub(head.len() + 3));
    Bytes::from(format!("{head}{filling}\"}}}}"))
}
