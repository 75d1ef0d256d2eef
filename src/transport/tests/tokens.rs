//! Tokens of OAuth 2.0, from token servers that do what such servers do, and worse.

use std::collections::HashMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use tokio::sync::Semaphore;

use super::*;
use crate::domain::auth::Auth;
use crate::domain::json::Json;
use crate::domain::shaping::Shaping;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
const RSA: &str = include_str!("../../domain/auth/rsa_for_tests.pem");

/// A request for a token, as the token server got it.
#[derive(Clone, Debug)]
struct Asked {
    head: String,
    form: HashMap<String, String>,
}

/// A server that answers requests for tokens with what `answer` makes of the number of each.
struct TokenServer {
    server: Server,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Requests are answered once there is a permit for each.
    gate: Arc<Semaphore>,
    came: watch::Receiver<usize>,
}

impl TokenServer {
    async fn start(answer: impl Fn(usize) -> String + Clone + Send + 'static) -> TokenServer {
        let (asked, gate) = (
            Arc::<Mutex<Vec<Asked>>>::default(),
            Arc::new(Semaphore::new(0)),
        );
        let (count, came) = watch::channel(0);
        let count = Arc::new(count);
        let (noted, waiting) = (asked.clone(), gate.clone());
        let server = Server::start(move |mut stream| {
            let (noted, waiting) = (noted.clone(), waiting.clone());
            let (answer, count) = (answer.clone(), count.clone());
            async move {
                while let Some((head, body)) = request(&mut stream).await {
                    let form = url::form_urlencoded::parse(&body).into_owned().collect();
                    let number = {
                        let mut noted = noted.lock().unwrap();
                        noted.push(Asked { head, form });
                        noted.len()
                    };
                    count.send_replace(number);
                    // A closed gate lets everyone through.
                    if let Ok(permit) = waiting.acquire().await {
                        permit.forget();
                    }
                    if stream.write_all(answer(number).as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        TokenServer {
            server,
            asked,
            gate,
            came,
        }
    }

    /// Grants `T1`, `T2` and so on for as long as `expires_in` says.
    async fn granting(expires_in: u32) -> TokenServer {
        let server = TokenServer::start(move |number| json(200, &granted(number, expires_in)));
        let server = server.await;
        server.gate.close();
        server
    }

    async fn answering(answer: String) -> TokenServer {
        let server = TokenServer::start(move |_| answer.clone()).await;
        server.gate.close();
        server
    }

    fn url(&self) -> String {
        format!("http://{}/token?a=b", self.server.address)
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn is_asked(&self, count: usize) {
        let mut came = self.came.clone();
        let enough = came.wait_for(|came| *came >= count);
        let waiting = tokio::time::timeout(Duration::from_secs(20), enough).await;
        assert!(matches!(waiting, Ok(Ok(_))), "it is not asked");
    }
}

fn granted(number: usize, expires_in: u32) -> String {
    format!(
        r#"{{"access_token": "T{number}", "token_type": "Bearer", "expires_in": {expires_in}}}"#
    )
}

fn json(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// A receiver that lets in those whose `authorization` is `good`, and notes it of everyone.
struct Receiver {
    server: Server,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(good: impl Fn(&str) -> bool + Clone + Send + 'static) -> Receiver {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = seen.clone();
        let server = Server::start(move |mut stream| {
            let (good, noted) = (good.clone(), noted.clone());
            async move {
                while let Some((head, _)) = request(&mut stream).await {
                    let line = |line: &str| Some(line.strip_prefix("authorization: ")?.to_owned());
                    let found = head.lines().find_map(line).unwrap_or_default();
                    let answer = if good(&found) { OK } else { UNAUTHORIZED };
                    noted.lock().unwrap().push(found);
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Receiver { server, seen }
    }

    async fn indifferent() -> Receiver {
        Receiver::start(|_| true).await
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// An endpoint of this receiver.
    fn endpoint(&self, auth: &str) -> Endpoint {
        let auth = Auth::parse(&Json::parse(auth.as_bytes()).unwrap()).unwrap();
        Endpoint {
            shaping: Some(Arc::new(Shaping {
                auth: Some(Arc::new(auth)),
                ..Shaping::default()
            })),
            ..endpoint(self.server.url())
        }
    }

    /// An endpoint that gets its tokens at `token_url`.
    fn with_token(&self, token_url: &str, fields: &str) -> Endpoint {
        self.endpoint(&format!(
            r#"{{"type": "oauth2", "token_url": "{token_url}", "client_id": "my client",
                "client_secret": "HUSH/:ä"{fields}}}"#
        ))
    }
}

async fn attempt(transport: &Transport, endpoint: &Endpoint) -> Attempt {
    transport.attempt(endpoint, &event()).await
}

#[track_caller]
fn assert_ok(attempt: &Attempt) {
    assert_eq!((attempt.status, &attempt.error), (Some(200), &None));
}

/// The detail of an attempt that got no token.
#[track_caller]
fn no_token(attempt: &Attempt) -> &str {
    let (kind, detail) = fault(attempt);
    assert_eq!(kind, ErrorKind::Auth, "{detail}");
    detail
}

#[tokio::test]
async fn credentials_that_do_not_change_are_in_each_request() {
    let receiver = Receiver::indifferent().await;
    let transport = transport();
    let basic = receiver.endpoint(r#"{"type": "basic", "username": "a", "password": "b"}"#);
    let bearer = receiver.endpoint(r#"{"type": "bearer", "token": "t"}"#);
    for endpoint in [&basic, &bearer, &endpoint(receiver.server.url())] {
        assert_ok(&attempt(&transport, endpoint).await);
    }
    assert_eq!(receiver.seen(), ["Basic YTpi", "Bearer t", ""]);
}

#[tokio::test]
async fn a_client_says_who_it_is_in_the_header_or_in_the_body() {
    let receiver = Receiver::indifferent().await;
    let tokens = TokenServer::granting(3600).await;
    let transport = transport();
    let basic = receiver.with_token(&tokens.url(), r#", "scope": "a b", "audience": "c&d""#);
    let mut post = receiver.with_token(&tokens.url(), r#", "auth_method": "client_secret_post""#);
    post.id = EndpointId::new("other").unwrap();
    for endpoint in [&basic, &post, &basic, &post] {
        assert_ok(&attempt(&transport, endpoint).await);
    }
    assert_eq!(
        receiver.seen(),
        ["Bearer T1", "Bearer T2", "Bearer T1", "Bearer T2"]
    );
    let asked = tokens.asked.lock().unwrap().clone();
    let form = |n: usize, name: &str| asked[n].form.get(name).map(String::as_str);
    // RFC 6749, 2.3.1: encoded as in forms, then base64.
    let encoded = STANDARD.encode("my%20client:HUSH%2F%3A%C3%A4");
    let head = &asked[0].head;
    assert!(head.starts_with("POST /token?a=b HTTP/1.1\r\n"), "{head}");
    for line in [
        &format!("authorization: Basic {encoded}"),
        "content-type: application/x-www-form-urlencoded",
        "accept: application/json",
        "user-agent: outboxd/TEST",
        &format!("host: {}", tokens.server.address),
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    assert!(!head.contains("webhook-"), "{head}");
    assert_eq!(form(0, "grant_type"), Some("client_credentials"));
    assert_eq!(
        (form(0, "scope"), form(0, "audience")),
        (Some("a b"), Some("c&d"))
    );
    assert_eq!(form(0, "client_secret"), None);
    assert!(!asked[1].head.contains("authorization"));
    assert_eq!(form(1, "client_id"), Some("my client"));
    assert_eq!(form(1, "client_secret"), Some("HUSH/:ä"));
    assert_eq!(form(1, "scope"), None);
}

#[tokio::test]
async fn an_assertion_is_signed_by_the_clients_key() {
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let rsa = rcgen::KeyPair::from_pem(RSA).unwrap();
    let cases: [(_, &'static dyn VerificationAlgorithm, _); 3] = [
        (p256, &ECDSA_P256_SHA256_FIXED, "ES256"),
        (ed25519, &ED25519, "EdDSA"),
        (rsa, &RSA_PKCS1_2048_8192_SHA256, "RS256"),
    ];
    let mut unique = std::collections::HashSet::new();
    for (key, algorithm, name) in cases {
        let receiver = Receiver::indifferent().await;
        let tokens = TokenServer::granting(3600).await;
        let url = tokens.url();
        let pem = match name {
            "RS256" => RSA.to_owned(),
            _ => key.serialize_pem(),
        };
        let endpoint = receiver.endpoint(&format!(
            r#"{{"type": "oauth2", "token_url": "{url}", "client_id": "me", "key_id": "k\"1",
                "auth_method": "private_key_jwt", "private_key": "{}"}}"#,
            pem.replace('\n', "\\n")
        ));
        assert_ok(&attempt(&transport(), &endpoint).await);
        assert_eq!(receiver.seen(), ["Bearer T1"]);
        let asked = tokens.asked.lock().unwrap()[0].clone();
        assert!(!asked.head.contains("authorization"), "{}", asked.head);
        let form = |name: &str| asked.form.get(name).unwrap().as_str();
        assert_eq!(
            form("client_assertion_type"),
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        let (signed, signature) = form("client_assertion").rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(algorithm, key.public_key_raw());
        assert!(
            public.verify(signed.as_bytes(), &signature).is_ok(),
            "{name}"
        );
        let (head, claims) = signed.split_once('.').unwrap();
        let read = |part| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let expected = serde_json::json!({"alg": name, "typ": "JWT", "kid": "k\"1"});
        assert_eq!(read(head), expected);
        let claims = read(claims);
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&"me".into(), &"me".into())
        );
        assert_eq!(claims["aud"], url.as_str());
        let (issued, expires) = (
            claims["iat"].as_u64().unwrap(),
            claims["exp"].as_u64().unwrap(),
        );
        let now = crate::clock::now().as_secs();
        assert!(now - issued < 60 && expires > now && expires - issued <= 300);
        assert!(unique.insert(claims["jti"].to_string()));
    }
}

#[tokio::test]
async fn fifty_attempts_at_once_ask_for_one_token() {
    let receiver = Receiver::indifferent().await;
    let tokens = TokenServer::start(|number| json(200, &granted(number, 3600))).await;
    // Over all threads.
    let (first, others) = Transport::several(&limits(), 1, Arc::default()).unwrap();
    let endpoint = receiver.with_token(&tokens.url(), "");
    let transports = [&first, &others[0]];
    let attempts: Vec<_> = (0..50)
        .map(|n| {
            let (transport, endpoint) = (transports[n % 2].clone(), endpoint.clone());
            tokio::spawn(async move { attempt(&transport, &endpoint).await })
        })
        .collect();
    tokens.is_asked(1).await;
    tokens.gate.close();
    for attempt in attempts {
        assert_ok(&attempt.await.unwrap());
    }
    assert_eq!(tokens.count(), 1);
    assert_eq!(receiver.seen(), vec!["Bearer T1"; 50]);
}

#[tokio::test]
async fn a_fetch_that_dies_with_its_attempt_strands_nobody() {
    let receiver = Receiver::indifferent().await;
    let tokens = TokenServer::start(|number| json(200, &granted(number, 3600))).await;
    let transport = transport();
    let endpoint = receiver.with_token(&tokens.url(), "");
    let spawn = |endpoint: &Endpoint| {
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        tokio::spawn(async move { attempt(&transport, &endpoint).await })
    };
    // One that is abandoned, then one whose time is over.
    let abandoned = spawn(&endpoint);
    tokens.is_asked(1).await;
    let impatient = spawn(&Endpoint {
        timeout: Duration::from_millis(300),
        ..endpoint.clone()
    });
    let waiting: Vec<_> = (0..5).map(|_| spawn(&endpoint)).collect();
    abandoned.abort();
    let attempt = impatient.await.unwrap();
    assert!(no_token(&attempt).contains("within 300ms"));
    tokens.is_asked(2).await;
    tokens.gate.close();
    for attempt in waiting {
        assert_ok(&attempt.await.unwrap());
    }
    let count = tokens.count();
    assert!((2..=3).contains(&count), "{count}");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_within_the_attempt() {
    let receiver = Receiver::start(|token| token != "Bearer T1").await;
    let tokens = TokenServer::granting(3600).await;
    let transport = transport();
    let endpoint = receiver.with_token(&tokens.url(), "");
    // Its token is from this very attempt: a second one would be no better.
    let refused = attempt(&transport, &endpoint).await;
    assert_eq!(
        fault(&refused),
        (ErrorKind::Status, "answered 401 Unauthorized")
    );
    assert_eq!((receiver.seen().len(), tokens.count()), (1, 1));
    assert_ok(&attempt(&transport, &endpoint).await);
    assert_eq!(receiver.seen(), ["Bearer T1", "Bearer T2"]);

    // A token that was good, and is no more: of many attempts, one fetches the next.
    let revoked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_revoked = revoked.clone();
    let receiver =
        Receiver::start(move |token| token != "Bearer T1" || !is_revoked.load(Atomic::Relaxed))
            .await;
    let tokens = TokenServer::granting(3600).await;
    let mut endpoint = receiver.with_token(&tokens.url(), "");
    endpoint.id = EndpointId::new("other").unwrap();
    assert_ok(&attempt(&transport, &endpoint).await);
    revoked.store(true, Atomic::Relaxed);
    let attempts: Vec<_> = (0..20)
        .map(|_| {
            let (transport, endpoint) = (transport.clone(), endpoint.clone());
            tokio::spawn(async move { attempt(&transport, &endpoint).await })
        })
        .collect();
    for attempt in attempts {
        assert_ok(&attempt.await.unwrap());
    }
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn a_receiver_that_refuses_every_token_is_asked_twice_at_most() {
    let receiver = Receiver::start(|_| false).await;
    let transport = transport();
    let tokens = TokenServer::start(|number| match number {
        2 => json(503, "{}"),
        _ => json(200, &granted(number, 3600)),
    })
    .await;
    tokens.gate.close();
    let endpoint = receiver.with_token(&tokens.url(), "");
    let refused = attempt(&transport, &endpoint).await;
    assert_eq!(fault(&refused).0, ErrorKind::Status);
    let refused = attempt(&transport, &endpoint).await;
    assert_eq!(no_token(&refused), "the token server answered 503");
    assert_eq!((receiver.seen().len(), tokens.count()), (1, 2));
}

#[tokio::test]
async fn a_failing_token_server_is_not_asked_by_each_attempt() {
    let receiver = Receiver::indifferent().await;
    let refusal = r#"{"error": "invalid_client", "error_description": "HUSH/:ä of my client"}"#;
    let tokens = TokenServer::start(move |number| match number {
        1 => json(401, refusal),
        _ => json(200, &granted(number, 3600)),
    })
    .await;
    tokens.gate.close();
    let transport = transport();
    let endpoint = receiver.with_token(&tokens.url(), "");
    for _ in 0..20 {
        let attempt = attempt(&transport, &endpoint).await;
        assert_eq!(
            no_token(&attempt),
            "the token server answered 401 (invalid_client)"
        );
        assert_eq!((attempt.status, attempt.address), (None, None));
    }
    assert_eq!((tokens.count(), receiver.server.connections()), (1, 0));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_ok(&attempt(&transport, &endpoint).await);
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn what_is_no_token_fails_the_attempt() {
    let receiver = Receiver::indifferent().await;
    let huge = format!(r#"{{"access_token": "{}"}}"#, "HUSH".repeat(256 * 1024));
    let page = "<html>HUSH</html>";
    let redirect = format!(
        "HTTP/1.1 307 X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        receiver.server.url()
    );
    for (answer, expected) in [
        (
            json(200, &huge),
            "the token server's answer is longer than 64 KiB",
        ),
        (json(500, &huge), "the token server answered 500"),
        (json(200, page), "the token server's answer is not JSON"),
        (
            json(200, &"[".repeat(60_000)),
            "the token server's answer is not JSON",
        ),
        (
            redirect,
            "the token server answered 307; redirects are not followed",
        ),
        ("HUSH".repeat(10), "no token: what "),
    ] {
        let tokens = TokenServer::answering(answer).await;
        let endpoint = receiver.with_token(&tokens.url(), "");
        let attempt = attempt(&transport(), &endpoint).await;
        let detail = no_token(&attempt);
        assert!(detail.starts_with(expected), "{detail}");
        assert_eq!(tokens.count(), 1);
    }
    assert_eq!(receiver.server.connections(), 0);
}

#[tokio::test]
async fn a_token_server_that_is_not_there_fails_the_attempt_in_time() {
    let receiver = Receiver::indifferent().await;
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let down = receiver.with_token(&format!("http://{gone}/"), "");
    let attempt1 = attempt(&transport(), &down).await;
    let expected = format!("no token: connection refused by {gone}");
    assert_eq!(no_token(&attempt1), expected);
    // Nobody opens the gate.
    let slow = TokenServer::start(|_| String::new()).await;
    let endpoint = Endpoint {
        timeout: Duration::from_millis(200),
        ..receiver.with_token(&slow.url(), "")
    };
    let attempt = attempt(&transport(), &endpoint).await;
    let expected = format!(
        "no token: no answer from {} within 200ms (waiting for response headers)",
        slow.server.address
    );
    assert_eq!(no_token(&attempt), expected);
    assert_eq!(receiver.server.connections(), 0);
}

#[tokio::test]
async fn the_guard_judges_the_token_url_by_the_endpoints_grants() {
    let tokens = TokenServer::granting(3600).await;
    let receiver = Receiver::indifferent().await;
    let strict = DeliveryLimits {
        allow_networks: Vec::new(),
        ..limits()
    };
    let port = tokens.server.address.port();
    for url in [
        tokens.url(),
        format!("http://localhost:{port}/"),
        "https://169.254.169.254/latest".to_owned(),
        "http://10.0.0.1/".to_owned(),
    ] {
        let transport = Transport::new(&strict).unwrap();
        let endpoint = receiver.with_token(&url, "");
        let attempt = attempt(&transport, &endpoint).await;
        let detail = no_token(&attempt);
        assert!(detail.contains("allow_networks"), "{detail}");
    }
    let public = attempt(
        &transport(),
        &receiver.with_token("http://93.184.216.34/", ""),
    )
    .await;
    let detail = no_token(&public);
    assert!(
        detail.contains("plain http to a public address"),
        "{detail}"
    );
    assert_eq!((tokens.count(), receiver.server.connections()), (0, 0));
    let granted = Endpoint {
        allow_networks: vec![LOOPBACK.parse().unwrap()],
        ..receiver.with_token(&tokens.url(), "")
    };
    assert_ok(&attempt(&Transport::new(&strict).unwrap(), &granted).await);
}

#[tokio::test]
async fn a_proxy_gets_the_requests_for_tokens_too() {
    let proxy = TokenServer::granting(3600).await;
    let limits = DeliveryLimits {
        proxy: Some(format!("http://{}", proxy.server.address).parse().unwrap()),
        allow_http: true,
        ..limits()
    };
    let transport = Transport::new(&limits).unwrap();
    let mut endpoint = Receiver::indifferent()
        .await
        .with_token("http://tokens.invalid/t", "");
    endpoint.url = "http://receiver.invalid/hook".parse().unwrap();
    assert_ok(&attempt(&transport, &endpoint).await);
    let asked = proxy.asked.lock().unwrap().clone();
    let first = asked.iter().map(|asked| asked.head.lines().next().unwrap());
    assert_eq!(
        first.collect::<Vec<_>>(),
        [
            "POST http://tokens.invalid/t HTTP/1.1",
            "POST http://receiver.invalid/hook HTTP/1.1"
        ]
    );
    assert!(asked[1].head.contains("authorization: Bearer T1"));
}

#[tokio::test]
async fn a_token_is_one_endpoints_and_one_definitions() {
    let receiver = Receiver::indifferent().await;
    let tokens = TokenServer::granting(3600).await;
    let transport = transport();
    let one = receiver.with_token(&tokens.url(), "");
    let same = receiver.with_token(&tokens.url(), "");
    let two = Endpoint {
        id: EndpointId::new("two").unwrap(),
        ..one.clone()
    };
    let changed = receiver.with_token(&tokens.url(), r#", "scope": "a""#);
    for (endpoint, count) in [(&one, 1), (&same, 1), (&two, 2), (&changed, 3), (&one, 4)] {
        assert_ok(&attempt(&transport, endpoint).await);
        assert_eq!(tokens.count(), count);
    }
}

#[tokio::test]
async fn a_token_is_fetched_anew_before_its_end_while_the_old_one_serves() {
    let receiver = Receiver::indifferent().await;
    let tokens = TokenServer::start(|number| match number {
        2 => json(500, "{}"),
        _ => json(200, &granted(number, 1000)),
    })
    .await;
    let transport = transport();
    let endpoint = receiver.with_token(&tokens.url(), "");
    let forward = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    tokens.gate.add_permits(1);
    assert_ok(&attempt(&transport, &endpoint).await);
    forward(800).await;
    assert_ok(&attempt(&transport, &endpoint).await);
    assert_eq!(tokens.count(), 1);
    // It is due. The server fails, and the old token serves on.
    forward(110).await;
    tokens.gate.add_permits(1);
    for _ in 0..3 {
        assert_ok(&attempt(&transport, &endpoint).await);
    }
    assert_eq!(tokens.count(), 2);
    // Another attempt does not wait for the one that fetches.
    forward(2).await;
    let fetching = {
        let (transport, endpoint) = (transport.clone(), endpoint.clone());
        tokio::spawn(async move { attempt(&transport, &endpoint).await })
    };
    tokens.is_asked(3).await;
    assert_ok(&attempt(&transport, &endpoint).await);
    tokens.gate.close();
    assert_ok(&fetching.await.unwrap());
    assert_ok(&attempt(&transport, &endpoint).await);
    let mut expected = vec!["Bearer T1"; 6];
    expected.extend(["Bearer T3"; 2]);
    assert_eq!(receiver.seen(), expected);
}

#[tokio::test]
async fn an_endpoints_certificate_and_authorities_hold_for_its_token_server() {
    use super::encrypted::Authority;
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let tokens = super::identities::tokens_for(&servers, &clients).await;
    let receiver = Receiver::indifferent().await;
    let url = format!("https://localhost:{}/", tokens.address.port());
    let plain = receiver.with_token(&url, "");
    let pem = std::fs::read(servers.file.path()).unwrap();
    let auth = plain.shaping.as_ref().unwrap().auth.clone();
    let trusting = Shaping {
        auth,
        identity: None,
        authorities: Some(Arc::new(
            crate::domain::identity::Authorities::parse(&pem).unwrap(),
        )),
        ..Shaping::default()
    };
    let known = Shaping {
        identity: Some(Arc::new(clients.client("me"))),
        ..trusting.clone()
    };
    let transport = transport();
    let with = |shaping: &Shaping| Endpoint {
        shaping: Some(Arc::new(shaping.clone())),
        ..plain.clone()
    };
    let unknown = attempt(&transport, &plain).await;
    assert!(no_token(&unknown).contains("UnknownIssuer"));
    let refused = attempt(&transport, &with(&trusting)).await;
    assert!(no_token(&refused).contains("wants a client certificate"));
    assert_ok(&attempt(&transport, &with(&known)).await);
    assert_eq!(receiver.seen(), ["Bearer T"]);
}
