//! Kept connections whose peers misbehave. The peers write frames of HTTP/2 (RFC 9113, 4.1 and 6)
//! by hand, over TLS, since no library can be made to do what they do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use serde_json::Value;

use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const REFUSED_STREAM: u32 = 7;
const HTTP_1_1_REQUIRED: u32 = 13;
/// `:status: 200` (RFC 7541, appendix A).
const OK: &[u8] = &[0x88];

/// What a peer does with a request.
enum Act {
    Answer,
    AnswerAfter(Duration),
    /// From now on it does not even read.
    FallSilent,
    Reset(u32),
    /// Announces 100 bytes, sends four, and ends the stream in good order.
    Break,
}

struct Peer {
    address: SocketAddr,
    authority: tempfile::NamedTempFile,
    connections: Arc<AtomicUsize>,
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

impl Peer {
    /// `act` says what becomes of a request on the n-th connection, the m-th one there. With
    /// `streams` it takes no more at once.
    fn start(
        streams: Option<u32>,
        act: impl Fn(usize, usize) -> Act + Send + Sync + 'static,
    ) -> Peer {
        let (config, authority) = certified();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, act) = (connections.clone(), Arc::new(act));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = count.fetch_add(1, Ordering::SeqCst);
                let (config, act) = (config.clone(), act.clone());
                std::thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    // The other side may go at any time.
                    let _ = serve(StreamOwned::new(tls, stream), streams, |request| {
                        act(number, request)
                    });
                });
            }
        });
        Peer {
            address,
            authority,
            connections,
        }
    }

    /// With one thread, so that the endpoints share connections.
    fn config(&self, more: &str) -> String {
        format!(
            "[delivery]\nthreads = 1\nca_file = {:?}\nallow_networks = [\"127.0.0.0/8\"]\n{more}\n\
             [retry]\nfirst = \"200ms\"\nmax = \"1s\"\n",
            self.authority.path()
        )
    }

    fn endpoint(&self, id: &str, more: &str) -> String {
        endpoint(
            id,
            &format!("https://localhost:{}/{id}", self.address.port()),
            more,
        )
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn certified() -> (Arc<ServerConfig>, tempfile::NamedTempFile) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    file.write_all(pem.as_bytes()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().to_vec().into()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(config), file)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

fn serve(
    mut tls: Tls,
    streams: Option<u32>,
    act: impl Fn(usize) -> Act,
) -> Result<(), std::io::Error> {
    tls.conn.complete_io(&mut tls.sock)?;
    if tls.conn.alpn_protocol() != Some(b"h2") {
        return serve_http1(tls);
    }
    tls.read_exact(&mut [0; 24])?;
    let settings = streams.map_or(Vec::new(), |most| {
        [
            &MAX_CONCURRENT_STREAMS.to_be_bytes()[..],
            &most.to_be_bytes(),
        ]
        .concat()
    });
    tls.write_all(&frame(SETTINGS, 0, 0, &settings))?;
    tls.flush()?;
    // Streams whose answers are due later.
    let mut due: Vec<(Instant, u32)> = Vec::new();
    let mut requests = 0;
    loop {
        let now = Instant::now();
        for (_, stream) in due.extract_if(.., |(at, _)| *at <= now) {
            tls.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream, OK))?;
            tls.flush()?;
        }
        tls.sock
            .set_read_timeout((!due.is_empty()).then_some(Duration::from_millis(20)))?;
        let mut head = [0; 9];
        match tls.read(&mut head[..1]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        tls.sock.set_read_timeout(None)?;
        tls.read_exact(&mut head[1..])?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        tls.read_exact(&mut payload)?;
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let ends = matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0;
        let answer = match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let echoed = if kind == PING { payload } else { Vec::new() };
                frame(kind, ACK, 0, &echoed)
            }
            _ if ends => {
                requests += 1;
                match act(requests - 1) {
                    Act::Answer => frame(HEADERS, END_HEADERS | END_STREAM, stream, OK),
                    Act::AnswerAfter(wait) => {
                        due.push((Instant::now() + wait, stream));
                        continue;
                    }
                    Act::FallSilent => loop {
                        std::thread::park();
                    },
                    Act::Reset(code) => frame(RST_STREAM, 0, stream, &code.to_be_bytes()),
                    Act::Break => {
                        // And `content-length: 100`.
                        let head = [OK, &[0x0f, 0x0d, 3], b"100"].concat();
                        let frames = [
                            frame(HEADERS, END_HEADERS, stream, &head),
                            frame(DATA, 0, stream, b"four"),
                            frame(RST_STREAM, 0, stream, &[0; 4]),
                        ];
                        frames.concat()
                    }
                }
            }
            _ => continue,
        };
        tls.write_all(&answer)?;
        tls.flush()?;
    }
}

fn serve_http1(mut tls: Tls) -> Result<(), std::io::Error> {
    let mut text = Vec::new();
    let mut some = [0; 4096];
    loop {
        let read = tls.read(&mut some)?;
        if read == 0 {
            return Ok(());
        }
        text.extend_from_slice(&some[..read]);
        // The body is JSON, and ends with a brace.
        if text.ends_with(b"}") {
            text.clear();
            tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            tls.flush()?;
        }
    }
}

fn attempts(delivery: &Value) -> Vec<&str> {
    let attempts = delivery["attempts"].as_array().unwrap();
    let kind = |attempt: &'_ Value| match &attempt["error"]["kind"] {
        Value::String(kind) => match kind.as_str() {
            "timeout" => "timeout",
            "protocol" => "protocol",
            _ => "other",
        },
        _ => "none",
    };
    attempts.iter().map(kind).collect()
}

fn delivered(daemon: &Daemon, event: &str, endpoint: &str) -> Value {
    daemon.wait_status(event, endpoint, "delivered")
}

#[test]
fn a_peer_that_stopped_reading_swallows_one_attempt_each_at_most() {
    let peer = Peer::start(None, |connection, request| match (connection, request) {
        (0, 1..) => Act::FallSilent,
        _ => Act::Answer,
    });
    let home = Home::new();
    let config = peer.config("timeout = \"1s\"")
        + &peer.endpoint("ours", "")
        + &peer.endpoint("theirs", "tenant = \"t\"");
    let daemon = home.start(&config);
    let first = daemon.send("a", "0");
    delivered(&daemon, &first, "ours");
    let ids: Vec<String> = (1..15).map(|n| daemon.send("a", &n.to_string())).collect();
    let theirs = daemon.send_with("a", "0", "\"tenant\": \"t\"");
    for id in &ids {
        let delivery = delivered(&daemon, id, "ours");
        let attempts = attempts(&delivery);
        assert!(
            matches!(attempts[..], ["none"] | ["timeout", "none"]),
            "{attempts:?}"
        );
    }
    let delivery = delivered(&daemon, &theirs, "theirs");
    assert!(attempts(&delivery).len() <= 2, "{delivery}");
    assert!((2..=3).contains(&peer.connections()));
}

#[test]
fn with_one_stream_at_a_time_a_slow_endpoint_costs_its_neighbours_no_attempt() {
    let peer = Peer::start(Some(1), |connection, request| match (connection, request) {
        (0, 0) => Act::AnswerAfter(Duration::from_secs(5)),
        _ => Act::Answer,
    });
    let home = Home::new();
    let config = peer.config("")
        + &peer.endpoint("slow", "types = [\"slow\"]\ntimeout = \"20s\"")
        + &peer.endpoint("quick", "types = [\"quick\"]\ntimeout = \"3s\"");
    let daemon = home.start(&config);
    let slow = daemon.send("slow", "0");
    wait_for(
        || (peer.connections() == 1).then_some(()),
        || "nobody connected".to_owned(),
    );
    for n in 0..5 {
        let quick = daemon.send("quick", &n.to_string());
        let delivery = delivered(&daemon, &quick, "quick");
        assert_eq!(attempts(&delivery), ["none"]);
    }
    assert_eq!(attempts(&delivered(&daemon, &slow, "slow")), ["none"]);
    assert_eq!(peer.connections(), 2);
}

#[test]
fn an_answer_that_breaks_off_in_good_order_is_no_success() {
    let peer = Peer::start(None, |connection, _| match connection {
        0 => Act::Break,
        _ => Act::Answer,
    });
    let home = Home::new();
    let daemon = home.start(&(peer.config("") + &peer.endpoint("one", "")));
    let event = daemon.send("a", "1");
    let delivery = delivered(&daemon, &event, "one");
    assert_eq!(attempts(&delivery), ["protocol", "none"]);
    assert_eq!(delivery["attempts"][0]["status"], 200);
    assert_eq!(delivery["attempts"][0]["response_body"], "four");
}

#[test]
fn what_was_not_looked_at_is_sent_again_at_once_and_where_asked_over_http_1_1() {
    for code in [REFUSED_STREAM, HTTP_1_1_REQUIRED] {
        let peer = Peer::start(None, move |connection, _| match connection {
            0 => Act::Reset(code),
            _ => Act::Answer,
        });
        let home = Home::new();
        let daemon = home.start(&(peer.config("") + &peer.endpoint("one", "")));
        for n in 0..3 {
            let event = daemon.send("a", &n.to_string());
            let delivery = delivered(&daemon, &event, "one");
            assert_eq!(attempts(&delivery), ["none"], "code {code}");
        }
        assert_eq!(peer.connections(), 2, "code {code}");
    }
}

#[test]
fn a_busy_connection_is_replaced_when_it_is_as_old_as_it_may_become() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = "[delivery]\nconnection_max_age = \"1s\"\nallow_networks = [\"127.0.0.0/8\"]\n";
    let config = config.to_owned() + &endpoint("one", &receiver.url("/"), "max_in_flight = 1");
    let daemon = home.start(&config);
    let begin = Instant::now();
    while receiver.connections() < 2 {
        let event = daemon.send("a", "1");
        delivered(&daemon, &event, "one");
        assert!(begin.elapsed() < Duration::from_secs(20), "it is kept");
    }
    assert!(begin.elapsed() >= Duration::from_secs(1), "it was not kept");
}
