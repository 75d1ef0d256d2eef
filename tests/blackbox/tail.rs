//! `GET /v1/tail`: what happens, as it happens.

use crate::harness::{Home, http::head};

#[test]
fn a_tail_tells_what_is_accepted_and_ends_with_the_daemon() {
    let home = Home::new();
    let daemon = home.start("");
    let before = daemon.send("order.a", "0");
    let mut tail = daemon.tcp.connect().unwrap();
    tail.send(&head("GET", "/v1/tail?type=order.*&tenant=acme", &[], None))
        .unwrap();
    let begun = tail.until(": tail\n\n").unwrap();
    assert!(begun.starts_with("HTTP/1.1 200 OK\r\n"), "{begun}");
    assert!(
        begun.contains("content-type: text/event-stream\r\n"),
        "{begun}"
    );
    daemon.send("order.b", "1");
    daemon.send_with("invoice.a", "1", r#""tenant":"acme""#);
    let told = daemon.send_with(
        "order.b",
        "{}",
        r#""tenant":"acme","key":"k","idempotency_key":"i""#,
    );
    // A duplicate is not accepted again.
    daemon.send_with(
        "order.b",
        "{}",
        r#""tenant":"acme","key":"k","idempotency_key":"i""#,
    );
    let last = daemon.send_with("order.last", "{}", r#""tenant":"acme""#);
    let text = tail.until("order.last").unwrap();
    assert_eq!(
        text.matches("event: accepted\ndata: {").count(),
        2,
        "{text}"
    );
    assert!(text.contains(&told) && text.contains(&last), "{text}");
    assert!(
        text.contains(r#""type":"order.b","tenant":"acme","key":"k","source":null"#),
        "{text}"
    );
    assert!(!text.contains(&before), "{text}");
    daemon.terminate();
    tail.rest().unwrap();
    daemon.wait_exit();
}

#[test]
fn a_tail_names_what_is_wrong_with_its_query() {
    let home = Home::new();
    let daemon = home.start("");
    for (query, named) in [
        ("types=a", "`types`"),
        ("type=.", "`type`"),
        ("tenant=a.b", "`tenant`"),
    ] {
        let detail = daemon.tcp.get(&format!("/v1/tail?{query}")).problem(400);
        assert!(detail.contains(named), "{detail}");
    }
}
