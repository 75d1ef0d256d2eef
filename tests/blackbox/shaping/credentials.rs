//! How outboxd authenticates itself: tokens, passwords and client certificates; none of them is
//! shown.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::official;
use crate::authority::Authority;
use crate::endpoint_api::{id_of, made, patch};
use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

/// What must be shown nowhere.
const HUSH: &str = "hush-hush:& 1";
const TOKEN: &str = "t0ken-that-nobody-sees";

/// That no output of the daemon or the commands shows one of these.
#[track_caller]
fn hides(home: &Home, daemon: &Daemon, id: &str, event: &str, secrets: &[&str]) {
    let delivery = format!("/v1/events/{event}/deliveries/{id}");
    let paths = [
        format!("/v1/endpoints/{id}"),
        "/v1/endpoints".to_owned(),
        delivery.clone(),
        format!("{delivery}/explain"),
        "/v1/status".to_owned(),
        "/metrics".to_owned(),
        "/v1/deliveries".to_owned(),
    ];
    let mut said: Vec<String> = paths
        .iter()
        .map(|path| daemon.tcp.get(path).text())
        .collect();
    for args in [
        &["check", "--config", "outboxd.toml"][..],
        &["endpoints", "show", id, "--url", &daemon.url()],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        said.push(format!("{ran:?}"));
    }
    said.push(daemon.log_text());
    for text in said {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

/// A token server that checks the client and grants `TOKEN-n`.
fn tokens(by_header: bool) -> Receiver {
    Receiver::answering(move |seen| {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&seen.body)
            .into_owned()
            .collect();
        let has = |name: &str, value: &str| form.iter().any(|(n, v)| n == name && v == value);
        let encoded: String = url::form_urlencoded::byte_serialize(HUSH.as_bytes()).collect();
        let encoded = encoded.replace('+', "%20");
        let basic = format!("Basic {}", STANDARD.encode(format!("client:{encoded}")));
        let knows = match by_header {
            true => {
                seen.values("authorization") == [&*basic]
                    && !form.iter().any(|(n, _)| n == "client_secret")
            }
            false => {
                seen.values("authorization").is_empty()
                    && has("client_id", "client")
                    && has("client_secret", HUSH)
            }
        };
        let is_form = seen
            .header("content-type")
            .starts_with("application/x-www-form-urlencoded");
        let fits = is_form
            && has("grant_type", "client_credentials")
            && has("scope", "a b")
            && has("audience", "https://x.example");
        if !knows || !fits {
            return Answer::reply(401, &[], r#"{"error": "invalid_client"}"#);
        }
        let body = format!(
            r#"{{"access_token": "{TOKEN}-{}", "token_type": "bearer", "expires_in": 3600}}"#,
            seen.number
        );
        Answer::reply(200, &[("content-type", "application/json")], &body)
    })
}

#[test]
fn oauth2_tokens_are_fetched_kept_and_renewed_after_a_401() {
    for (method, by_header) in [("client_secret_basic", true), ("client_secret_post", false)] {
        let server = tokens(by_header);
        // The third request finds its token refused.
        let receiver = Receiver::answering(|seen| {
            let expected = if seen.number < 2 { 0 } else { 1 };
            let good = format!("Bearer {TOKEN}-{expected}");
            Answer::status(if seen.header("authorization") == good {
                200
            } else {
                401
            })
        });
        let home = Home::new();
        std::fs::write(home.path("client"), format!("{HUSH}\n")).unwrap();
        let auth = format!(
            "auth = {{ type = \"oauth2\", token_url = \"{}\", client_id = \"client\", client_secret_file = {:?}, scope = \"a b\", audience = \"https://x.example\", auth_method = \"{method}\" }}",
            server.url("/token"),
            home.path("client")
        );
        let config = "[log]\nlevel = \"trace\"\nformat = \"json\"\n".to_owned()
            + &endpoint("e", &receiver.url("/"), &auth);
        let daemon = home.start(&config);
        let mut last = String::new();
        for n in 0..3 {
            last = daemon.send("a", &n.to_string());
            daemon.wait_status(&last, "e", "delivered");
        }
        assert_eq!(server.seen().len(), 2, "{method}");
        assert_eq!(receiver.seen().len(), 4);
        let encoded = STANDARD.encode(HUSH);
        hides(&home, &daemon, "e", &last, &[HUSH, TOKEN, &encoded, "hush"]);
        let shown = daemon.endpoint("e")["auth"].clone();
        assert_eq!(
            (&shown["client_id"], &shown["client_secret"]),
            (&json!("client"), &json!("…"))
        );
    }
}

#[test]
fn a_token_that_cannot_be_had_is_a_failure_of_kind_auth() {
    let server = Receiver::answering(|seen| {
        let body =
            r#"{"error": "invalid_client", "error_description": "secret hush-hush:& 1 is wrong"}"#;
        match seen.number {
            0 => Answer::reply(401, &[], body),
            1 => Answer::status(500),
            2 => Answer::reply(302, &[("location", "/elsewhere")], ""),
            _ => Answer::reply(
                200,
                &[],
                r#"{"access_token": "t0ken-that-nobody-sees", "token_type": "Bearer"}"#,
            ),
        }
    });
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start("");
    let auth = json!({"type": "oauth2", "token_url": server.url("/token"), "client_id": "client", "client_secret": HUSH});
    // A failure is remembered for a second.
    let retry = json!({"first": "1100ms", "max": "1100ms", "jitter": 0});
    let definition = json!({"url": receiver.url("/"), "auth": auth, "retry": retry});
    let id = id_of(&made(&daemon, definition));
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, &id, "delivered");
    assert_eq!(delivery["attempt_count"], 4, "{delivery:#}");
    for attempt in &delivery["attempts"].as_array().unwrap()[..3] {
        assert_eq!(attempt["error"]["kind"], "auth", "{attempt}");
    }
    assert_eq!(server.seen().len(), 4, "no redirect is followed");
    assert_eq!(
        receiver.seen()[0].header("authorization"),
        format!("Bearer {TOKEN}")
    );
    hides(&home, &daemon, &id, &event, &[HUSH, TOKEN, "hush"]);
    // What reads show does not come back as the secret.
    let masked = json!({"auth": daemon.endpoint(&id)["auth"]});
    patch(&daemon.tcp, &id, &masked).problem(400);
}

#[test]
fn passwords_and_fixed_tokens_are_sent_and_not_shown() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = endpoint(
        "basic",
        &receiver.url("/basic"),
        &format!("auth = {{ type = \"basic\", username = \"u\", password = \"{HUSH}\" }}"),
    ) + &endpoint(
        "bearer",
        &receiver.url("/bearer"),
        &format!("auth = {{ type = \"bearer\", token = \"{TOKEN}\" }}"),
    );
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    let encoded = STANDARD.encode(format!("u:{HUSH}"));
    for seen in receiver.wait(2) {
        let expected = if seen.path == "/basic" {
            format!("Basic {encoded}")
        } else {
            format!("Bearer {TOKEN}")
        };
        assert_eq!(seen.header("authorization"), expected);
    }
    for id in ["basic", "bearer"] {
        hides(&home, &daemon, id, &event, &[HUSH, TOKEN, &encoded]);
    }
    for (auth, part) in [
        (json!({"type": "digest"}), "auth.type"),
        (json!({"type": "bearer"}), "auth.token"),
        (json!({"type": "bearer", "token": "a b"}), "auth.token"),
        (
            json!({"type": "basic", "username": "a:b", "password": HUSH}),
            "auth.username",
        ),
        (
            json!({"type": "oauth2", "client_id": "c", "client_secret": HUSH}),
            "auth.token_url",
        ),
        (
            json!({"type": "oauth2", "token_url": "http://127.0.0.1:1/", "client_id": "c", "client_secret": HUSH, "scpe": "a"}),
            "auth.scpe",
        ),
        (
            json!({"type": "oauth2", "token_url": "http://127.0.0.1:1/", "client_id": "c", "client_secret_file": "/etc/passwd"}),
            "auth.client_secret_file",
        ),
        (json!("x"), "auth"),
    ] {
        let definition = json!({"url": receiver.url("/"), "auth": auth});
        let detail = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string())
            .problem(400);
        assert!(
            detail.contains(part) && !detail.contains("hush"),
            "{auth}: {detail}"
        );
    }
    let both = json!({"url": receiver.url("/"), "auth": {"type": "bearer", "token": TOKEN}, "headers": {"authorization": "x"}});
    daemon
        .tcp
        .post_json("/v1/endpoints", both.to_string())
        .problem(400);
}

/// A real server of OAuth 2.0, of the package Authlib, and a receiver that takes its tokens.
struct Authlib {
    child: Child,
    port: u16,
}

impl Authlib {
    fn start(python: &Path, dir: &Path) -> Authlib {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/blackbox/shaping/oauth_server.py"
        );
        let port_file = dir.join("port");
        let child = Command::new(python)
            .arg(script)
            .arg(&port_file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("python runs");
        let port = wait_for(
            || {
                std::fs::read_to_string(&port_file)
                    .ok()?
                    .trim()
                    .parse()
                    .ok()
            },
            || "the server does not start".to_owned(),
        );
        Authlib { child, port }
    }
}

impl Drop for Authlib {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_oauth2_server_grants_tokens() {
    let this = "shaping::credentials::a_real_oauth2_server_grants_tokens";
    let Some(python) = official::python(this, "authlib", &["authlib", "flask"]) else {
        return;
    };
    let home = Home::new();
    let server = Authlib::start(&python, home.path("x").parent().unwrap());
    let at = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    let daemon = home.start("");
    let of = |method: &str, secret: &str| {
        let auth = json!({"type": "oauth2", "token_url": at("/token"), "client_id": "outboxd", "client_secret": secret, "scope": "hooks", "auth_method": method});
        id_of(&made(
            &daemon,
            json!({"url": at("/hook"), "auth": auth, "tenant": method}),
        ))
    };
    for method in ["client_secret_basic", "client_secret_post"] {
        let id = of(method, HUSH);
        let event = daemon.send_with("a", "1", &format!("\"tenant\": \"{method}\""));
        let delivery = daemon.wait_status(&event, &id, "delivered");
        assert_eq!(delivery["attempt_count"], 1, "{delivery:#}");
        // All tokens are revoked: a new one is fetched at once.
        let revoke = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        write!(
            &revoke,
            "POST /revoke HTTP/1.0\r\ncontent-length: 0\r\n\r\n"
        )
        .unwrap();
        std::io::copy(&mut &revoke, &mut std::io::sink()).unwrap();
        let event = daemon.send_with("a", "2", &format!("\"tenant\": \"{method}\""));
        daemon.wait_status(&event, &id, "delivered");
        daemon
            .tcp
            .request("DELETE", &format!("/v1/endpoints/{id}"), &[], b"");
        let wrong = of(method, "wrong");
        let event = daemon.send_with("a", "3", &format!("\"tenant\": \"{method}\""));
        let delivery =
            daemon.wait_delivery(&event, &wrong, "tried", |one| one["attempt_count"] != 0);
        let error = &delivery["attempts"][0]["error"];
        assert_eq!(error["kind"], "auth");
        assert!(
            error["detail"].as_str().unwrap().contains("invalid_client"),
            "{error}"
        );
    }
}

/// A TLS server that lets in only clients of an authority, and notes their certificates.
struct Guarded {
    address: SocketAddr,
    clients: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Guarded {
    fn start(servers: &Authority, trusted: &Authority) -> Guarded {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let (certificate, key) = servers.sign("localhost");
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                chain,
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients = Arc::new(Mutex::new(Vec::new()));
        let noted = clients.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, noted) = (config.clone(), noted.clone());
                std::thread::spawn(move || {
                    let tls = ServerConnection::new(config).unwrap();
                    // Clients without a certificate are sent away.
                    let _ = converse(StreamOwned::new(tls, stream), &noted);
                });
            }
        });
        Guarded { address, clients }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }
}

/// Answers one request with 200.
fn converse(
    mut tls: StreamOwned<ServerConnection, TcpStream>,
    noted: &Mutex<Vec<Vec<u8>>>,
) -> std::io::Result<()> {
    let (mut text, mut bytes) = (Vec::new(), [0; 4096]);
    while !text.ends_with(b"}") {
        let read = std::io::Read::read(&mut tls, &mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        text.extend(&bytes[..read]);
    }
    let who = tls.conn.peer_certificates().unwrap()[0].to_vec();
    noted.lock().unwrap().push(who);
    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .unwrap()
        .to_vec()
}

#[test]
fn a_receiver_sees_the_endpoints_client_certificate() {
    let (servers, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let server = Guarded::start(&servers, &clients);
    let home = Home::new();
    let write = |name: &str, text: &str| std::fs::write(home.path(name), text).unwrap();
    let (of_file, of_api, strange) = (
        clients.sign("file"),
        clients.sign("api"),
        strangers.sign("strange"),
    );
    write("cert.pem", &of_file.0);
    write("key.pem", &of_file.1);
    write("ca.pem", &servers.pem);
    let lines = format!(
        "client_cert_file = {:?}\nclient_key_file = {:?}\nca_file = {:?}\ntenant = \"file\"",
        home.path("cert.pem"),
        home.path("key.pem"),
        home.path("ca.pem")
    );
    let without = format!("ca_file = {:?}\ntenant = \"none\"", home.path("ca.pem"));
    let untrusted = format!(
        "client_cert_file = {:?}\nclient_key_file = {:?}\ntenant = \"none\"",
        home.path("cert.pem"),
        home.path("key.pem")
    );
    let config = endpoint("file", &server.url(), &lines)
        + &endpoint("none", &server.url(), &without)
        + &endpoint("untrusted", &server.url(), &untrusted);
    let daemon = home.start(&config);
    let api = json!({"url": server.url(), "tenant": "api", "client_cert": of_api.0, "client_key": of_api.1, "ca": servers.pem});
    let api = made(&daemon, api);
    let strange = json!({"url": server.url(), "tenant": "none", "client_cert": strange.0, "client_key": strange.1, "ca": servers.pem});
    let (id, strange) = (id_of(&api), id_of(&made(&daemon, strange)));
    let mut event = String::new();
    for (tenant, id, certificate) in [("file", "file", &of_file.0), ("api", &*id, &of_api.0)] {
        event = daemon.send_with("a", "{}", &format!("\"tenant\": \"{tenant}\""));
        daemon.wait_status(&event, id, "delivered");
        assert_eq!(
            server.clients.lock().unwrap().last().unwrap(),
            &der(certificate)
        );
        let expires = daemon.endpoint(id)["client_cert_not_after"].clone();
        assert!(expires.is_string(), "{expires}");
    }
    hides(
        &home,
        &daemon,
        &id,
        &event,
        &["PRIVATE KEY", "BEGIN CERTIFICATE"],
    );
    assert_eq!(api["ca"], "…");
    assert!(
        api.get("client_key").is_none() && !api.to_string().contains("BEGIN"),
        "{api}"
    );
    // Who shows none, or a strange one, does not get in; nor does a server that is not trusted.
    let event = daemon.send_with("a", "{}", "\"tenant\": \"none\"");
    for id in ["none", &strange, "untrusted"] {
        let delivery = daemon.wait_delivery(&event, id, "tried", |one| one["attempt_count"] != 0);
        assert_eq!(
            delivery["attempts"][0]["error"]["kind"], "tls",
            "{id}: {delivery:#}"
        );
    }
    assert_eq!(server.clients.lock().unwrap().len(), 2);
    // After a restart the API's is still there.
    daemon.kill();
    let daemon = home.start(&config);
    let event = daemon.send_with("a", "{}", "\"tenant\": \"api\"");
    daemon.wait_status(&event, &id, "delivered");
    assert_eq!(
        server.clients.lock().unwrap().last().unwrap(),
        &der(&of_api.0)
    );
}

#[test]
fn pairs_that_do_not_fit_are_refused() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("one"), authority.sign("other"));
    let home = Home::new();
    let daemon = home.start("");
    for (fields, part) in [
        (
            json!({"client_cert": one.0, "client_key": other.1}),
            "client_",
        ),
        (json!({"client_cert": one.0}), "client_cert"),
        (json!({"client_key": one.1}), "client_key"),
        (
            json!({"client_cert": one.1, "client_key": one.1}),
            "client_cert",
        ),
        (
            json!({"client_cert": "hush", "client_key": one.1}),
            "client_cert",
        ),
        (
            json!({"client_cert": one.0, "client_key": "hush"}),
            "client_key",
        ),
        (json!({"ca": "hush"}), "ca"),
        (json!({"ca": ""}), "ca"),
    ] {
        let mut definition = fields.clone();
        definition["url"] = "https://localhost:1/".into();
        let detail = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string())
            .problem(400);
        assert!(
            detail.contains(part) && !detail.contains("BEGIN") && !detail.contains("hush"),
            "{detail}"
        );
    }
    std::fs::write(home.path("cert.pem"), &one.0).unwrap();
    std::fs::write(home.path("key.pem"), &other.1).unwrap();
    let lines = format!(
        "client_cert_file = {:?}\nclient_key_file = {:?}",
        home.path("cert.pem"),
        home.path("key.pem")
    );
    home.write_config(&endpoint("bad", "https://localhost:1/", &lines));
    let ran = home.run(&["check", "--config", "outboxd.toml"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains("client_") && !ran.stderr.contains("BEGIN"),
        "{ran:?}"
    );
    let masked: Value = json!({"client_cert": "…"});
    let id = id_of(&made(
        &daemon,
        json!({"url": "https://localhost:1/", "client_cert": one.0, "client_key": one.1}),
    ));
    patch(&daemon.tcp, &id, &masked).problem(400);
    let gone = patch(
        &daemon.tcp,
        &id,
        &json!({"client_cert": null, "client_key": null}),
    )
    .expect(200);
    assert_eq!(gone["client_cert_not_after"], Value::Null);
}
