//! Nothing is dialled that was not judged: the server counts who came.

use super::*;
use crate::domain::attempt::ErrorKind::Blocked;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// With no grant at all.
fn strict() -> DeliveryLimits {
    DeliveryLimits {
        allow_networks: Vec::new(),
        allow_http: true,
        ..limits()
    }
}

#[tokio::test]
async fn no_spelling_of_a_blocked_address_is_dialled() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    let transport = Transport::new(&strict()).unwrap();
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0177.0.0.01",
        "0",
        "0.0.0.0",
        "１２７.０.０.１",
        "127%2e0%2E0.1",
        "127。0。0。1",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
    ];
    for host in hosts {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/?token=HUSH");
            let attempt = transport.attempt(&endpoint(&url), &event()).await;
            let (kind, detail) = fault(&attempt);
            // Not every system knows all names of localhost.
            let unknown = host.ends_with("host.") && kind == ErrorKind::Dns;
            assert!(kind == Blocked || unknown, "{url}: {kind:?} {detail}");
            assert_eq!(attempt.address, None, "{url}");
        }
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_is_blocked_is_named_with_its_reason() {
    let transport = Transport::new(&strict()).unwrap();
    let detail = async |url: &str| {
        let attempt = transport.attempt(&endpoint(url), &event()).await;
        let (kind, detail) = fault(&attempt);
        assert_eq!(kind, Blocked, "{url} {detail}");
        detail.to_owned()
    };
    assert_eq!(
        detail("https://169.254.169.254/latest/meta-data?a=HUSH").await,
        "169.254.169.254 is a link-local address and no allow_networks holds it"
    );
    assert_eq!(
        detail("https://[::ffff:10.0.0.1]/").await,
        "::ffff:10.0.0.1 is an address that embeds 10.0.0.1, a private address \
         and no allow_networks holds it"
    );
    let named = detail("https://localhost/").await;
    assert!(named.starts_with("localhost resolves to "), "{named}");
    assert!(named.contains("a loopback address"), "{named}");
    assert_eq!(
        detail("https://user:HUSH@example.com/").await,
        "URLs with user info are refused"
    );
    assert_eq!(
        detail("ftp://example.com/").await,
        "only http and https URLs are dialled"
    );
}

#[tokio::test]
async fn plain_http_to_a_public_address_needs_leave() {
    let attempt = transport()
        .attempt(&endpoint("http://93.184.216.34/?t=HUSH"), &event())
        .await;
    let expected = "plain http to a public address (93.184.216.34) needs delivery.allow_http";
    assert_eq!(fault(&attempt), (Blocked, expected));
}

#[tokio::test]
async fn a_granted_name_is_dialled_where_it_leads() {
    let server = Server::answering(OK).await;
    let url = format!("http://localhost:{}/", server.address.port());
    let attempt = transport().attempt(&endpoint(url), &event()).await;
    // `localhost` may be ::1 too, which has no grant.
    assert_eq!(attempt.error, None);
    assert_eq!(attempt.address, Some(server.address));
}

#[tokio::test]
async fn an_endpoints_own_grant_is_its_own() {
    let server = Server::answering(OK).await;
    let transport = Transport::new(&strict()).unwrap();
    let plain = endpoint(server.url());
    let granted = Endpoint {
        allow_networks: vec![LOOPBACK.parse().unwrap()],
        ..plain.clone()
    };
    let elsewhere = Endpoint {
        allow_networks: vec!["10.0.0.0/8".parse().unwrap()],
        ..plain.clone()
    };
    // The granted one leaves a kept connection behind, by address and by name.
    let named = format!("http://localhost:{}/", server.address.port());
    for (n, url) in [(1, server.url()), (2, named)] {
        let with = |endpoint: &Endpoint| Endpoint {
            url: url.parse().unwrap(),
            ..endpoint.clone()
        };
        for _ in 0..2 {
            let attempt = transport.attempt(&with(&granted), &event()).await;
            assert_eq!(attempt.error, None);
        }
        for without in [&plain, &elsewhere] {
            let attempt = transport.attempt(&with(without), &event()).await;
            assert_eq!(fault(&attempt).0, Blocked, "{url}");
        }
        assert_eq!(server.connections(), n);
    }
}

#[tokio::test]
async fn grants_in_any_number_are_kept_apart() {
    let server = Server::answering(OK).await;
    let transport = Transport::new(&strict()).unwrap();
    let own = |n: u32| Endpoint {
        allow_networks: vec![
            LOOPBACK.parse().unwrap(),
            format!("10.0.{n}.0/24").parse().unwrap(),
        ],
        ..endpoint(server.url())
    };
    // The first ones are kept.
    for n in (0..70).chain(0..3) {
        let attempt = transport.attempt(&own(n), &event()).await;
        assert_eq!(attempt.error, None);
    }
    assert_eq!(server.connections(), 70);
}

#[tokio::test]
async fn through_a_proxy_literals_are_judged_and_names_are_its_matter() {
    let proxy = Server::answering(OK).await;
    let through = |allow_http| {
        let proxy = Some(
            format!("http://localhost:{}", proxy.address.port())
                .parse()
                .unwrap(),
        );
        let limits = DeliveryLimits {
            proxy,
            allow_http,
            ..strict()
        };
        Transport::new(&limits).unwrap()
    };
    let name = endpoint("http://receiver.invalid/?t=HUSH");
    let attempt = through(true).attempt(&name, &event()).await;
    assert_eq!((attempt.status, &attempt.error), (Some(200), &None));
    assert_eq!(attempt.address, Some(proxy.address));

    let attempt = through(false).attempt(&name, &event()).await;
    let expected = "plain http through the proxy needs delivery.allow_http";
    assert_eq!(fault(&attempt), (Blocked, expected));
    let literal = endpoint("http://10.0.0.1/");
    let attempt = through(true).attempt(&literal, &event()).await;
    assert_eq!(fault(&attempt).0, Blocked);
    assert_eq!(proxy.connections(), 1);

    let refused = dead_proxy().await;
    let attempt = refused
        .attempt(&endpoint("https://receiver.invalid/"), &event())
        .await;
    assert_eq!(fault(&attempt).0, ErrorKind::Connect);
}

/// A proxy that refuses every tunnel.
async fn dead_proxy() -> Transport {
    let proxy = Server::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    let limits = DeliveryLimits {
        proxy: Some(format!("http://{}", proxy.address).parse().unwrap()),
        ..strict()
    };
    Transport::new(&limits).unwrap()
}
