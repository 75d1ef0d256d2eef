//! What comes back, from well behaved to hostile.

use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::domain::signature::{self, Secret};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The header lines of one request, sorted, but for those that differ each time.
async fn sent(endpoint: &Endpoint, outgoing: &Outgoing) -> (String, Vec<String>, Vec<u8>) {
    let (to, mut from) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let to = to.clone();
        async move {
            to.send(request(&mut stream).await.unwrap()).unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
        }
    })
    .await;
    let mut endpoint = endpoint.clone();
    endpoint.url.set_port(Some(server.address.port())).unwrap();
    let attempt = transport().attempt(&endpoint, outgoing).await;
    assert_eq!((attempt.status, &attempt.error), (Some(200), &None));
    let (head, body) = from.recv().await.unwrap();
    let mut lines = head
        .lines()
        .map(str::to_owned)
        .filter(|line| !line.is_empty());
    let first = lines.next().unwrap();
    let mut headers: Vec<String> = lines.filter(|line| !line.starts_with("host: ")).collect();
    headers.sort();
    (first, headers, body)
}

fn header<'a>(headers: &'a [String], name: &str) -> &'a str {
    let mut found = headers
        .iter()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.next().unwrap()
}

#[tokio::test]
async fn the_request_carries_the_documented_headers() {
    let unsigned = endpoint("http://127.0.0.1/a/b?c=d");
    let (first, headers, body) = sent(&unsigned, &event()).await;
    assert_eq!(first, "POST /a/b?c=d HTTP/1.1");
    let names: Vec<_> = headers
        .iter()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    #[rustfmt::skip]
    assert_eq!(
        names,
        ["accept-encoding", "content-length", "content-type", "user-agent", "webhook-id", "webhook-timestamp"]
    );
    assert_eq!(header(&headers, "content-type"), "application/json");
    assert_eq!(header(&headers, "accept-encoding"), "identity");
    assert_eq!(header(&headers, "user-agent"), "outboxd/TEST");
    assert_eq!(header(&headers, "webhook-id"), event().id.to_string());
    assert_eq!(body, &event().body[..]);
}

#[tokio::test]
async fn each_secret_signs_and_the_receiver_verifies() {
    let secrets = [Secret::generate([1; 32]), Secret::generate([2; 32])];
    let signed = Endpoint {
        secrets: secrets.iter().cloned().map(Into::into).collect(),
        ..endpoint("http://127.0.0.1/")
    };
    let (_, headers, body) = sent(&signed, &event()).await;
    let value = header(&headers, "webhook-signature");
    let got = signature::Headers {
        id: header(&headers, "webhook-id"),
        timestamp: header(&headers, "webhook-timestamp"),
        signature: value,
    };
    let seconds: u64 = got.timestamp.parse().unwrap();
    assert!(value.starts_with(&secrets[0].sign(got.id, seconds, &body).to_string()));
    assert_eq!(value.split(' ').count(), 2);
    for secret in secrets {
        let (now, tolerance) = (crate::clock::now(), signature::DEFAULT_TOLERANCE);
        assert_eq!(
            signature::verify(&[secret], &[], got, &body, now, tolerance),
            Ok(())
        );
    }
}

#[tokio::test]
async fn an_opaque_event_keeps_its_bytes_and_an_endpoint_its_headers() {
    let mut own = endpoint("http://127.0.0.1/");
    let headers = Arc::make_mut(&mut own.headers);
    headers.insert("x-team", "blue".parse().unwrap());
    headers.append("x-team", "green".parse().unwrap());
    headers.insert("authorization", "Bearer T".parse().unwrap());
    let opaque = Outgoing {
        content_type: Some(http::HeaderValue::from_static(
            "text/xml; charset=iso-8859-1",
        )),
        event_type: Some(EventType::new("order.created").unwrap()),
        body: Bytes::from_static(b"<a>\xe4\0</a>"),
        ..event()
    };
    let (_, headers, body) = sent(&own, &opaque).await;
    assert_eq!(
        header(&headers, "content-type"),
        "text/xml; charset=iso-8859-1"
    );
    assert_eq!(header(&headers, "outboxd-event-type"), "order.created");
    assert_eq!(header(&headers, "authorization"), "Bearer T");
    assert_eq!(
        headers
            .iter()
            .filter(|line| line.starts_with("x-team: "))
            .count(),
        2
    );
    assert_eq!(body, b"<a>\xe4\0</a>");
}

#[tokio::test]
async fn a_2xx_is_a_success_on_a_connection_that_is_kept() {
    let server = Server::answering(OK).await;
    let transport = transport();
    for _ in 0..3 {
        let attempt = transport.attempt(&endpoint(server.url()), &event()).await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
        assert_eq!(attempt.response_body, "ok");
        assert_eq!(attempt.address, Some(server.address));
    }
    assert_eq!(server.connections(), 1);
    let empty = Server::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let attempt = transport.attempt(&endpoint(empty.url()), &event()).await;
    assert_eq!((attempt.status, attempt.error), (Some(204), None));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::answering(OK).await;
    let location = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 0\r\n\r\n",
        elsewhere.address
    );
    let server = Server::answering(location.leak()).await;
    let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
    assert_eq!(attempt.status, Some(307));
    assert_eq!(
        fault(&attempt),
        (
            ErrorKind::Status,
            format!(
                "answered 307 Temporary Redirect, to http://{}/; redirects are not followed",
                elsewhere.address
            )
            .as_str()
        )
    );
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_304_is_no_redirect() {
    let server = Server::answering("HTTP/1.1 304 Not Modified\r\nlocation: /a\r\n\r\n").await;
    let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
    let expected = (ErrorKind::Status, "answered 304 Not Modified");
    assert_eq!(fault(&attempt), expected);
}

#[tokio::test]
async fn retry_after_counts_for_429_and_503_only() {
    for (status, expected) in [
        (429, Some(7)),
        (503, Some(7)),
        (500, None),
        (410, None),
        (200, None),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nretry-after: 7\r\ncontent-length: 1\r\n\r\n!");
        let server = Server::answering(answer.leak()).await;
        let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
        assert_eq!(
            attempt.retry_after,
            expected.map(Duration::from_secs),
            "{status}"
        );
        assert_eq!(attempt.status, Some(status));
        assert_eq!(attempt.response_body, "!");
        if status != 200 {
            assert_eq!(fault(&attempt).0, ErrorKind::Status, "{status}");
        }
    }
    let when = std::time::SystemTime::now() + Duration::from_secs(3600);
    let date = httpdate::fmt_http_date(when);
    let answer = format!("HTTP/1.1 503 X\r\nretry-after: {date}\r\ncontent-length: 0\r\n\r\n");
    let server = Server::answering(answer.leak()).await;
    let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
    let wait = attempt.retry_after.unwrap().as_secs();
    assert!((3590..=3600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn silence_is_a_timeout_and_closes_the_connection() {
    let (done, closed_too) = oneshot::channel();
    let done = Mutex::new(Some(done));
    let server = Server::start(move |mut stream| {
        let done = done.lock().unwrap().take();
        async move {
            request(&mut stream).await.unwrap();
            closed(&mut stream).await;
            let _ = done.unwrap().send(());
        }
    })
    .await;
    let attempt = transport()
        .attempt(&impatient(server.url()), &event())
        .await;
    let expected = format!(
        "no answer from {} within 1s (waiting for response headers)",
        server.address
    );
    assert_eq!(fault(&attempt), (ErrorKind::Timeout, expected.as_str()));
    assert_eq!(
        (attempt.status, attempt.address),
        (None, Some(server.address))
    );
    assert!(attempt.duration >= Duration::from_secs(1));
    closed_too.await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_read_is_a_timeout_and_loses_its_connection() {
    let (done, closed_too) = oneshot::channel();
    let done = Mutex::new(Some(done));
    let (tell, told) = oneshot::channel::<()>();
    let told = Mutex::new(Some(told));
    let server = Server::start(move |mut stream| {
        let (done, told) = (done.lock().unwrap().take(), told.lock().unwrap().take());
        async move {
            let _ = told.unwrap().await;
            closed(&mut stream).await;
            let _ = done.unwrap().send(());
        }
    })
    .await;
    let large = Outgoing {
        body: Bytes::from(vec![b'x'; 64 << 20]),
        ..event()
    };
    let attempt = transport().attempt(&impatient(server.url()), &large).await;
    assert_eq!(fault(&attempt).0, ErrorKind::Timeout);
    tell.send(()).unwrap();
    closed_too.await.unwrap();
}

/// Sends `start`, then `drip` again and again, until the other side has gone.
async fn dripping(start: &'static str, drip: &'static str, pause: Duration) -> Server {
    Server::start(move |mut stream| async move {
        request(&mut stream).await.unwrap();
        let mut next = start;
        while stream.write_all(next.as_bytes()).await.is_ok() {
            next = drip;
            tokio::time::sleep(pause).await;
        }
    })
    .await
}

#[tokio::test]
async fn dripping_answers_end_at_the_deadline() {
    let pause = Duration::from_millis(20);
    let transport = transport();
    let headers = dripping("HTTP/1.1 200 OK\r\n", "x-a: b\r\n", pause).await;
    let attempt = transport.attempt(&impatient(headers.url()), &event()).await;
    assert_eq!(
        (fault(&attempt).0, attempt.status),
        (ErrorKind::Timeout, None)
    );

    let informed = dripping("", "HTTP/1.1 102 Processing\r\n\r\n", pause).await;
    let attempt = transport
        .attempt(&impatient(informed.url()), &event())
        .await;
    assert_eq!(
        (fault(&attempt).0, attempt.status),
        (ErrorKind::Timeout, None)
    );

    let body = dripping(
        "HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n",
        "x",
        pause,
    )
    .await;
    let attempt = transport.attempt(&impatient(body.url()), &event()).await;
    let expected = "the response body did not end within 1s";
    assert_eq!(
        (fault(&attempt), attempt.status),
        ((ErrorKind::Timeout, expected), Some(200))
    );
    assert!(attempt.response_body.starts_with(b"x"), "what came is kept");

    let gone = dripping(
        "HTTP/1.1 410 Gone\r\ncontent-length: 9999\r\n\r\n",
        "x",
        pause,
    )
    .await;
    let attempt = transport.attempt(&impatient(gone.url()), &event()).await;
    assert_eq!(
        (fault(&attempt).0, attempt.status),
        (ErrorKind::Status, Some(410))
    );
    assert!(attempt.duration < Duration::from_secs(10));
}

#[tokio::test]
async fn a_flooding_body_is_cut_and_still_a_success() {
    for start in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
    ] {
        let (tell, written) = oneshot::channel();
        let tell = Mutex::new(Some(tell));
        let server = Server::start(move |mut stream| {
            let tell = tell.lock().unwrap().take();
            async move {
                request(&mut stream).await.unwrap();
                stream.write_all(start.as_bytes()).await.unwrap();
                let (chunk, mut total) = ([b'x'; 4096], 0_usize);
                while stream.write_all(&chunk).await.is_ok() {
                    total += chunk.len();
                }
                tell.unwrap().send(total).unwrap();
            }
        })
        .await;
        let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
        assert_eq!(attempt.response_body, vec![b'x'; 4096]);
        // It ends because we closed; what the kernel's buffers took does not count.
        assert!(written.await.unwrap() < 64 << 20);
    }
}

#[tokio::test]
async fn a_body_limit_of_zero_keeps_nothing() {
    let server = Server::answering(OK).await;
    let transport = Transport::new(&DeliveryLimits {
        response_body_limit: 0,
        ..limits()
    });
    let attempt = transport
        .unwrap()
        .attempt(&endpoint(server.url()), &event())
        .await;
    assert_eq!((attempt.error, attempt.response_body), (None, Bytes::new()));
}

#[tokio::test]
async fn flooding_headers_are_cut() {
    let many = Server::start(|mut stream| async move {
        request(&mut stream).await.unwrap();
        let headers = "x-a: b\r\n".repeat(1000);
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
        closed(&mut stream).await;
    })
    .await;
    let attempt = transport().attempt(&endpoint(many.url()), &event()).await;
    let expected = format!("the response headers of {} are too large", many.address);
    assert_eq!(fault(&attempt), (ErrorKind::Protocol, expected.as_str()));

    let long = Server::start(|mut stream| async move {
        request(&mut stream).await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    let attempt = transport().attempt(&endpoint(long.url()), &event()).await;
    let expected = format!("the response headers of {} are too large", long.address);
    assert_eq!(fault(&attempt), (ErrorKind::Protocol, expected.as_str()));
}

#[tokio::test]
async fn what_is_not_http_or_breaks_off_is_a_protocol_fault() {
    #[rustfmt::skip]
    let cases = [
        ("SSH-2.0-OpenSSH_9.2\r\n", None, "is not HTTP"),
        ("\u{0}\u{1}\u{2}\r\n\r\n", None, "is not HTTP"),
        ("HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n", None, "is not HTTP"),
        ("", None, "closed the connection before its answer was whole"),
        ("HTTP/1.1 200 OK\r\nx-a: b\r\n", None, "closed the connection before its answer was whole"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", Some(200), "broke off"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", Some(200), "broke off"),
    ];
    for (answer, status, expected) in cases {
        let server = Server::start(move |mut stream| async move {
            request(&mut stream).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
        let (kind, detail) = fault(&attempt);
        assert_eq!(
            (kind, attempt.status),
            (ErrorKind::Protocol, status),
            "{answer:?} {detail}"
        );
        assert!(detail.contains(expected), "{answer:?} {detail}");
        assert_eq!(attempt.address, Some(server.address), "{answer:?}");
    }
}

#[tokio::test]
async fn oddities_of_an_answers_headers_do_not_repeat_a_delivery() {
    let many: String = (0..120).map(|n| format!("x-{n}: y\r\n")).collect();
    for headers in [
        many.as_str(),
        // obs-fold (RFC 9112, 5.2)
        "x-a: b\r\n c\r\n",
        "x-a : b\r\n",
        "x a: b\r\n",
        "x-a\r\n",
        "x-a: \u{e4}\r\n",
        "x-a:\r\n",
        "x-a: b\u{1}c\r\n",
        "content-type: text/plain\r\ncontent-type: text/html\r\n",
        "location: http://[\r\n",
        "retry-after: soon\r\n",
        "set-cookie: a=b\r\nset-cookie: a=b\r\n",
    ] {
        for line in [
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 200 \u{e4}",
        ] {
            let answer = format!("{line}\r\n{headers}content-length: 2\r\n\r\nok");
            let server = Server::answering(answer.leak()).await;
            let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
            assert_eq!(
                (attempt.status, &attempt.error),
                (Some(200), &None),
                "{line:?} {headers:?}"
            );
            assert_eq!(attempt.response_body, "ok");
        }
    }
    // These have no body, whatever they say.
    let server = Server::answering("HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n").await;
    let attempt = transport().attempt(&endpoint(server.url()), &event()).await;
    assert_eq!((attempt.status, attempt.error), (Some(204), None));
}

#[tokio::test]
async fn a_refused_connection_says_by_whom() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let attempt = transport()
        .attempt(&endpoint(format!("http://{address}/?t=HUSH")), &event())
        .await;
    let expected = format!("connection refused by {address}");
    assert_eq!(fault(&attempt), (ErrorKind::Connect, expected.as_str()));
    assert_eq!(attempt.address, Some(address));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_dns_fault() {
    // Too long a label for DNS: the system's resolver refuses it without asking anybody.
    let name = format!("{}.invalid", "a".repeat(64));
    for (scheme, expected) in [
        ("http", format!("cannot resolve {name}: ")),
        ("https", format!("{name}:443 has no valid DNS name")),
    ] {
        let url = format!("{scheme}://{name}/?token=HUSH");
        let attempt = transport().attempt(&endpoint(url), &event()).await;
        let (kind, detail) = fault(&attempt);
        assert_eq!((kind, attempt.address), (ErrorKind::Dns, None), "{detail}");
        assert!(detail.starts_with(&expected), "{detail}");
    }
}

#[tokio::test]
async fn attempts_beyond_the_budget_use_connections_that_close() {
    let server = Server::answering(OK).await;
    let mut inner = Arc::into_inner(transport().0).unwrap();
    let connector = inner.caller.connector.clone();
    inner.caller.pool = super::super::pool::Pool::new(connector, &limits(), 0);
    let transport = Transport(Arc::new(inner));
    for n in 1..=3 {
        let attempt = transport.attempt(&endpoint(server.url()), &event()).await;
        assert_eq!(attempt.error, None);
        assert_eq!(server.connections(), n);
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_not_used() {
    let server = Server::start(|mut stream| async move {
        request(&mut stream).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
    })
    .await;
    let transport = transport();
    for n in 1..=3 {
        let attempt = transport.attempt(&endpoint(server.url()), &event()).await;
        assert_eq!((attempt.status, attempt.error), (Some(200), None));
        assert_eq!(server.connections(), n);
        while transport.0.caller.pool.has_idle() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let (gone, mut ends) = mpsc::unbounded_channel();
    let server = Server::start(move |mut stream| {
        let gone = gone.clone();
        async move {
            request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            assert!(stream.read_u8().await.is_err());
            gone.send(()).unwrap();
        }
    })
    .await;
    let transport = transport();
    let attempt = transport.attempt(&endpoint(server.url()), &event()).await;
    assert_eq!(attempt.error, None);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(50)).await;
    assert!(ends.try_recv().is_err(), "it is kept");
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    ends.recv().await.unwrap();
    assert!(!transport.0.caller.pool.has_hosts(), "and forgotten");
}

#[tokio::test]
async fn hung_attempts_do_not_hold_up_others() {
    let hung = Server::start(|stream| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let good = Server::answering(OK).await;
    let transport = transport();
    let stuck: Vec<_> = (0..50)
        .map(|_| {
            let (transport, url) = (transport.clone(), hung.url());
            tokio::spawn(async move { transport.attempt(&endpoint(url), &event()).await })
        })
        .collect();
    while hung.connections() < 50 {
        tokio::task::yield_now().await;
    }
    let attempt = transport.attempt(&endpoint(good.url()), &event()).await;
    assert_eq!(attempt.error, None);
    for one in stuck {
        assert!(!one.is_finished());
        one.abort();
    }
}

#[tokio::test]
async fn a_busy_host_keeps_its_connections() {
    let server = Server::answering(OK).await;
    let transport = transport();
    let workers: Vec<_> = (0..32)
        .map(|_| {
            let (transport, endpoint) = (transport.clone(), endpoint(server.url()));
            tokio::spawn(async move {
                for _ in 0..50 {
                    let attempt = transport.attempt(&endpoint, &event()).await;
                    assert_eq!(attempt.error, None);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(server.connections() <= 64, "{}", server.connections());
}
