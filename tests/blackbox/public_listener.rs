//! The public listener: what is there, what is not, and callers that mean no good.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::harness::http::{Interface, head};
use crate::harness::{Daemon, Home, PATIENCE, wait_for};

/// It takes any loopback port.
const LISTEN: &str = "http = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"\n";
/// From one address, before one more is closed.
const PER_ADDRESS: usize = 64;

fn start(home: &Home, more: &str) -> Daemon {
    let socket = home.path("api.sock");
    home.start(&format!("[listen]\nunix = {socket:?}\n{LISTEN}{more}"))
}

#[track_caller]
fn is_nowhere(public: &Interface, method: &str, path: &str) {
    let answer = public.request(method, path, &[], b"");
    assert_eq!((answer.status, &*answer.body), (404, &b""[..]), "{path}");
}

#[test]
fn nothing_of_the_api_is_there() {
    let home = Home::new();
    let daemon = start(&home, "");
    let public = daemon.public();
    for path in [
        "/",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/status",
        "/v1/events",
        "/v1/endpoints",
        "//v1/status",
        "/in",
        "/in/",
        "/in/../v1/status",
        "/in/%2e%2e/v1/status",
        "//in/x",
        "/in/x/y",
        // A source that does not exist.
        "/in/x",
    ] {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE"] {
            is_nowhere(&public, method, path);
        }
    }
    // No host and no origin is asked for.
    let headers = [
        ("host", "hooks.example.com"),
        ("origin", "https://evil.example"),
    ];
    let answer = public.request("POST", "/in/x", &headers, b"{}");
    assert_eq!(answer.status, 404);
    daemon.tcp.get("/v1/status").expect(200);
    let over_api = daemon.tcp.post_json("/in/x", "{}");
    assert!(over_api.problem(404).contains("/in/x"));
    assert!(daemon.stop().success());
}

#[test]
fn a_port_in_use_is_told_before_the_store_is_opened() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!("[listen]\nhttp = \"127.0.0.1:0\"\ninbound = \"{address}\"\n");
    let path = home.write_config(&config);
    let ran = home.run(&["serve", "--config", path.to_str().unwrap()]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(&address.to_string()), "{ran:?}");
    assert!(!home.data_dir().exists());
}

#[test]
fn slow_callers_are_cut_off_and_hold_nobody_up() {
    let home = Home::new();
    let daemon = start(&home, "");
    let public = daemon.public();
    let unfinished = b"POST /in/x HTTP/1.1\r\nhost: a\r\n";
    std::thread::scope(|scope| {
        let slow = [&b""[..], unfinished].map(|sent| {
            let public = public.clone();
            scope.spawn(move || {
                let mut connection = public.connect().unwrap();
                connection.send(sent).unwrap();
                let start = Instant::now();
                // An error is an end as well.
                let _ = connection.rest();
                start.elapsed()
            })
        });
        is_nowhere(&public, "POST", "/in/x");
        daemon.tcp.get("/v1/status").expect(200);
        for slow in slow {
            let took = slow.join().unwrap();
            assert!(took < PATIENCE, "{took:?}");
            assert!(took > Duration::from_secs(1), "only {took:?}");
        }
    });
}

/// Opens connections until one is closed at once; at most `most`.
fn open(public: &Interface, most: usize) -> usize {
    let mut connections = Vec::new();
    while connections.len() < most {
        let mut connection = public.connect().unwrap();
        if connection.ask("GET", "/in/x", &[], b"").is_err() {
            break;
        }
        connections.push(connection);
    }
    connections.len()
}

#[test]
fn one_address_does_not_take_all_connections() {
    let home = Home::new();
    let daemon = start(&home, "");
    let public = daemon.public();
    assert_eq!(open(&public, 2 * PER_ADDRESS), PER_ADDRESS);
    daemon.tcp.get("/v1/status").expect(200);
    let told = daemon.wait_log("listen.trusted_proxies");
    assert_eq!(told["address"], "127.0.0.1");
    // They are gone, and there is room again.
    wait_for(
        || public.try_request("GET", "/in/x", &[], b"").ok(),
        || "no connection is let in any more".to_owned(),
    );
    let proxied = start(&Home::new(), "trusted_proxies = [\"127.0.0.0/8\"]\n");
    let most = 2 * PER_ADDRESS;
    assert_eq!(open(&proxied.public(), most), most);
}

/// Writes a certificate for localhost and its key; gives the keys of the configuration.
fn certify(home: &Home) -> (String, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let (cert_file, key_file) = (home.path("cert.pem"), home.path("key.pem"));
    std::fs::write(&cert_file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let keys = format!("inbound_cert_file = {cert_file:?}\ninbound_key_file = {key_file:?}\n");
    (keys, certificate.der().clone())
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(address: SocketAddr, certificate: &CertificateDer<'static>) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(
        ClientConnection::new(Arc::new(config), name).unwrap(),
        stream,
    )
}

/// Asks over TLS, and gives the line with the status.
fn ask(tls: &mut Tls, path: &str) -> std::io::Result<String> {
    tls.write_all(&head("GET", path, &[("connection", "close")], None))?;
    let mut said = String::new();
    tls.read_to_string(&mut said)?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn it_speaks_tls_with_the_certificate_of_the_files() {
    let home = Home::new();
    let (keys, certificate) = certify(&home);
    let daemon = start(&home, &keys);
    let address = daemon.inbound.unwrap();
    // A handshake that stalls holds nobody up.
    let mut stalled = TcpStream::connect(address).unwrap();
    stalled.write_all(&[0x16, 0x03, 0x01]).unwrap();
    let mut tls = connect(address, &certificate);
    assert_eq!(ask(&mut tls, "/in/x").unwrap(), "HTTP/1.1 404 Not Found");
    // Neither plain HTTP nor a client that trusts another certificate gets an answer.
    assert!(
        daemon
            .public()
            .try_request("GET", "/in/x", &[], b"")
            .is_err()
    );
    let (_, renewed) = certify(&home);
    // The files are looked at once in 10 s, at a new connection.
    let answer = wait_for(
        || ask(&mut connect(address, &renewed), "/in/x").ok(),
        || format!("the new certificate is not taken: {}", daemon.log_text()),
    );
    assert_eq!(answer, "HTTP/1.1 404 Not Found");
    daemon.wait_log("has a new certificate");
}

#[test]
fn a_certificate_without_its_key_is_a_fault_at_the_start() {
    let home = Home::new();
    let (keys, _) = certify(&home);
    let key = std::fs::read(home.path("key.pem")).unwrap();
    let (_, certificate) = certify(&home);
    std::fs::write(home.path("key.pem"), &key).unwrap();
    assert!(CertificateDer::from_pem_file(home.path("cert.pem")).unwrap() == certificate);
    let path = home.write_config(&format!("[listen]\n{LISTEN}{keys}"));
    for command in ["check", "serve"] {
        let ran = home.run(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains("listen.inbound_key_file"), "{ran:?}");
        assert!(ran.stderr.contains("does not belong"), "{ran:?}");
    }
}
