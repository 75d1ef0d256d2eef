//! Traces over OTLP/HTTP: the real binary, built with the feature `otlp`, and a collector that the
//! test plays.

#[path = "harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use harness::{Answer, Daemon, Gate, Home, PATIENCE, Receiver, Seen, endpoint, wait_for};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A field of a message of Protocol Buffers.
#[derive(Clone, Debug)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

/// The fields of a message, by number (<https://protobuf.dev/programming-guides/encoding/>).
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let take = |bytes: &mut &[u8], len: usize| {
            let (taken, rest) = bytes.split_at(len);
            *bytes = rest;
            taken.to_vec()
        };
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
            2 => {
                let len = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, len))
            }
            5 => {
                let four: [u8; 4] = take(&mut bytes, 4).try_into().unwrap();
                Field::Number(u32::from_le_bytes(four).into())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

/// All values of a field.
fn all(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    let fields = fields(message).into_iter();
    let of_number = fields.filter(|(found, _)| *found == number);
    of_number
        .map(|(_, field)| match field {
            Field::Bytes(bytes) => bytes,
            Field::Number(number) => panic!("{number} is not bytes"),
        })
        .collect()
}

fn text(message: &[u8], number: u64) -> String {
    let found = all(message, number).pop().unwrap_or_default();
    String::from_utf8(found).expect("UTF-8")
}

fn hex(message: &[u8], number: u64) -> String {
    let found = all(message, number).pop().unwrap_or_default();
    found.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn number(message: &[u8], number: u64) -> u64 {
    let found = fields(message)
        .into_iter()
        .find(|(found, _)| *found == number);
    match found {
        Some((_, Field::Number(number))) => number,
        None => 0,
        other => panic!("{other:?}"),
    }
}

type Attributes = BTreeMap<String, String>;

/// `repeated KeyValue`, values as texts.
fn attributes(message: &[u8], number: u64) -> Attributes {
    let pairs = all(message, number).into_iter();
    pairs
        .map(|pair| {
            let value = all(&pair, 2).pop().expect("a value");
            let value = match fields(&value).pop().expect("of some type") {
                (_, Field::Bytes(text)) => String::from_utf8(text).unwrap(),
                (_, Field::Number(number)) => number.to_string(),
            };
            (text(&pair, 1), value)
        })
        .collect()
}

/// What a collector learns of a span (opentelemetry/proto/trace/v1/trace.proto).
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    state: String,
    parent: String,
    name: String,
    kind: u64,
    took: Duration,
    attributes: Attributes,
    is_error: bool,
    resource: Attributes,
}

const PRODUCER: u64 = 4;
const CLIENT: u64 = 3;

fn spans(requests: &[Seen]) -> Vec<Span> {
    let mut spans = Vec::new();
    for request in requests {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.header("content-type"), "application/x-protobuf");
        for of_resource in all(&request.body, 1) {
            let resource = all(&of_resource, 1).pop().expect("a resource");
            let resource = attributes(&resource, 1);
            for of_scope in all(&of_resource, 2) {
                for span in all(&of_scope, 2) {
                    let status = all(&span, 15).pop().unwrap_or_default();
                    let took = number(&span, 8) - number(&span, 7);
                    spans.push(Span {
                        trace: hex(&span, 1),
                        id: hex(&span, 2),
                        state: text(&span, 3),
                        parent: hex(&span, 4),
                        name: text(&span, 5),
                        kind: number(&span, 6),
                        took: Duration::from_nanos(took),
                        attributes: attributes(&span, 9),
                        is_error: number(&status, 3) == 2,
                        resource: resource.clone(),
                    });
                }
            }
        }
    }
    spans
}

/// Waits until the collector has so many spans.
#[track_caller]
fn wait_spans(collector: &Receiver, count: usize) -> Vec<Span> {
    wait_for(
        || {
            let spans = spans(&collector.seen());
            (spans.len() >= count).then_some(spans)
        },
        || format!("not {count} spans: {:#?}", spans(&collector.seen())),
    )
}

fn config(collector: &Receiver, more: &str) -> String {
    format!("\n[otlp]\nendpoint = {:?}\n{more}\n", collector.url(""))
}

/// Hands in an event with a trace context.
fn send_traced(daemon: &Daemon, traceparent: &str) -> String {
    let headers = [
        ("content-type", "application/json"),
        ("traceparent", traceparent),
        ("tracestate", "vendor=1"),
    ];
    let body = br#"{"type": "order.created", "data": "hidden-in-the-body"}"#;
    let answer = daemon.tcp.request("POST", "/v1/events", &headers, body);
    answer.expect(202)["id"].as_str().unwrap().to_owned()
}

#[test]
fn events_and_attempts_are_spans_of_the_requests_trace() {
    let collector = Receiver::ok();
    let receiver = Receiver::statuses(&[500, 200]);
    let secret = "secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n\
                  headers = { x-hidden = \"hidden-in-a-header\" }";
    let url = receiver.url("/hidden-path?hidden=query");
    let headers = "headers = { authorization = \"Bearer hidden-token\" }";
    let config = config(&collector, headers) + &endpoint("orders", &url, secret);
    let home = Home::new();
    let daemon = home.start(&config);
    let event = send_traced(&daemon, PARENT);
    let spans = wait_spans(&collector, 3);

    let accepted = spans.iter().find(|span| span.kind == PRODUCER).unwrap();
    assert_eq!(accepted.name, "send order.created");
    assert_eq!(accepted.trace, &PARENT[3..35]);
    assert_eq!(accepted.parent, &PARENT[36..52]);
    assert_eq!(accepted.state, "vendor=1");
    assert!(accepted.took > Duration::ZERO && accepted.took < PATIENCE);
    assert_eq!(accepted.attributes["messaging.system"], "outboxd");
    assert_eq!(accepted.attributes["messaging.message.id"], event);
    assert_eq!(
        accepted.attributes["messaging.destination.name"],
        "order.created"
    );
    assert_eq!(accepted.attributes["outboxd.deliveries"], "1");
    assert_eq!(accepted.resource["service.name"], "outboxd");

    let mut attempts: Vec<_> = spans.iter().filter(|span| span.kind == CLIENT).collect();
    attempts.sort_by(|a, b| a.attributes["outboxd.attempt"].cmp(&b.attributes["outboxd.attempt"]));
    assert_eq!(attempts.len(), 2);
    assert_ne!(attempts[0].id, attempts[1].id);
    for (attempt, (number, status)) in attempts.iter().zip([("1", "500"), ("2", "200")]) {
        let has = |key: &str| attempt.attributes[key].as_str();
        assert_eq!(
            (attempt.name.as_str(), has("http.request.method")),
            ("POST", "POST")
        );
        assert_eq!(
            (&attempt.trace, &attempt.parent),
            (&accepted.trace, &accepted.id)
        );
        assert_eq!(has("outboxd.endpoint"), "orders");
        assert_eq!(has("messaging.message.id"), event);
        assert_eq!(has("outboxd.attempt"), number);
        assert_eq!(has("http.response.status_code"), status);
        assert_eq!(has("server.address"), "127.0.0.1");
        assert_eq!(has("server.port"), receiver.address().port().to_string());
        assert_eq!(attempt.is_error, status == "500");
        let error = attempt.attributes.get("error.type").map(String::as_str);
        assert_eq!(error, (status == "500").then_some("status"));
    }
    // The receiver gets the request's own context, as before.
    assert!(
        receiver
            .seen()
            .iter()
            .all(|seen| seen.header("traceparent") == PARENT)
    );
    for request in collector.seen() {
        assert_eq!(request.header("authorization"), "Bearer hidden-token");
        let said = String::from_utf8_lossy(&request.body);
        assert!(
            !said.contains("hidden") && !said.contains("whsec_"),
            "{said}"
        );
    }
    assert!(!daemon.log_text().contains("hidden"));
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn what_is_not_sampled_is_not_exported() {
    let collector = Receiver::ok();
    let receiver = Receiver::ok();
    let more = config(&collector, "sample_ratio = 0.0");
    let home = Home::new();
    let daemon = home.start(&(more + &endpoint("all", &receiver.url("/"), "")));
    let (unsampled, alone) = (
        send_traced(&daemon, &PARENT.replace("-01", "-00")),
        daemon.send("a", "1"),
    );
    let sampled = send_traced(&daemon, PARENT);
    for event in [&unsampled, &alone, &sampled] {
        daemon.wait_status(event, "all", "delivered");
    }
    // The stop sends what is left.
    assert_eq!(daemon.stop().code(), Some(0));
    let spans = spans(&collector.seen());
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let of_sampled = |span: &Span| span.attributes["messaging.message.id"] == sampled;
    assert!(spans.iter().all(of_sampled), "{spans:#?}");
}

#[test]
fn a_ratio_exports_a_part_of_the_traces_each_of_them_whole() {
    const EVENTS: usize = 64;
    let collector = Receiver::ok();
    let receiver = Receiver::ok();
    let more = config(&collector, "sample_ratio = 0.5");
    let home = Home::new();
    let daemon = home.start(&(more + &endpoint("all", &receiver.url("/"), "")));
    for event in 0..EVENTS {
        let event = daemon.send("a", &event.to_string());
        daemon.wait_status(&event, "all", "delivered");
    }
    assert_eq!(daemon.stop().code(), Some(0));
    let mut traces: BTreeMap<String, usize> = BTreeMap::new();
    for span in spans(&collector.seen()) {
        *traces.entry(span.trace).or_default() += 1;
    }
    assert!((1..EVENTS).contains(&traces.len()), "{traces:?}");
    assert!(traces.values().all(|spans| *spans == 2), "{traces:?}");
}

#[test]
fn an_event_without_a_trace_has_one_of_its_own_even_after_a_restart() {
    let collector = Receiver::ok();
    let gate = Gate::new();
    let behind = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&behind));
    let config = config(&collector, "") + &endpoint("all", &receiver.url("/"), "");
    let home = Home::new();
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    let accepted = wait_spans(&collector, 1).remove(0);
    daemon.kill();
    gate.open();
    let daemon = home.start(&config);
    daemon.wait_status(&event, "all", "delivered");
    let attempt = wait_spans(&collector, 2).remove(1);
    assert_eq!(accepted.parent, "");
    assert_eq!(
        (&attempt.trace, &attempt.parent),
        (&accepted.trace, &accepted.id)
    );
}

/// How a collector answers.
type Collector = Box<dyn Fn() -> Answer + Send + Sync>;

#[test]
fn a_collector_that_fails_or_hangs_costs_deliveries_nothing() {
    let elsewhere = Receiver::ok();
    let redirect = elsewhere.url("/v1/traces");
    let answers: [(&str, Collector); 3] = [
        ("400", Box::new(|| Answer::status(400))),
        ("hangs", Box::new(Answer::hang)),
        (
            "redirects",
            Box::new(move || Answer::reply(307, &[("location", &redirect)], "")),
        ),
    ];
    let receiver = Receiver::ok();
    for (what, answer) in answers {
        let collector = Receiver::answering(move |_| answer());
        let more = config(&collector, "timeout = \"500ms\"");
        let home = Home::new();
        let daemon = home.start(&(more + &endpoint("all", &receiver.url("/"), "")));
        let event = daemon.send("a", "1");
        daemon.wait_status(&event, "all", "delivered");
        let told = daemon.wait_log("spans were dropped");
        assert!(told["spans"].as_u64() > Some(0), "{what}: {told}");
        let event = daemon.send("a", "2");
        daemon.wait_status(&event, "all", "delivered");
        let began = Instant::now();
        assert_eq!(daemon.stop().code(), Some(0), "{what}");
        assert!(began.elapsed() < Duration::from_secs(8), "{what}");
    }
    assert!(elsewhere.seen().is_empty(), "a redirect was followed");
}

#[test]
fn what_a_slow_collector_does_not_take_is_dropped_and_told() {
    // More than wait for a collector.
    const BATCHES: usize = 8;
    let gate = Gate::new();
    let behind = gate.clone();
    let collector = Receiver::answering(move |_| Answer::status(200).behind(&behind));
    let receiver = Receiver::ok();
    let home = Home::new();
    let config = config(&collector, "timeout = \"1m\"")
        + &endpoint("some", &receiver.url("/"), "types = [\"some\"]");
    let daemon = home.start(&config);
    let json = [("content-type", "application/x-ndjson")];
    let batch = "{\"type\":\"a\",\"data\":1}\n".repeat(1000);
    for _ in 0..BATCHES {
        let answer = daemon
            .tcp
            .request("POST", "/v1/events", &json, batch.as_bytes());
        answer.expect(202);
    }
    let event = daemon.send("some", "1");
    daemon.wait_status(&event, "some", "delivered");
    gate.open();
    let told = daemon.wait_log("spans were dropped");
    let error = "the collector does not take them fast enough";
    assert_eq!(told["error"], error);
    assert_eq!(daemon.stop().code(), Some(0));
    let taken = spans(&collector.seen()).len();
    let dropped = told["spans"].as_u64().unwrap() as usize;
    assert_eq!(taken + dropped, BATCHES * 1000 + 2, "{taken} {dropped}");
}

#[test]
fn a_stop_does_not_wait_long_for_a_collector() {
    let collector = Receiver::answering(|_| Answer::hang());
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&(config(&collector, "") + &endpoint("all", &receiver.url("/"), "")));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "all", "delivered");
    collector.wait(1);
    daemon.terminate();
    daemon.wait_log("the last spans were not exported");
    assert_eq!(daemon.wait_exit().code(), Some(0));
}
