//! `outboxd doctor` and the diagnosis of the API: every step, well and not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::endpoint_api::{id_of, made};
use crate::harness::http::head;
use crate::harness::namespaces::is_inside;
use crate::harness::{Answer, Daemon, Home, PATIENCE, Ran, Receiver, endpoint, wait_for};

/// Retries far away, so that what happens is what was asked for.
const LATER: &str = "[retry]\nfirst = \"1h\"\nmax = \"1h\"\njitter = 0.0\n";
const STEPS: [&str; 6] = ["endpoint", "resolve", "judge", "connect", "tls", "send"];

/// A diagnosis without a test event.
#[track_caller]
fn diagnosed(daemon: &Daemon, id: &str) -> Value {
    let path = format!("/v1/endpoints/{id}/diagnose");
    let found = daemon.tcp.post_json(&path, b"{}").expect(200);
    assert_eq!(found["endpoint"], id, "{found:#}");
    let steps = found["steps"].as_array().unwrap();
    let names: Vec<&str> = steps
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, STEPS, "{found:#}");
    let failed = steps.iter().any(|step| step["status"] == "failed");
    assert_eq!(found["ok"], !failed, "{found:#}");
    assert_eq!(step(&found, "send")["status"], "skipped");
    found
}

fn step<'a>(found: &'a Value, name: &str) -> &'a Value {
    let mut steps = found["steps"].as_array().unwrap().iter();
    steps.find(|step| step["name"] == name).unwrap()
}

/// Asserts how the steps went, by their first letters: `os---o`.
#[track_caller]
fn went(found: &Value, expected: [&str; 6]) {
    let steps = found["steps"].as_array().unwrap();
    let statuses: Vec<&str> = steps
        .iter()
        .map(|it| it["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, expected, "{found:#}");
}

/// Asserts that a step went so, and that its detail and its hint hold these parts.
#[track_caller]
fn says(found: &Value, name: &str, status: &str, parts: &[&str], hint: &str) {
    let step = step(found, name);
    assert_eq!(step["status"], status, "{found:#}");
    let detail = step["detail"].as_str().unwrap();
    for part in parts {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let hinted = step["hint"].as_str().unwrap_or_default();
    assert!(hinted.contains(hint), "{hint}: {step:#}");
    assert_eq!(hinted.is_empty(), hint.is_empty(), "{step:#}");
}

fn doctor(home: &Home, daemon: &Daemon, more: &[&str]) -> Ran {
    let url = daemon.url();
    home.run(&[&["doctor", "--url", &url], more].concat())
}

/// Waits until the receiver has accepted all connections, so many.
#[track_caller]
fn connected(receiver: &Receiver, count: usize) {
    let accepted = || (receiver.connections() >= count).then_some(());
    wait_for(accepted, || {
        format!("{} connections", receiver.connections())
    });
    assert_eq!(receiver.connections(), count);
}

#[test]
fn a_healthy_endpoint_is_well_and_sees_no_request() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("e", &receiver.url("/hook"), ""));
    let found = diagnosed(&daemon, "e");
    went(&found, ["ok", "skipped", "ok", "ok", "skipped", "skipped"]);
    says(
        &found,
        "endpoint",
        "ok",
        &["enabled", "no secret", "no attempt"],
        "",
    );
    let allowed = "127.0.0.1 is allowed by 127.0.0.0/8 in delivery.allow_networks";
    says(&found, "judge", "ok", &[allowed], "");
    let address = receiver.address().to_string();
    says(&found, "connect", "ok", &[&address], "");
    assert_eq!(found["event"], Value::Null);
    let ran = doctor(&home, &daemon, &["e"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 1 + STEPS.len(), "{ran:?}");
    assert!(lines[0].contains(&receiver.url("/hook")), "{ran:?}");
    let asked = doctor(&home, &daemon, &["e", "--json"]).json();
    assert_eq!(asked["ok"], true);
    connected(&receiver, 3);
    assert_eq!(receiver.seen().len(), 0, "no request was asked for");
    assert_eq!(daemon.tcp.get("/v1/events").expect(200)["data"], json!([]));
    assert!(!daemon.log_text().contains("changed through the API"));
}

#[test]
fn a_test_event_is_sent_on_request_and_its_answer_told() {
    let receiver = Receiver::statuses(&[204, 503]);
    let home = Home::new();
    let config = LATER.to_owned() + &endpoint("e", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let found = doctor(&home, &daemon, &["e", "--send", "--json"]).json();
    let event = found["event"].as_str().unwrap();
    let by = format!("by {}", receiver.address());
    says(&found, "send", "ok", &[event, "answered with 204", &by], "");
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].id()), (1, event));
    assert!(
        seen[0].text().contains("\"outboxd.test\""),
        "{}",
        seen[0].text()
    );
    daemon.wait_status(event, "e", "delivered");
    let line = daemon.wait_log("changed through the API");
    assert_eq!(
        (&line["action"], &line["object"]),
        (&"endpoint.test".into(), &"e".into())
    );
    // One that is refused.
    let ran = doctor(&home, &daemon, &["e", "--send"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["✗ send", "status: answered 503", "outboxd explain evt_"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    assert!(ran.stderr.contains("failed: send"), "{ran:?}");
    assert_eq!(receiver.seen().len(), 2);
    let refused = receiver.seen()[1].id().to_owned();
    daemon.wait_delivery(&refused, "e", "stored", |one| one["attempt_count"] == 1);
    let now = diagnosed(&daemon, "e");
    says(
        &now,
        "endpoint",
        "ok",
        &["1 pending", "last failure at", "answered 503"],
        "",
    );
}

#[test]
fn an_address_that_may_not_be_dialled_is_not() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let with = |networks: &str| {
        format!("[delivery]\nallow_networks = [{networks}]\n")
            + &endpoint("e", &receiver.url("/"), "")
            + &endpoint(
                "own",
                &receiver.url("/"),
                "allow_networks = [\"127.0.0.1/32\"]",
            )
    };
    let daemon = home.start(&with(""));
    let found = diagnosed(&daemon, "e");
    went(
        &found,
        ["ok", "skipped", "failed", "skipped", "skipped", "skipped"],
    );
    let why = ["127.0.0.1 is a loopback address and no allow_networks holds it"];
    says(&found, "judge", "failed", &why, "allow_networks");
    says(&found, "connect", "skipped", &["judge failed"], "");
    let own = diagnosed(&daemon, "own");
    says(
        &own,
        "judge",
        "ok",
        &["127.0.0.1/32 in the endpoint's allow_networks"],
        "",
    );
    connected(&receiver, 1);
    // A test event would be refused as well.
    let found = doctor(&home, &daemon, &["e", "--send", "--json"]);
    assert_eq!(found.code, Some(1));
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    says(
        &found,
        "send",
        "skipped",
        &["nothing was sent, because judge failed"],
        "",
    );
    assert_eq!(daemon.tcp.get("/v1/events").expect(200)["data"], json!([]));
    // The rules in force are those of the last reload.
    home.write_config(&with("\"127.0.0.0/8\""));
    daemon.reload();
    went(
        &diagnosed(&daemon, "e"),
        ["ok", "skipped", "ok", "ok", "skipped", "skipped"],
    );
}

#[test]
fn nobody_listening_and_no_such_name_are_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let home = Home::new();
    let config = endpoint("closed", &format!("http://{closed}/"), "")
        + &endpoint("nowhere", "https://receiver.invalid/", "");
    let daemon = home.start(&config);
    let found = diagnosed(&daemon, "closed");
    went(
        &found,
        ["ok", "skipped", "ok", "failed", "skipped", "skipped"],
    );
    let refused = format!("connection refused by {closed}");
    says(
        &found,
        "connect",
        "failed",
        &[&refused],
        "listens at that port",
    );
    let found = diagnosed(&daemon, "nowhere");
    went(
        &found,
        ["ok", "failed", "skipped", "skipped", "skipped", "skipped"],
    );
    says(
        &found,
        "resolve",
        "failed",
        &["receiver.invalid"],
        "getent hosts receiver.invalid",
    );
}

#[test]
fn a_disabled_endpoint_gets_no_test_event() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("file", &receiver.url("/"), "enabled = false"));
    let api = id_of(&made(
        &daemon,
        json!({"url": receiver.url("/"), "enabled": false}),
    ));
    for (id, hint) in [
        ("file", "set `enabled = true` for file".to_owned()),
        (&*api, format!("outboxd endpoints enable {api}")),
    ] {
        let found = diagnosed(&daemon, id);
        went(
            &found,
            ["failed", "skipped", "ok", "ok", "skipped", "skipped"],
        );
        says(&found, "endpoint", "failed", &["disabled (manual)"], &hint);
        let ran = doctor(&home, &daemon, &[id, "--send"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stdout.contains("because endpoint failed"), "{ran:?}");
    }
    assert_eq!(receiver.seen().len(), 0);
}

#[test]
fn an_open_breaker_is_a_warning() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let home = Home::new();
    let retry = "[retry]\nschedule = [\"1ms\", \"1ms\", \"1ms\", \"1ms\", \"1h\"]\njitter = 0.0\n";
    let daemon = home.start(&(retry.to_owned() + &endpoint("sick", &receiver.url("/"), "")));
    daemon.send("a", "1");
    let opened = || (daemon.status()["endpoints"]["breaker_open"] == 1).then_some(());
    wait_for(opened, || "the breaker stays closed".to_owned());
    let found = diagnosed(&daemon, "sick");
    let parts = [
        "circuit breaker open, next probe at",
        "status: answered 500",
    ];
    says(&found, "endpoint", "warning", &parts, "the last failure");
    assert_eq!(doctor(&home, &daemon, &["sick"]).code, Some(0));
}

#[test]
fn what_only_the_endpoint_may_know_is_not_shown() {
    // As Slack answers.
    let receiver = Receiver::answering(|_| Answer::reply(200, &[], "ok"));
    let home = Home::new();
    let daemon = home.start("");
    let definition = json!({"url": receiver.url("/services/T0/B0/hush"), "preset": "slack",
        "headers": {"x-key": "hush"}, "auth": {"type": "bearer", "token": "hush"}});
    let id = id_of(&made(&daemon, definition));
    for more in [&[&*id, "--send"][..], &[&id, "--send", "--json"], &[&id]] {
        let ran = doctor(&home, &daemon, more);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let said = format!("{ran:?}");
        assert!(!said.contains("hush") && !said.contains("whsec_"), "{said}");
        assert!(said.contains("127.0.0.1"), "{said}");
    }
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn an_endpoint_or_a_daemon_that_is_not_there_is_an_error() {
    let home = Home::new();
    let daemon = home.start("");
    let ran = doctor(&home, &daemon, &["nobody"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:?}");
    assert!(
        ran.stderr.contains("no such endpoint (HTTP 404)"),
        "{ran:?}"
    );
    let path = "/v1/endpoints/nobody/diagnose";
    let detail = daemon.tcp.post_json(path, br#"{"send": 1}"#).problem(400);
    assert!(detail.contains("send"), "{detail}");
    let url = daemon.url();
    daemon.kill();
    let ran = home.run(&["doctor", "e", "--url", &url]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot reach outboxd at"), "{ran:?}");
}

/// A TLS server that ends connections on which nothing is sent.
struct Secure {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Secure {
    /// With `clients`, it lets in only whom that authority has signed.
    fn start((certificate, key): &(String, String), clients: Option<&Authority>) -> Secure {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(der(&authority.pem)).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = config
            .with_single_cert(vec![der(certificate)], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let count = requests.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut tls = ServerConnection::new(config.clone()).unwrap();
                // Alerts are sent by the next round.
                while tls.complete_io(&mut stream).is_ok_and(|(read, _)| read > 0) {}
                let _ = tls.complete_io(&mut stream);
                let mut bytes = [0; 64];
                if tls.reader().read(&mut bytes).is_ok_and(|read| read > 0) {
                    count.fetch_add(1, Ordering::AcqRel);
                }
            }
        });
        Secure { address, requests }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }
}

/// A server that answers in plain HTTP whatever it is sent.
fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        }
    });
    address
}

/// `days` from now, for a certificate.
fn valid_until(params: &mut rcgen::CertificateParams, days: u64) {
    let then = SystemTime::now() + Duration::from_secs(days * 24 * 3600 + 3600);
    params.not_after = then.into();
}

#[test]
fn a_certificate_is_told_and_what_is_wrong_with_it() {
    let authority = Authority::named("Our Own Root");
    let good = Secure::start(&authority.sign("localhost"), None);
    let other = Secure::start(&authority.sign("other.test"), None);
    let soon = authority.sign_with("localhost", |params| valid_until(params, 3));
    let soon = Secure::start(&soon, None);
    let expired = authority.sign_with("localhost", |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let expired = Secure::start(&expired, None);
    let plain = plain();
    let home = Home::new();
    std::fs::write(home.path("ca.pem"), &authority.pem).unwrap();
    let trusting = format!("ca_file = {:?}", home.path("ca.pem"));
    let plain_url = format!("https://localhost:{}/", plain.port());
    let config = endpoint("good", &good.url(), &trusting)
        + &endpoint("old", &good.url(), &format!("{trusting}\nhttp2 = false"))
        + &endpoint("strange", &good.url(), "")
        + &endpoint("other", &other.url(), &trusting)
        + &endpoint("soon", &soon.url(), &trusting)
        + &endpoint("expired", &expired.url(), &trusting)
        + &endpoint("plain", &plain_url, "");
    let daemon = home.start(&config);
    let shown = "a certificate for localhost, issued by CN=Our Own Root";
    let tls = |id: &str, status: &str, parts: &[&str], hint: &str| {
        says(&diagnosed(&daemon, id), "tls", status, parts, hint);
    };
    tls("good", "ok", &["TLS 1.3, HTTP/2", shown, "valid until"], "");
    tls("old", "ok", &["TLS 1.3, HTTP/1.1", shown], "");
    tls("strange", "failed", &["UnknownIssuer", shown], "`ca_file`");
    tls(
        "other",
        "failed",
        &["localhost", "other.test"],
        "one of the certificate's names",
    );
    tls("soon", "warning", &["(3 days)"], "expires in 3 days");
    tls(
        "expired",
        "failed",
        &["expired", "until 2020-01-01T00:00:00.000Z"],
        "renew",
    );
    tls("plain", "failed", &["TLS with"], "does not speak TLS");
    assert_eq!(doctor(&home, &daemon, &["good"]).code, Some(0));
    assert_eq!(
        doctor(&home, &daemon, &["soon"]).code,
        Some(0),
        "a warning is no failure"
    );
    let ran = doctor(&home, &daemon, &["expired"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("failed: tls"), "{ran:?}");
    for server in [&good, &other, &soon, &expired] {
        assert_eq!(server.requests.load(Ordering::Acquire), 0);
    }
}

#[test]
fn a_client_certificate_that_is_asked_for_is_told() {
    let [servers, clients, strangers] = ["servers", "clients", "strangers"].map(Authority::named);
    let guarded = Secure::start(&servers.sign("localhost"), Some(&clients));
    let open = Secure::start(&servers.sign("localhost"), None);
    let home = Home::new();
    let daemon = home.start("");
    let with = |url: String, pair: Option<&(String, String)>| {
        let mut definition = json!({"url": url, "ca": servers.pem});
        if let Some((certificate, key)) = pair {
            definition["client_cert"] = json!(certificate);
            definition["client_key"] = json!(key);
        }
        id_of(&made(&daemon, definition))
    };
    let known = clients.sign("us");
    let soon = clients.sign_with("us", |params| valid_until(params, 5));
    let cases = [
        (
            with(guarded.url(), Some(&known)),
            "ok",
            "asked for the endpoint's client",
            "",
        ),
        (
            with(guarded.url(), Some(&soon)),
            "warning",
            "client certificate",
            "in 5 days",
        ),
        (with(open.url(), Some(&known)), "ok", "does not ask for", ""),
        (
            with(guarded.url(), None),
            "failed",
            "wants a client certificate",
            "`client_cert`",
        ),
        (
            with(guarded.url(), Some(&strangers.sign("us"))),
            "failed",
            "refused the client certificate",
            "has to trust the endpoint's client certificate",
        ),
    ];
    for (id, status, part, hint) in cases {
        let found = diagnosed(&daemon, &id);
        says(&found, "tls", status, &[part], hint);
        assert!(!found.to_string().contains("BEGIN"), "{found}");
    }
}

#[test]
fn a_diagnosis_ends_when_its_client_is_gone() {
    // It accepts, and then says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let home = Home::new();
    let delivery = "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nconnect_timeout = \"10m\"\ntimeout = \"10m\"\n";
    let daemon = home.start(&(delivery.to_owned() + &endpoint("silent", &url, "")));
    let mut client = daemon.tcp.connect().unwrap();
    let path = "/v1/endpoints/silent/diagnose";
    client.send(&head("POST", path, &[], Some(0))).unwrap();
    let (mut stream, _) = silent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = [0; 4096];
    assert!(stream.read(&mut hello).unwrap() > 0);
    drop(client);
    let mut rest = Vec::new();
    let began = Instant::now();
    let ended = stream.read_to_end(&mut rest);
    assert!(
        began.elapsed() < PATIENCE,
        "{ended:?}: the connection stays open"
    );
    // Others are diagnosed meanwhile and after.
    let taken = TcpStream::connect(silent.local_addr().unwrap());
    assert!(taken.and_then(|mut one| one.write_all(b"x")).is_ok());
    assert_eq!(daemon.status()["backlog"]["in_flight"], 0);
}

const SEVERAL: &str = "doctor::each_address_of_a_name_is_told";
const HOSTS: &str = "ip link set lo up && mount --bind \"$OUTBOXD_TEST_HOSTS\" /etc/hosts";

#[test]
fn each_address_of_a_name_is_told() {
    let home = Home::new();
    let hosts = home.path("hosts");
    let lines = "127.0.0.1 some.test\n127.0.0.2 some.test\n10.0.0.1 some.test\n";
    std::fs::write(&hosts, lines).unwrap();
    let env = [("OUTBOXD_TEST_HOSTS", hosts.to_str().unwrap())];
    if !is_inside(SEVERAL, HOSTS, &env) {
        return;
    }
    let receiver = Receiver::ok();
    let port = receiver.address().port();
    let daemon = home.start(&endpoint("e", &format!("http://some.test:{port}/"), ""));
    let found = diagnosed(&daemon, "e");
    let parts = ["some.test is ", "127.0.0.1", "127.0.0.2", "10.0.0.1"];
    says(&found, "resolve", "ok", &parts, "");
    let parts = [
        "127.0.0.2 is allowed",
        "10.0.0.1 is a private address and no allow_networks holds it",
    ];
    says(&found, "judge", "warning", &parts, "never connects");
    let accepted = format!("127.0.0.1:{port} accepted");
    let refused = format!("connection refused by 127.0.0.2:{port}");
    let parts = [accepted.as_str(), &refused];
    says(
        &found,
        "connect",
        "warning",
        &parts,
        "the addresses that answer",
    );
    assert!(!step(&found, "connect").to_string().contains("10.0.0.1"));
    assert_eq!(doctor(&home, &daemon, &["e"]).code, Some(0));
}

/// A proxy that opens a tunnel to `to`, whatever it is asked for.
fn proxy(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                match near.read(&mut byte) {
                    Ok(1) => asked.push(byte[0]),
                    _ => break,
                }
            }
            let far = TcpStream::connect(to).unwrap();
            let _ = near.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut &far, &mut near));
        }
    });
    address
}

#[test]
fn a_proxy_resolves_and_connects() {
    let authority = Authority::new();
    let server = Secure::start(&authority.sign("far.test"), None);
    let proxy = proxy(server.address);
    let home = Home::new();
    std::fs::write(home.path("ca.pem"), &authority.pem).unwrap();
    let config = format!(
        "[delivery]\nproxy = \"http://{proxy}\"\nca_file = {:?}\n",
        home.path("ca.pem")
    ) + &endpoint("far", "https://far.test/", "")
        + &endpoint("plain", "http://far.test/", "")
        + &endpoint("inside", "https://127.0.0.1/", "");
    let daemon = home.start(&config);
    let found = diagnosed(&daemon, "far");
    went(&found, ["ok", "skipped", "ok", "ok", "ok", "skipped"]);
    says(&found, "resolve", "skipped", &["delivery.proxy"], "");
    let tunnel = format!("the proxy {proxy} opened a tunnel to far.test:443");
    says(&found, "connect", "ok", &[&tunnel], "");
    says(&found, "tls", "ok", &["a certificate for far.test"], "");
    let found = diagnosed(&daemon, "plain");
    says(
        &found,
        "judge",
        "failed",
        &["delivery.allow_http"],
        "use https",
    );
    let found = diagnosed(&daemon, "inside");
    says(
        &found,
        "judge",
        "failed",
        &["127.0.0.1 is a loopback address"],
        "allow_networks",
    );
}
