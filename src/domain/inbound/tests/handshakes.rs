//! Handshakes, and what hostile callers make of them.

use super::presets::{SECRET, URL, definition};
use super::support::{Request, at, header, source, text};
use crate::domain::inbound::Source;

const NOW: u64 = 1_700_000_000;

fn of(preset: &str) -> Source {
    source(&definition(preset, &[SECRET]))
}

/// A body that is signed as the provider signs.
fn signed(source: &Source, body: &str) -> Request {
    let sample = source.sample(Some(body.to_owned().into()), [7; 16], at(NOW), Some(URL));
    Request::of(sample.unwrap(), URL)
}

#[test]
fn slack_verifies_before_it_echoes() {
    let source = of("slack");
    let call = signed(
        &source,
        r#"{"type":"url_verification","challenge":"3eZb<script>"}"#,
    );
    let answer = call.greeted(&source, at(NOW));
    assert_eq!(
        (answer.status.as_u16(), text(&answer)),
        (200, "3eZb<script>")
    );
    assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
    assert_eq!(header(&answer, "x-content-type-options"), "nosniff");
    let forged = call.with("x-slack-signature", &format!("v0={}", "0".repeat(64)));
    assert_eq!(forged.why(&source, at(NOW)), "bad_signature");
    let event = signed(
        &source,
        r#"{"type":"event_callback","challenge":"x","event_id":"E"}"#,
    );
    assert_eq!(event.event(&source, at(NOW)).delivery_id, "E");
}

#[test]
fn slack_interactions_are_named() {
    let source = of("slack");
    let body = "payload=%7B%22type%22%3A%22block_actions%22%2C%22trigger_id%22%3A%22t.1%22%7D";
    // The sample signs the bytes, whatever their type.
    let call = signed(&source, body).with("content-type", "application/x-www-form-urlencoded");
    let event = call.event(&source, at(NOW));
    assert_eq!(event.event_type.as_str(), "slack.block_actions");
    assert_eq!(event.delivery_id, "t.1");
}

#[test]
fn zoom_signs_short_tokens_alone_and_verifies_first() {
    let source = of("zoom");
    let body = |token: &str| {
        format!(r#"{{"event":"endpoint.url_validation","payload":{{"plainToken":"{token}"}}}}"#)
    };
    let call = signed(&source, &body("qgg8vlvZRS6UYooatFL8Aw"));
    let answer = call.greeted(&source, at(NOW));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = ring::hmac::sign(&key, b"qgg8vlvZRS6UYooatFL8Aw");
    let hex: String = tag.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let right = format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{hex}"}}"#);
    assert_eq!(text(&answer), right);
    let unsigned = Request::post(body("qgg8vlvZRS6UYooatFL8Aw"));
    assert_eq!(unsigned.why(&source, at(NOW)), "missing_signature");
    for hostile in ["a b", "{}", "v0:1:x", "a/b", &"a".repeat(129), "\\n", "ü"] {
        let call = signed(&source, &body(hostile)).rejected(&source, at(NOW));
        assert_eq!(call.status(), 400, "{hostile}");
    }
}

#[test]
fn x_signs_no_text_that_could_be_a_body() {
    let source = of("twitter");
    for hostile in [
        "%7B%7D",
        "a+b",
        "a%0Ab",
        "",
        &"a".repeat(129),
        "%ff",
        "a%2Fb",
        "a%3Ab",
    ] {
        let call = Request::get(&format!("crc_token={hostile}")).rejected(&source, at(NOW));
        assert_eq!(call.status(), 400, "{hostile}");
    }
    assert_eq!(Request::get("x=1").why(&source, at(NOW)), "bad_request");
    let post = Request::post("{}").query("crc_token=abc");
    assert_eq!(post.why(&source, at(NOW)), "missing_signature");
}

#[test]
fn what_a_handshake_signed_is_no_event() {
    // The MAC that anybody gets for a token is the right signature of a body that is the token.
    let x = of("twitter");
    let answer = Request::get("crc_token=true").greeted(&x, at(NOW));
    let signed = text(&answer).split('"').nth(3).unwrap();
    let forged = Request::post("true").with("x-twitter-webhooks-signature", signed);
    assert_eq!(forged.why(&x, at(NOW)), "bad_signature");
    // Nor is it one of something that is signed beside the body.
    let timed = source(
        r#"{"secrets":["s"],"verify":{"content":"{timestamp}.{body}","signature":"header:x-sig",
            "encoding":"base64","timestamp":"header:x-time","handshake":{"kind":"crc",
            "from":"query:crc_token","prefix":""}}}"#,
    );
    let answer = Request::get(&format!("crc_token={NOW}.abc")).greeted(&timed, at(NOW));
    let signed = text(&answer).split('"').nth(3).unwrap();
    let forged = Request::post("abc")
        .with("x-sig", signed)
        .with("x-time", &NOW.to_string());
    assert_eq!(forged.why(&timed, at(NOW)), "bad_signature");
    let real = super::handshakes::signed(&timed, "{}");
    assert_eq!(real.event(&timed, at(NOW)).body, "{}");
}

#[test]
fn echoes_are_short() {
    let source = source(r#"{"preset":"meta","secrets":["s"],"verify_token":"t"}"#);
    let get = |challenge: &str| {
        Request::get(&format!(
            "hub.mode=subscribe&hub.verify_token=t&hub.challenge={challenge}"
        ))
    };
    assert_eq!(
        text(&get(&"a".repeat(1024)).greeted(&source, at(NOW))).len(),
        1024
    );
    for bad in [&"a".repeat(1025), &"a".repeat(5000), ""] {
        assert_eq!(get(bad).rejected(&source, at(NOW)).status(), 400);
    }
    for other in [
        "hub.mode=unsubscribe&hub.verify_token=t&hub.challenge=1",
        "hub.challenge=1",
        "",
    ] {
        assert_eq!(
            Request::get(other).why(&source, at(NOW)),
            "bad_request",
            "{other}"
        );
    }
    let mut put = get("1");
    put.method = http::Method::PUT;
    let refused = put.rejected(&source, at(NOW));
    assert_eq!(refused.status(), 405);
    assert!(
        refused.detail().contains("POST, GET"),
        "{}",
        refused.detail()
    );
    // A source without a verify token subscribes to nothing.
    let none = super::support::source(r#"{"preset":"meta","secrets":["s"]}"#);
    let empty = Request::get("hub.mode=subscribe&hub.challenge=1&hub.verify_token=");
    assert_eq!(empty.rejected(&none, at(NOW)).status(), 403);
}

#[test]
fn twitch_echoes_what_it_signed() {
    let source = of("twitch");
    let mut call = signed(
        &source,
        r#"{"challenge":"pogchamp-kappa","subscription":{}}"#,
    );
    call = call.with(
        "twitch-eventsub-message-type",
        "webhook_callback_verification",
    );
    assert_eq!(text(&call.greeted(&source, at(NOW))), "pogchamp-kappa");
    assert_eq!(call.body("{}").why(&source, at(NOW)), "bad_signature");
}

#[test]
fn cloudevents_consent_to_an_origin() {
    let source = source(r#"{"preset":"cloudevents","secrets":["s"],"rate_limit":"2/s"}"#);
    let mut call = Request::post("").with("webhook-request-origin", "eventgrid.azure.net");
    call.method = http::Method::OPTIONS;
    let answer = call.greeted(&source, at(NOW));
    assert_eq!(
        header(&answer, "webhook-allowed-origin"),
        "eventgrid.azure.net"
    );
    assert_eq!(header(&answer, "webhook-allowed-rate"), "120");
    assert_eq!(header(&answer, "allow"), "POST");
    for bad in ["", "a b", "https://a.b", "*"] {
        let call = call.clone().with("webhook-request-origin", bad);
        assert_eq!(call.rejected(&source, at(NOW)).status(), 400, "{bad}");
    }
    let by_token = super::support::source(r#"{"preset":"cloudevents","token":"t"}"#);
    assert_eq!(call.why(&by_token, at(NOW)), "missing_signature");
    let answer = call.query("token=t").greeted(&by_token, at(NOW));
    assert_eq!(header(&answer, "webhook-allowed-rate"), "*");
}

#[test]
fn cloudevents_come_in_all_modes() {
    let source = source(r#"{"preset":"cloudevents","token":"t"}"#);
    let event =
        |id: &str| format!(r#"{{"specversion":"1.0","id":"{id}","source":"/a","type":"com.x"}}"#);
    let structured = Request::post(event("1"))
        .query("token=t")
        .with("content-type", "application/cloudevents+json");
    let one = structured.event(&source, at(NOW));
    assert_eq!(one.event_type.as_str(), "cloudevents.com.x");
    let binary = Request::post("data")
        .query("token=t")
        .with("content-type", "text/plain")
        .with("ce-specversion", "1.0")
        .with("ce-id", "1")
        .with("ce-source", "%2Fa")
        .with("ce-type", "com.x");
    let same = binary.event(&source, at(NOW));
    assert_eq!(same.delivery_id, one.delivery_id);
    assert_eq!(
        (&same.body[..], same.content_type.as_deref()),
        (&b"data"[..], Some("text/plain"))
    );
    let kept: Vec<&str> = same.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(kept.len(), 4, "{kept:?}");
    let batch = Request::post(format!("[{} , {}, {}]", event("1"), event("2"), event("2")))
        .query("token=t")
        .with("content-type", "application/cloudevents-batch+json");
    let events = batch.events(&source, at(NOW));
    assert_eq!(events[0].delivery_id, one.delivery_id);
    assert_eq!(events[1].body, event("2").into_bytes());
    assert_eq!(
        events[2].delivery_id,
        format!("{}#1", events[1].delivery_id)
    );
    let other = Request::post("{}").query("token=t");
    assert_eq!(other.rejected(&source, at(NOW)).status(), 400);
    let empty = batch.body("[]");
    assert!(empty.events(&source, at(NOW)).is_empty());
}

#[test]
fn the_rest_of_the_closed_set() {
    let asana = of("asana");
    let call = Request::post("").with("x-hook-secret", "b537207f20cbfa02357cf448134da559");
    let answer = call.greeted(&asana, at(NOW));
    assert_eq!(
        header(&answer, "x-hook-secret"),
        "b537207f20cbfa02357cf448134da559"
    );
    let beat = signed(&asana, r#"{"events":[]}"#);
    assert_eq!(beat.greeted(&asana, at(NOW)).status, 200);

    let okta = of("okta");
    let call = Request::get("").with("x-okta-verification-challenge", "a\"b");
    assert_eq!(
        text(&call.greeted(&okta, at(NOW))),
        r#"{"verification":"a\"b"}"#
    );

    let dropbox = of("dropbox");
    let answer = Request::get("challenge=abc").greeted(&dropbox, at(NOW));
    assert_eq!(
        (text(&answer), header(&answer, "x-content-type-options")),
        ("abc", "nosniff")
    );

    let graph = of("ms_graph");
    let call = Request::post("").query("validationToken=Validation%3A+Testing%20%3Cb%3E");
    assert_eq!(
        text(&call.greeted(&graph, at(NOW))),
        "Validation: Testing <b>"
    );
    let long = Request::post("").query(&format!("validationToken={}", "a".repeat(1025)));
    assert_eq!(long.rejected(&graph, at(NOW)).status(), 400);
    let two = |state: &str| {
        format!(r#"{{"value":[{{"clientState":"{SECRET}"}},{{"clientState":"{state}"}}]}}"#)
    };
    assert_eq!(
        Request::post(two(SECRET)).answered(&graph, at(NOW)).status,
        202
    );
    assert_eq!(
        Request::post(two("x")).why(&graph, at(NOW)),
        "bad_signature"
    );
    assert_eq!(
        Request::post("{}").why(&graph, at(NOW)),
        "missing_signature"
    );

    let monday = of("monday");
    let call = Request::post(r#"{"challenge":"c"}"#);
    assert_eq!(call.why(&monday, at(NOW)), "missing_signature");
    let call = call.query("token=t%C3%B6k+en%26");
    assert_eq!(
        text(&call.greeted(&monday, at(NOW))),
        r#"{"challenge":"c"}"#
    );
    assert_eq!(call.query("token=x").why(&monday, at(NOW)), "bad_signature");

    let woo = of("woocommerce");
    let ping =
        Request::post("webhook_id=12").with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(ping.greeted(&woo, at(NOW)).status, 200);

    let mut head = Request::get("");
    head.method = http::Method::HEAD;
    assert_eq!(head.greeted(&of("trello"), at(NOW)).status, 200);

    let xero = of("xero");
    assert_eq!(
        signed(&xero, r#"{"events":[]}"#)
            .greeted(&xero, at(NOW))
            .status,
        200
    );
    let wrong = signed(&xero, r#"{"events":[]}"#).body(r#"{"events":[ ]}"#);
    assert_eq!(wrong.rejected(&xero, at(NOW)).status(), 401);
}
