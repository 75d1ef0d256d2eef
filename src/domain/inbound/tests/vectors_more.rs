//! More vectors of the providers' documents and libraries, and of their constructions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::support::{Request, at, header, named, refused, source, text};
use crate::domain::inbound::VerifiedBy;

#[test]
fn shopify() {
    let source = source(r#"{"preset":"shopify","secrets":["shop-secret"]}"#);
    let call = Request::post(r#"{"id":1}"#)
        .with(
            "x-shopify-hmac-sha256",
            "plW8VGqq0nDMIEhDqaNNW99asdUCy7EIqLZVcQwtAZ0=",
        )
        .with("x-shopify-topic", "orders/create")
        .with("x-shopify-webhook-id", "w-1");
    let event = call.event(&source, at(0));
    assert_eq!(named(&event), ("shopify.orders.create", "w-1"));
    let wrong = call.clone().body(r#"{"id":2}"#).rejected(&source, at(0));
    assert_eq!(
        (wrong.status().as_u16(), wrong.as_str()),
        (401, "bad_signature")
    );
}

const ZALO: &str = r#"{"preset":"zalo","secrets":["secret"],"app_id":"app-1"}"#;
const ZALO_MAC: &str = "5f2b217b0c4f4be21738337236020e79c4127fe7c74ceadea6a4be6620954efb";

#[test]
fn zalo() {
    let source = source(ZALO);
    let body = r#"{"event_name":"user_send_text","timestamp":"1700000000000"}"#;
    let now = at(1_700_000_000 + 86_400);
    let by_body = Request::post(body).with("x-zevent-signature", &format!("mac={ZALO_MAC}"));
    let by_header = by_body.clone().with("x-zevent-timestamp", "1700000000000");
    let both = by_body.clone().with("x-zevent-timestamp", "1700000000001");
    for call in [&by_body, &by_header, &both] {
        let event = call.event(&source, now);
        assert_eq!(event.event_type.as_str(), "zalo.user_send_text");
        assert_eq!(call.verified_by(&source, now), VerifiedBy::Secret(1));
        assert_eq!(call.why(&source, at(1_700_000_000 + 86_402)), "stale");
    }
    for prefix in ["", "sha256="] {
        let bare = by_body
            .clone()
            .with("x-zevent-signature", &format!("{prefix}{ZALO_MAC}"));
        bare.event(&source, now);
    }
    let other = by_body.body(body.replace("text", "link"));
    assert_eq!(other.why(&source, now), "bad_signature");
    for probe in [Request::post(""), Request::get("")] {
        assert_eq!(probe.greeted(&source, now).status, 200);
    }
    let missing = refused(r#"{"preset":"zalo","secrets":["secret"]}"#);
    assert_eq!(missing.0, "app_id");
}

#[test]
fn zalo_of_another_app() {
    // Signed by the same secret, which no provider does; it is not ours all the same.
    let source = source(ZALO);
    let body = r#"{"app_id":"app-2","timestamp":"1700000000000"}"#;
    let signed = ring::digest::digest(
        &ring::digest::SHA256,
        format!("app-1{body}1700000000000secret").as_bytes(),
    );
    let mac: String = signed.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let call = Request::post(body).with("x-zevent-signature", &mac);
    assert_eq!(call.why(&source, at(1_700_000_000)), "bad_account");
}

#[test]
fn hubspot() {
    let secret = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
    let v3 = source(&format!(r#"{{"preset":"hubspot","secrets":["{secret}"]}}"#));
    assert!(v3.needs_url());
    let url = "https://www.example.com/webhook_uri";
    let call = Request::post(r#"{"example_field":"example_value"}"#)
        .with("x-hubspot-request-timestamp", "1714478400000")
        .with(
            "x-hubspot-signature-v3",
            "VGI/uJvVr0lFUrNad1kEpe1/7+yficEcZ/QlAbf3TMM=",
        )
        .url(url);
    let now = at(1_714_478_400);
    assert_eq!(call.verified_by(&v3, now), VerifiedBy::Secret(1));
    assert_eq!(call.why(&v3, at(1_714_478_701)), "stale");
    let other = call.clone().url("https://www.example.com/other");
    assert_eq!(other.why(&v3, now), "bad_signature");
    let v2 = source(&format!(
        r#"{{"secrets":["{secret}"],"verify":{{"algorithm":"sha256",
            "content":"{{secret}}{{method}}{{url}}{{body}}",
            "signature":"header:x-hubspot-signature"}}}}"#
    ));
    let signed = "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900";
    let call = call.with("x-hubspot-signature", signed);
    assert_eq!(call.verified_by(&v2, now), VerifiedBy::Secret(1));
}

#[test]
fn hubspot_batches_are_split() {
    let one = r#"{ "eventId": 123456789012345678, "subscriptionId": 1, "subscriptionType":"contact.creation"}"#;
    let two =
        r#"{"eventId":123456789012345679,"subscriptionId":1,"subscriptionType":"deal.deletion"}"#;
    let body = format!("[{one},\n {two}, {two}]");
    let definition = r#"{"preset":"hubspot","secrets":["s"],"split":"/"}"#;
    let (split, whole) = (
        source(definition),
        source(&definition.replace("\"/\"", "\"\"")),
    );
    let url = "https://a.b/in/s";
    let sample = split.sample(Some(body.into()), [1; 16], at(1_700_000_000), Some(url));
    let call = Request::of(sample.unwrap(), url);
    let events = call.events(&split, at(1_700_000_000));
    let found: Vec<_> = events.iter().map(named).collect();
    assert_eq!(
        found,
        [
            ("hubspot.contact.creation", "1 123456789012345678"),
            ("hubspot.deal.deletion", "1 123456789012345679"),
            ("hubspot.deal.deletion", "1 123456789012345679#1"),
        ]
    );
    assert_eq!(
        (&events[0].body[..], &events[1].body[..]),
        (one.as_bytes(), two.as_bytes())
    );
    let event = call.event(&whole, at(1_700_000_000));
    let ids = "123456789012345678 123456789012345679 123456789012345679";
    assert_eq!(named(&event), ("hubspot.contact.creation", ids));
    let empty = split
        .sample(Some("[]".into()), [1; 16], at(0), Some(url))
        .unwrap();
    assert!(Request::of(empty, url).events(&split, at(0)).is_empty());
}

#[test]
fn salesforce() {
    let source = source(r#"{"preset":"salesforce","account":"00D000000000062"}"#);
    let sample = source.sample(None, [7; 16], at(0), None).unwrap();
    let call = Request::of(sample, "");
    let event = call.event(&source, at(0));
    assert_eq!(event.event_type.as_str(), "salesforce.outbound_message");
    assert!(
        event.delivery_id.starts_with("04l"),
        "{}",
        event.delivery_id
    );
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Account);
    let answer = call.answered(&source, at(0));
    assert_eq!(
        (
            answer.status.as_u16(),
            header(&answer, "content-type"),
            text(&answer)
        ),
        (
            200,
            "text/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body><notificationsResponse xmlns=\"http://soap.sforce.com/2005/09/outbound\"><Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>"
        )
    );
    let body = std::str::from_utf8(&call.body).unwrap().to_owned();
    let long = call.clone().body(body.replace("062<", "062EAA<"));
    assert_eq!(long.verified_by(&source, at(0)), VerifiedBy::Account);
    let other = call.clone().body(body.replace("062<", "063<"));
    assert_eq!(other.rejected(&source, at(0)).status(), 401);
    let comment = format!("<!-- <OrganizationId>00D000000000062</OrganizationId> -->{body}");
    for forged in [comment, "<a/>".to_owned(), String::new()] {
        assert_eq!(Request::post(forged).why(&source, at(0)), "bad_account");
    }
    assert_eq!(refused(r#"{"preset":"salesforce"}"#).0, "account");
    assert_eq!(
        refused(r#"{"preset":"salesforce","account":"00D"}"#).0,
        "account"
    );
}

#[test]
fn twilio_forms() {
    let source = source(r#"{"preset":"twilio","secrets":["12345"]}"#);
    let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
    let form = |body: &'static str, signed: &str| {
        Request::post(body)
            .with(
                "content-type",
                "application/x-www-form-urlencoded; charset=UTF-8",
            )
            .with("x-twilio-signature", signed)
            .url(url)
    };
    let call = form(
        "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&To=%2B18005551212",
        "RSOYDt4T1cUTdK1PDd93/VVr8B8=",
    );
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    let lists = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
    let call = form(lists, "IK+Dwps556ElfBT0I3Rgjkr1wJU=");
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    for other in ["https://mycompany.com:443/myapp.php?foo=1&bar=2", url] {
        assert_eq!(
            call.clone().url(other).verified_by(&source, at(0)),
            VerifiedBy::Secret(1)
        );
    }
    let changed = call
        .clone()
        .body("Sid=CA123&SidAccount=AC124&Digits=5678&Digits=1234");
    assert_eq!(changed.why(&source, at(0)), "bad_signature");
    // The signature of a form does not cover another body, nor one with too many fields.
    let json = call.clone().with("content-type", "application/json");
    assert_eq!(json.why(&source, at(0)), "bad_signature");
    let many = "a&".repeat(2000);
    assert_eq!(call.clone().body(many).why(&source, at(0)), "bad_signature");
}

#[test]
fn twilio_other_bodies() {
    let source = source(r#"{"preset":"twilio","secrets":["12345"]}"#);
    let hashed = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620";
    let url = format!("https://mycompany.com/myapp.php?foo=1&bar=2&bodySHA256={hashed}");
    let call = Request::post(r#"{"property": "value", "boolean": true}"#)
        .with("content-type", "application/json")
        .with("x-twilio-signature", "a9nBmqA0ju/hNViExpshrM61xv4=")
        .url(&url);
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    let changed = call
        .clone()
        .body(r#"{"property": "value", "boolean": false}"#);
    assert_eq!(changed.why(&source, at(0)), "bad_signature");
    let form = call
        .clone()
        .with("content-type", "application/x-www-form-urlencoded");
    let form = form.body("a=b");
    assert_eq!(form.why(&source, at(0)), "bad_signature");
}

#[test]
fn a_signature_over_the_url_alone_covers_no_body() {
    let source = source(r#"{"preset":"twilio","secrets":["12345"]}"#);
    let url = "https://a.b/in/s";
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
    let signed = STANDARD.encode(ring::hmac::sign(&key, url.as_bytes()));
    let call = Request::post("")
        .with("x-twilio-signature", &signed)
        .url(url);
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    let form = "application/x-www-form-urlencoded";
    for (content_type, body) in [
        ("application/json", "{}".to_owned()),
        ("text/plain", "a=b".to_owned()),
        (form, "a&".repeat(2000)),
        (form, "a=b".to_owned()),
    ] {
        let call = call.clone().with("content-type", content_type).body(body);
        assert_eq!(call.why(&source, at(0)), "bad_signature", "{content_type}");
    }
}

#[test]
fn twilio_messages() {
    let source = source(r#"{"preset":"twilio","secrets":["12345"]}"#);
    let url = "https://a.b/in/s";
    let call = Request::of(source.sample(None, [1; 16], at(0), Some(url)).unwrap(), url);
    let event = call.event(&source, at(0));
    assert_eq!(event.event_type.as_str(), "twilio.message.delivered");
    assert!(
        event.delivery_id.ends_with(" delivered"),
        "{}",
        event.delivery_id
    );
    let answer = call.answered(&source, at(0));
    assert_eq!(
        (header(&answer, "content-type"), text(&answer)),
        ("text/xml", "<Response/>")
    );
    let named = call.with("i-twilio-idempotency-token", "t-1");
    assert_eq!(named.event(&source, at(0)).delivery_id, "t-1");
}

#[test]
fn zendesk() {
    let secret = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==";
    let source = source(&format!(r#"{{"preset":"zendesk","secrets":["{secret}"]}}"#));
    let now = at(1_627_207_200);
    let call = Request::post(r#"{"say": "hello"}"#)
        .with(
            "x-zendesk-webhook-signature-timestamp",
            "2021-07-25T10:00:00Z",
        )
        .with(
            "x-zendesk-webhook-signature",
            "gf3v0LzLRHPUnIdhbvwRDVEvzSb07/QN0GYjSNlkBT0=",
        )
        .with("x-zendesk-webhook-invocation-id", "i-1");
    assert_eq!(call.event(&source, now).delivery_id, "i-1");
    assert_eq!(call.why(&source, at(1_627_207_501)), "stale");
    let untimed = call.with("x-zendesk-webhook-signature-timestamp", "yesterday");
    assert_eq!(untimed.why(&source, now), "stale");
}

#[test]
fn square() {
    let source = source(r#"{"preset":"square","secrets":["asdf1234"]}"#);
    let call = Request::post(r#"{"hello":"world"}"#)
        .with(
            "x-square-hmacsha256-signature",
            "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og=",
        )
        .url("https://example.com/webhook");
    assert_eq!(call.verified_by(&source, at(0)), VerifiedBy::Secret(1));
    let mut elsewhere = call.clone().url("https://example.com/other");
    assert_eq!(elsewhere.why(&source, at(0)), "bad_signature");
    elsewhere.url = None;
    assert_eq!(elsewhere.why(&source, at(0)), "bad_signature");
}

#[test]
fn linear() {
    let source = source(r#"{"preset":"linear","secrets":["lin_wh_secret"]}"#);
    let call =
        Request::post(r#"{"action":"create","type":"Issue","webhookTimestamp":1714478400000}"#)
            .with(
                "linear-signature",
                "75c3d1d0205c82320ff18b8dad537ee59a2d04fa7e4c54daeee5947ebd1a916e",
            )
            .with("linear-delivery", "d-1")
            .with("linear-event", "Issue");
    let now = at(1_714_478_460);
    assert_eq!(
        named(&call.event(&source, now)),
        ("linear.Issue.create", "d-1")
    );
    assert_eq!(call.why(&source, at(1_714_478_461)), "stale");
    assert_eq!(call.why(&source, at(1_714_478_339)), "stale");
}

const DISCORD: &str = r#"{"preset":"discord","public_key":"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"}"#;

/// A call that is signed with the key of the vector.
fn discord(body: &str) -> Request {
    let seed: Vec<u8> = (0..32).collect();
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let signed = pair.sign(format!("1700000000{body}").as_bytes());
    let hex: String = signed.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Request::post(body.to_owned())
        .with("x-signature-timestamp", "1700000000")
        .with("x-signature-ed25519", &hex)
}

#[test]
fn discord_interactions() {
    let source = source(DISCORD);
    let now = at(1_700_000_000);
    let ping = discord(r#"{"type":1}"#);
    let vector = "c1098e97d711377f30225d53d94b89d43537f92e5b3afaddc590781b1f9f9d4b2eeab335d370be3b9a090bc61a85b86448bc140dcd195f1569c2bff181257607";
    assert_eq!(ping.headers["x-signature-ed25519"], vector);
    let answer = ping.greeted(&source, now);
    assert_eq!(
        (
            answer.status.as_u16(),
            header(&answer, "content-type"),
            text(&answer)
        ),
        (200, "application/json", r#"{"type":1}"#)
    );
    let wrong = ping
        .clone()
        .with("x-signature-ed25519", &vector.replace("c1", "c2"));
    assert_eq!(wrong.rejected(&source, now).status(), 401);
    assert_eq!(ping.why(&source, at(1_700_000_301)), "stale");
    let command = discord(r#"{"type":2,"id":"1","data":{"name":"deploy"}}"#);
    let event = command.event(&source, now);
    assert_eq!(named(&event), ("discord.interaction.deploy", "1"));
    assert_eq!(command.verified_by(&source, now), VerifiedBy::PublicKey);
    for (kind, answer) in [
        (2, r#"{"type":5}"#),
        (3, r#"{"type":6}"#),
        (4, r#"{"type":8,"data":{"choices":[]}}"#),
        (5, r#"{"type":5}"#),
    ] {
        let call = discord(&format!(r#"{{"type":{kind},"id":"2"}}"#));
        assert_eq!(text(&call.answered(&source, now)), answer);
    }
}

#[test]
fn discord_webhook_events() {
    let source = source(DISCORD);
    let now = at(1_700_000_000);
    let ping = discord(r#"{"version":1,"application_id":"1","type":0}"#).greeted(&source, now);
    let event = discord(r#"{"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#);
    assert_eq!(
        event.event(&source, now).event_type.as_str(),
        "discord.APPLICATION_AUTHORIZED"
    );
    for answer in [ping, event.answered(&source, now)] {
        assert_eq!(answer.status, 204);
        assert_eq!(header(&answer, "content-type"), "application/json");
        assert_eq!(text(&answer), "");
    }
}

#[test]
fn sendgrid() {
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==";
    let source = source(&format!(r#"{{"preset":"sendgrid","public_key":"{key}"}}"#));
    let body = concat!(
        r#"[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA","sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]"#,
        "\r\n"
    );
    let signed = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM=";
    let call = Request::post(body)
        .with("x-twilio-email-event-webhook-timestamp", "1600112502")
        .with("x-twilio-email-event-webhook-signature", signed);
    let now = at(1_600_112_502);
    assert_eq!(call.verified_by(&source, now), VerifiedBy::PublicKey);
    assert_eq!(
        call.event(&source, now).event_type.as_str(),
        "sendgrid.dropped"
    );
    let changed = call.body(body.trim_end());
    assert_eq!(changed.why(&source, now), "bad_signature");
}

#[test]
fn twitter() {
    let source = source(r#"{"preset":"twitter","secrets":["Convoy"]}"#);
    let answer = Request::get("crc_token=uzwcfYtzr9").greeted(&source, at(0));
    let right = r#"{"response_token":"sha256=HXvxTdsfShG6k2zC9NVANwFquJBdOugRYHax2vNiiOo="}"#;
    assert_eq!(text(&answer), right);
    assert_eq!(header(&answer, "content-type"), "application/json");
}
