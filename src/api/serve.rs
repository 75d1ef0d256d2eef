//! The API on its listeners: TCP, where a host and a token are asked for, and Unix sockets.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::Api;
use super::access::{Arrival, Peer};
use super::router::{Pages, answer, router};
use crate::server::accept::{Listener, Serving, Slots};
use crate::server::connection::http1;
use crate::server::listen::OwnedUnixListener;

/// Connections at once over TCP, and over Unix sockets; more wait in the kernel's queue.
/// The Unix sockets have their own, so that clients of the port cannot keep the operator out.
const MAX_TCP: usize = 1024;
const MAX_UNIX: usize = 128;
/// One connection for this many of the files that the process may open.
const TCP_SHARE: usize = 4;
const UNIX_SHARE: usize = 16;

/// Serves the API, and `pages` beside it, until `shutdown` is done; then accepts no connections, finishes the requests under
/// way within `drain`, and closes the rest.
pub async fn serve(
    tcp: Vec<TcpListener>,
    unix: Vec<OwnedUnixListener>,
    api: Arc<Api>,
    pages: Option<Arc<dyn Pages>>,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) {
    let mut serving = Serving::new();
    let doors = Doors {
        router: router(api.clone()),
        api: api.clone(),
        pages,
    };
    let connections = &api.app.monitor.connections;
    let slots = Slots::new(MAX_TCP, TCP_SHARE, connections.tcp.clone());
    for listener in tcp {
        accept(&mut serving, listener, &slots, &doors, tcp_arrival);
    }
    let slots = Slots::new(MAX_UNIX, UNIX_SHARE, connections.unix.clone());
    for listener in unix {
        accept(&mut serving, listener, &slots, &doors, unix_arrival);
    }
    serving.until(shutdown, drain).await;
}

/// What answers on a listener.
#[derive(Clone)]
struct Doors {
    router: Router,
    api: Arc<Api>,
    pages: Option<Arc<dyn Pages>>,
}

fn tcp_arrival(stream: &TcpStream) -> Arrival {
    Arrival {
        peer: Peer::Tcp(stream.local_addr().ok().map(|at| at.ip())),
        remote: stream.peer_addr().ok().map(|from| from.ip().to_canonical()),
    }
}

fn unix_arrival(_: &UnixStream) -> Arrival {
    Arrival {
        peer: Peer::Unix,
        remote: None,
    }
}

fn accept<L: Listener>(
    serving: &mut Serving,
    listener: L,
    slots: &Slots,
    doors: &Doors,
    arrival: fn(&L::Stream) -> Arrival,
) {
    let doors = doors.clone();
    serving.accept(listener, slots, move |stream, stop| {
        let arrival = arrival(stream.get_ref());
        let doors = doors.clone();
        http1(stream, stop, move |request| {
            let Doors { router, api, pages } = doors.clone();
            answer(router, api, pages, arrival, request)
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::config::{Config, Ingest, Listen};
    use crate::dispatch::{DispatchGauges, Questions, Tail};
    use crate::outbox::{Keep, Options, Outbox};
    use crate::server::connection::READ_BUFFER;
    use crate::server::listen::Listeners;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicBool;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    struct Running {
        _dir: tempfile::TempDir,
        address: SocketAddr,
        ready: Arc<AtomicBool>,
        stop: oneshot::Sender<()>,
        served: JoinHandle<()>,
    }

    fn store(dir: &std::path::Path) -> Outbox {
        let options = Options {
            data_dir: dir.join("data"),
            segment_size: 4 << 20,
            cache_size: 1 << 20,
            max_size: 1 << 30,
            endpoint_share: 0.5,
            min_free_disk: 0,
            idempotency_window: Duration::from_secs(3600),
            max_in_flight: 64,
            keep: Keep {
                delivered: Duration::from_secs(3600),
                dead: Duration::from_secs(3600),
                held: Duration::from_secs(3600),
                erased: Duration::from_secs(3600),
                max_size: 1 << 30,
                min_free_disk: 0,
                segment_size: 4 << 20,
            },
            boot_id: None,
            defaults: Default::default(),
            endpoints: Vec::new(),
        };
        Outbox::open(options).unwrap().outbox
    }

    /// A server over an empty store.
    fn run() -> Running {
        let listen = Listen {
            http: Some("127.0.0.1:0".parse().unwrap()),
            unix: None,
            ..Listen::default()
        };
        let ingest = Ingest {
            max_event_size: 1000,
            max_batch_events: 3,
            max_batch_size: 5000,
            rate_limit: None,
            idempotency_window: Duration::from_secs(1),
        };
        let listeners = Listeners::open(&listen).unwrap();
        let address = listeners.tcp_addresses()[0];
        let ready = Arc::new(AtomicBool::new(true));
        let gauges = Arc::new(DispatchGauges::default());
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            ingest,
            ..Config::default()
        };
        let app = App::new(
            store(dir.path()),
            &config,
            gauges,
            Questions::default(),
            ready.clone(),
            Vec::new(),
            Tail::default(),
        );
        let api = Api::new(app, &config);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let served = tokio::spawn(serve(
            listeners.tcp,
            listeners.unix,
            api,
            None,
            shutdown,
            Duration::from_secs(5),
        ));
        Running {
            _dir: dir,
            address,
            ready,
            stop,
            served,
        }
    }

    impl Running {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Sends `request` on a connection of its own and reads until its end.
        async fn ask(&self, request: &str) -> String {
            let mut stream = self.connect().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            let read = tokio::time::timeout(Duration::from_secs(20), read).await;
            read.unwrap().unwrap();
            answer
        }
    }

    fn json_of(answer: &str) -> serde_json::Value {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        let status = format!("HTTP/1.1 {} ", problem["status"]);
        assert!(head.starts_with(&status), "{head}");
        problem
    }

    fn post(path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        )
    }

    const JSON: &str = "content-type: application/json\r\n";
    const NDJSON: &str = "content-type: application/x-ndjson\r\n";

    #[tokio::test]
    async fn every_fault_is_a_problem() {
        let server = run();
        let reused = format!("{NDJSON}idempotency-key: x\r\n");
        let three = "{\"type\":\"a\",\"data\":1}\n".repeat(4);
        let long = format!("{{\"type\":\"a\",\"data\":\"{}\"}}", "x".repeat(1000));
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let cases = [
            (get("/nowhere"), 404, "/nowhere"),
            (get("/v1/events/x"), 404, "evt_"),
            (get("/v1/events/%ff"), 404, "UTF-8"),
            (get("/v1/events?tpye=x"), 400, "`tpye`"),
            (get("/v1/events?limit=0"), 400, "`limit`"),
            (get("/v1/deliveries?status=late"), 400, "`status`"),
            (get("/v1/endpoints?cursor=a.b"), 400, "`cursor`"),
            (get("/v1/status?x=1"), 400, "`x`"),
            (post("/v1/status", "", ""), 405, "POST"),
            (post("/v1/endpoints", JSON, "{}"), 400, "`url`"),
            (post("/v1/events", "", "{}"), 415, "missing"),
            (
                post("/v1/events", "content-type: text/xml\r\n", "<a/>"),
                415,
                "{type}",
            ),
            (post("/v1/events", JSON, "{}"), 400, "`type`"),
            (post("/v1/events?tenant=a", JSON, "{}"), 400, "`tenant`"),
            (post("/v1/events", NDJSON, "\n{}"), 400, "line 2"),
            (post("/v1/events", NDJSON, ""), 400, "no event"),
            (post("/v1/events", NDJSON, &three), 413, "line 4"),
            (post("/v1/events", NDJSON, &long), 413, "line 1"),
            (post("/v1/events", &reused, "{}"), 400, "Idempotency-Key"),
            (post("/v1/events", JSON, &long), 413, "max_event_size"),
            (post("/v1/events/a", JSON, "{}"), 415, "application/json"),
            (post("/v1/events/outboxd.a", "", "x"), 400, "outboxd."),
            (post("/v1/endpoints/a.b/enable", "", ""), 404, "endpoint id"),
        ];
        for (request, status, detail) in cases {
            let problem = json_of(&server.ask(&request).await);
            assert_eq!(problem["status"], status, "{request}");
            let found = problem["detail"].as_str().unwrap();
            assert!(found.contains(detail), "{request}: {found}");
            for member in ["type", "title"] {
                assert!(!problem[member].as_str().unwrap().is_empty());
            }
        }
    }

    #[tokio::test]
    async fn a_wrong_method_names_the_right_ones() {
        let server = run();
        let answer = server.ask(&post("/v1/status", "", "")).await;
        assert!(answer.contains("allow: GET,HEAD"), "{answer}");
        let answer = server
            .ask("DELETE /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        for method in ["GET", "HEAD", "POST"] {
            assert!(answer.contains(method), "{answer}");
        }
    }

    #[tokio::test]
    async fn head_answers_like_get_without_a_body() {
        let server = run();
        let answer = server
            .ask("HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_is_what_the_daemon_says() {
        let server = run();
        let get = "GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        assert!(server.ask(get).await.starts_with("HTTP/1.1 200"));
        server
            .ready
            .store(false, std::sync::atomic::Ordering::Release);
        assert_eq!(json_of(&server.ask(get).await)["status"], 503);
    }

    #[tokio::test]
    async fn large_headers_are_refused() {
        let server = run();
        let large = format!("x-large: {}\r\n", "x".repeat(17 * 1024));
        let problem = json_of(&server.ask(&post("/v1/events", &large, "")).await);
        assert_eq!(problem["status"], 431);
        let huge = format!("x-huge: {}\r\n", "x".repeat(2 * READ_BUFFER));
        let mut stream = server.connect().await;
        let _ = stream
            .write_all(post("/v1/events", &huge, "").as_bytes())
            .await;
        let mut answer = vec![0; 100];
        let read = stream.read(&mut answer).await.unwrap_or(0);
        assert!(answer[..read].starts_with(b"HTTP/1.1 431") || read == 0);
    }

    #[tokio::test]
    async fn an_oversize_body_is_answered_while_it_is_still_being_sent() {
        let server = run();
        let mut stream = server.connect().await;
        let size = 900 * 1024;
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: {size}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // All of it goes through although the answer was made at the head.
        stream.write_all(&vec![b'x'; size]).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(json_of(&answer)["status"], 413);
        assert!(answer.contains("connection: close"));
    }

    #[tokio::test]
    async fn a_client_that_asks_first_is_refused_without_sending() {
        let server = run();
        let mut stream = server.connect().await;
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: 1001\r\n\
             expect: 100-continue\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(!answer.contains("100 Continue"), "{answer}");
        assert_eq!(json_of(&answer)["status"], 413);
    }

    #[tokio::test]
    async fn a_chunked_body_is_cut_at_its_limit() {
        let server = run();
        let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{JSON}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n",
            chunk.repeat(4)
        );
        assert_eq!(json_of(&server.ask(&request).await)["status"], 413);
    }

    #[tokio::test]
    async fn a_connection_is_kept_for_more_requests() {
        let server = run();
        let requests = post("/v1/events", JSON, "{}").repeat(3);
        let answer = server.ask(&requests).await;
        assert_eq!(answer.matches("HTTP/1.1 400").count(), 3, "{answer}");
    }

    #[tokio::test]
    async fn shutdown_finishes_what_is_under_way_and_takes_in_nobody() {
        let server = run();
        let mut idle = server.connect().await;
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut first = vec![0; 1024];
        assert!(idle.read(&mut first).await.unwrap() > 0);
        let mut busy = server.connect().await;
        let request = post("/v1/events", JSON, "{}");
        let (head, rest) = request.split_at(request.len() - 1);
        let wait = "expect: 100-continue\r\n\r\n";
        let head = head.replacen("\r\n\r\n", &format!("\r\n{wait}"), 1);
        busy.write_all(head.as_bytes()).await.unwrap();
        let mut interim = vec![0; 25];
        busy.read_exact(&mut interim).await.unwrap();
        assert!(interim.starts_with(b"HTTP/1.1 100 Continue"));
        // The request is under way now.
        let address = server.address;
        server.stop.send(()).unwrap();
        assert_eq!(
            idle.read(&mut first).await.unwrap(),
            0,
            "idle ones are closed"
        );
        busy.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        server.served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
