//! Handshakes: what a provider asks when a URL is given to it, and what hostile callers make of
//! that. Nothing of it is stored.

use serde_json::{Value, json};

use super::crypto::{base64, hex, hmac_sha256};
use super::further_stand_ins::{
    ASANA, DROPBOX, HARAVAN, MONDAY, MS_GRAPH, NYLAS, OKTA, STRAVA, TRELLO, WOOCOMMERCE, XERO,
};
use super::provider::is_for_later;
use super::stand_in::StandIn;
use super::stand_ins::{
    self as all, discord_signed, line_signed, slack_signed, twitch_signed, zoom_signed,
};
use super::{Call, Signing, assert_empty, events, made, now_ms, patch, rejected, shown, start};
use crate::harness::http::Response;
use crate::harness::{Daemon, Home};

const TEXT: &str = "text/plain; charset=utf-8";

/// A daemon with the stand-in's source, nothing else; `None` if this build lacks the preset.
struct Greeting {
    daemon: Daemon,
    name: &'static str,
    secret: &'static str,
    _home: Home,
}

impl Greeting {
    fn new(one: &StandIn, more: &Value) -> Option<Greeting> {
        let home = Home::new();
        let daemon = start(&home, "");
        if is_for_later(&daemon, one) {
            return None;
        }
        let [secret, _] = one.two_secrets();
        let mut definition = one.definition(&[secret]);
        for (key, value) in more.as_object().into_iter().flatten() {
            definition[key] = value.clone();
        }
        made(&daemon, &definition);
        Some(Greeting {
            daemon,
            name: one.name,
            secret,
            _home: home,
        })
    }

    fn by(&self, late: i64) -> Signing<'static> {
        Signing {
            secret: self.secret,
            at_ms: now_ms() - late * 1000,
            number: 1,
        }
    }

    #[track_caller]
    fn send(&self, call: &Call) -> Response {
        call.send(&self.daemon, self.name)
    }

    #[track_caller]
    fn get(&self, query: &str) -> Response {
        self.send(&Call::new("GET", query))
    }

    /// Asserts that there were so many handshakes, and no event.
    #[track_caller]
    fn end(self, handshakes: u64) {
        let source = shown(&self.daemon, self.name);
        assert_eq!(source["counts"]["handshakes"], handshakes, "{source:#}");
        assert_eq!(source["last_handshake_at"].is_string(), handshakes > 0);
        assert_eq!(source["counts"]["accepted"], 0);
        assert_eq!(source["last_received_at"], Value::Null);
        assert_eq!(events(&self.daemon).len(), 0);
    }
}

/// Asserts 200, this type and body, and that no browser guesses another type.
#[track_caller]
fn assert_echo(answer: &Response, content_type: &str, body: &str) {
    let shown = (answer.status, answer.header("content-type"), answer.text());
    assert_eq!(shown, (200, Some(content_type), body.to_owned()));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn slack_gets_its_challenge_back_if_it_signs_it() {
    let greeting = Greeting::new(&all::SLACK, &json!({})).unwrap();
    let challenge = |text: &str| format!("{{\"type\":\"url_verification\",\"challenge\":{text}}}");
    let signed =
        |text: &str, late| slack_signed(greeting.by(late), &challenge(text), "application/json");
    let asked = signed(
        "\"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P\"",
        0,
    );
    let answer = greeting.send(&asked);
    assert_echo(
        &answer,
        TEXT,
        "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
    );
    // Not without its signature, nor with an old one.
    assert_empty(
        &greeting.send(&asked.clone().without("x-slack-signature")),
        401,
    );
    assert_empty(
        &greeting.send(&asked.body(challenge("\"other\"").as_bytes())),
        401,
    );
    assert_empty(&greeting.send(&signed("\"3eZ\"", 400)), 401);
    let kib = format!("\"{}\"", "c".repeat(1024));
    assert_echo(
        &greeting.send(&signed(&kib, 0)),
        TEXT,
        kib.trim_matches('"'),
    );
    let more = format!("\"{}\"", "c".repeat(1025));
    assert_empty(&greeting.send(&signed(&more, 0)), 400);
    let script = "<script>alert(1)</script>";
    assert_echo(
        &greeting.send(&signed(&format!("\"{script}\""), 0)),
        TEXT,
        script,
    );
    greeting.end(3);
}

#[test]
fn meta_gets_its_challenge_back_for_the_verify_token() {
    let greeting = Greeting::new(&all::META, &json!({"verify_token": "t0ken of mine"})).unwrap();
    let ask = |challenge: &str, token: &str| {
        format!("hub.mode=subscribe&hub.challenge={challenge}&hub.verify_token={token}")
    };
    let answer = greeting.get(&ask("1158201444", "t0ken+of%20mine"));
    assert_echo(&answer, TEXT, "1158201444");
    for token in ["t0ken+of%20min", "t0ken+of%20mine2", "", "T0ken+of%20mine"] {
        assert_empty(&greeting.get(&ask("1158201444", token)), 403);
    }
    assert_empty(&greeting.get("hub.mode=subscribe&hub.challenge=1"), 403);
    let right = |challenge: &str| ask(challenge, "t0ken+of+mine");
    assert_empty(&greeting.get(&right(&"1".repeat(1025))), 400);
    let script = "%3Cscript%3Ealert(1)%3C/script%3E";
    assert_echo(
        &greeting.get(&right(script)),
        TEXT,
        "<script>alert(1)</script>",
    );
    // A line end would begin a header, were it not in the body.
    let split = "1%0d%0aset-cookie:%20a=b";
    let answer = greeting.get(&right(split));
    assert_echo(&answer, TEXT, "1\r\nset-cookie: a=b");
    assert_eq!(answer.header("set-cookie"), None);
    let source = shown(&greeting.daemon, "meta");
    assert_eq!(rejected(&source, "bad_token"), 5);
    assert_eq!(source["verify_token"], "…");
    greeting.end(3);
}

/// Without a verify token nobody is let in by leaving it out.
#[test]
fn meta_gets_no_challenge_back_from_a_source_without_a_verify_token() {
    let greeting = Greeting::new(&all::META, &json!({})).unwrap();
    for query in [
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=",
        "hub.mode=subscribe&hub.challenge=1",
    ] {
        assert_empty(&greeting.get(query), 403);
    }
    greeting.end(0);
}

#[test]
fn discord_pings_and_probes_with_bad_signatures() {
    let Some(greeting) = Greeting::new(&all::DISCORD, &json!({})) else {
        return;
    };
    let ping = discord_signed(greeting.by(0), "{\"type\":1}");
    let answer = greeting.send(&ping);
    assert_eq!((answer.status, answer.json()), (200, json!({"type": 1})));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let other = Signing {
        secret: "99",
        ..greeting.by(0)
    };
    assert_empty(&greeting.send(&discord_signed(other, "{\"type\":1}")), 401);
    assert_empty(
        &greeting.send(&ping.clone().without("x-signature-ed25519")),
        401,
    );
    assert_empty(
        &greeting.send(&ping.clone().with("x-signature-ed25519", "00")),
        401,
    );
    assert_empty(&greeting.send(&ping.body(b"{\"type\":2}")), 401);
    // Of webhook events.
    let ping = discord_signed(
        greeting.by(0),
        "{\"version\":1,\"application_id\":\"7\",\"type\":0}",
    );
    let answer = greeting.send(&ping);
    assert_eq!(answer.status, 204);
    assert!(answer.header("content-type").is_some(), "{answer:?}");
    greeting.end(2);
}

#[test]
fn zoom_gets_its_token_signed_and_nothing_that_could_be_a_body() {
    let Some(greeting) = Greeting::new(&all::ZOOM, &json!({})) else {
        return;
    };
    let ask = |token: &str, late| {
        let body = json!({"event": "endpoint.url_validation", "event_ts": 1_654_503_849_680_u64,
            "payload": {"plainToken": token}});
        zoom_signed(greeting.by(late), &body.to_string())
    };
    let answer = greeting.send(&ask("qgg8vlvZRS6UYooatFL8Aw", 0));
    let mac = hex(&hmac_sha256(
        greeting.secret.as_bytes(),
        &[b"qgg8vlvZRS6UYooatFL8Aw"],
    ));
    let wanted = json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": mac});
    assert_eq!((answer.status, answer.json()), (200, wanted));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_empty(
        &greeting.send(&ask("abc", 0).without("x-zm-signature")),
        401,
    );
    assert_empty(&greeting.send(&ask("abc", 400)), 401);
    for token in [
        "",
        &"a".repeat(129),
        "v0:1700000000:{\"event\":\"meeting.started\"}",
        "{}",
        "a b",
        "a:b",
        "a\nb",
        "ä",
    ] {
        assert_empty(&greeting.send(&ask(token, 0)), 400);
    }
    assert_eq!(greeting.send(&ask(&"a".repeat(128), 0)).status, 200);
    greeting.end(2);
}

#[test]
fn x_gets_its_token_signed_and_nothing_that_could_be_a_body() {
    let Some(greeting) = Greeting::new(&all::TWITTER, &json!({})) else {
        return;
    };
    let answer = greeting.get("crc_token=uzwcfYtzr9&nonce=1");
    let mac = base64(&hmac_sha256(greeting.secret.as_bytes(), &[b"uzwcfYtzr9"]));
    let wanted = json!({"response_token": format!("sha256={mac}")});
    assert_eq!((answer.status, answer.json()), (200, wanted));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let long = "a".repeat(129);
    for token in [
        "",
        &long,
        "%7B%22for_user_id%22%3A%221%22%7D",
        "a%20b",
        "a+b",
        "a%0Ab",
        "%C3%A4",
        "a%00",
    ] {
        let answer = greeting.get(&format!("crc_token={token}"));
        assert_empty(&answer, 400);
    }
    assert_eq!(
        greeting.get(&format!("crc_token={}", &long[1..])).status,
        200
    );
    // X's own vector.
    patch(
        &greeting.daemon.tcp,
        "twitter",
        &json!({"secrets": ["Convoy"]}),
    )
    .expect(200);
    let answer = greeting.get("crc_token=uzwcfYtzr9").json();
    let vector = "sha256=HXvxTdsfShG6k2zC9NVANwFquJBdOugRYHax2vNiiOo=";
    assert_eq!(answer["response_token"], vector);
    greeting.end(3);
}

#[test]
fn twitch_gets_its_challenge_back_if_it_signs_it() {
    let Some(greeting) = Greeting::new(&all::TWITCH, &json!({})) else {
        return;
    };
    let ask = |challenge: &str, late| {
        let body = json!({"challenge": challenge, "subscription": {"type": "channel.follow"}});
        let kind = "webhook_callback_verification";
        twitch_signed(greeting.by(late), kind, &body.to_string())
    };
    let asked = ask("pogchamp-kappa-360noscope-vohiyo", 0);
    let answer = greeting.send(&asked);
    assert_eq!(
        (answer.status, answer.text()),
        (200, "pogchamp-kappa-360noscope-vohiyo".to_owned())
    );
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain")
    );
    let header = "twitch-eventsub-message-signature";
    assert_empty(&greeting.send(&asked.clone().without(header)), 401);
    assert_empty(&greeting.send(&ask("x", 700)), 401);
    assert_empty(&greeting.send(&ask(&"x".repeat(1025), 0)), 400);
    greeting.end(1);
}

#[test]
fn a_sender_of_cloudevents_asks_for_consent() {
    let Some(greeting) = Greeting::new(&all::CLOUDEVENTS, &json!({})) else {
        return;
    };
    let token = format!("token={}", greeting.secret);
    let ask = |query: &str, origin: &str| {
        let call = Call::new("OPTIONS", query).with("webhook-request-rate", "100");
        greeting.send(&call.with("webhook-request-origin", origin))
    };
    let answer = ask(&token, "eventemitter.example.com");
    assert_eq!((answer.status, answer.text()), (200, String::new()));
    let header = |name| answer.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("webhook-allowed-origin"), "eventemitter.example.com");
    assert_eq!(header("webhook-allowed-rate"), "*");
    assert_eq!(header("allow"), "POST");
    assert_empty(&ask("", "eventemitter.example.com"), 401);
    assert_empty(&ask(&token, "a b"), 400);
    patch(
        &greeting.daemon.tcp,
        "cloudevents",
        &json!({"rate_limit": "2/s"}),
    )
    .expect(200);
    let answer = ask(&token, "eventemitter.example.com");
    assert_eq!(answer.header("webhook-allowed-rate"), Some("120"));
    greeting.end(2);
}

/// On saving the URL Zalo may send a probe without body and signature that must get 200.
#[test]
fn zalo_probes_without_a_body() {
    let Some(greeting) = Greeting::new(&all::ZALO, &json!({})) else {
        return;
    };
    for call in [Call::post(b""), Call::new("GET", "")] {
        assert_empty(&greeting.send(&call), 200);
    }
    assert_empty(&greeting.send(&Call::post(b"{}")), 401);
    greeting.end(2);
}

/// LINE verifies a URL with a signed call without events.
#[test]
fn line_sends_no_events_to_verify() {
    let Some(greeting) = Greeting::new(&all::LINE, &json!({})) else {
        return;
    };
    let ask = line_signed(greeting.by(0), "{\"destination\":\"U1\",\"events\":[]}");
    assert_empty(&greeting.send(&ask), 200);
    assert_empty(&greeting.send(&ask.without("x-line-signature")), 401);
}

/// Those that send a text back and ask for nothing: it is short, and no browser runs it.
#[test]
fn echoes_are_plain_short_and_of_their_own_kind() {
    let script = "%3Cscript%3E";
    for (one, more, query) in [
        (&DROPBOX, json!({}), "challenge="),
        (&NYLAS, json!({}), "challenge="),
        (
            &HARAVAN,
            json!({"verify_token": "t"}),
            "hub.verify_token=t&hub.challenge=",
        ),
    ] {
        let greeting = Greeting::new(one, &more).unwrap();
        assert_echo(&greeting.get(&format!("{query}abc")), TEXT, "abc");
        assert_echo(&greeting.get(&format!("{query}{script}")), TEXT, "<script>");
        let long = "c".repeat(1025);
        assert_empty(&greeting.get(&format!("{query}{long}")), 400);
        assert_empty(
            &greeting.get(&format!("{query}{}", "%00".repeat(1025))),
            400,
        );
        assert_empty(&greeting.send(&Call::new("DELETE", "")), 405);
        greeting.end(2);
    }
}

#[test]
fn microsoft_graph_gets_its_validation_token_back() {
    let greeting = Greeting::new(&MS_GRAPH, &json!({})).unwrap();
    let ask = |token: &str| greeting.send(&Call::new("POST", &format!("validationToken={token}")));
    assert_echo(
        &ask("Validation%3a+Testing+client"),
        TEXT,
        "Validation: Testing client",
    );
    assert_empty(&ask(&"v".repeat(1025)), 400);
    greeting.end(1);
}

#[test]
fn okta_gets_its_challenge_back_in_json() {
    let greeting = Greeting::new(&OKTA, &json!({})).unwrap();
    let ask = |text: &str| {
        let call = Call::new("GET", "").with("x-okta-verification-challenge", text);
        greeting.send(&call)
    };
    let answer = ask("abc\"}");
    assert_echo(
        &answer,
        "application/json",
        "{\"verification\":\"abc\\\"}\"}",
    );
    assert_empty(&ask(&"c".repeat(1025)), 400);
    assert_empty(&greeting.get(""), 400);
    greeting.end(1);
}

#[test]
fn strava_gets_its_challenge_back_for_both_tokens() {
    let greeting = Greeting::new(&STRAVA, &json!({"verify_token": "v"})).unwrap();
    let secret = greeting.secret;
    let ask = |token: &str, verify: &str| {
        greeting.get(&format!(
            "token={token}&hub.mode=subscribe&hub.challenge=15f7d1a91c1f40f8&hub.verify_token={verify}"
        ))
    };
    let answer = ask(secret, "v");
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"hub.challenge": "15f7d1a91c1f40f8"}))
    );
    assert_empty(&ask(secret, "w"), 403);
    assert_empty(&ask("other", "v"), 401);
    greeting.end(1);
}

#[test]
fn monday_gets_its_challenge_back_in_json() {
    let greeting = Greeting::new(&MONDAY, &json!({})).unwrap();
    let ask = |token: &str| Call {
        query: format!("token={token}"),
        ..Call::post(b"{\"challenge\": \"3eZbrw1a\"}")
    };
    let answer = greeting.send(&ask(greeting.secret));
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"challenge": "3eZbrw1a"}))
    );
    assert_empty(&greeting.send(&ask("other")), 401);
    greeting.end(1);
}

#[test]
fn asana_gets_its_secret_back_and_its_heartbeat_is_no_event() {
    let greeting = Greeting::new(&ASANA, &json!({})).unwrap();
    let hello = |secret: &str| Call::post(b"{}").with("x-hook-secret", secret);
    let answer = greeting.send(&hello("b537207f20cbfa02357cf448134da559"));
    assert_empty(&answer, 200);
    assert_eq!(
        answer.header("x-hook-secret"),
        Some("b537207f20cbfa02357cf448134da559")
    );
    assert_empty(&greeting.send(&hello(&"s".repeat(1025))), 400);
    let mac = hex(&hmac_sha256(
        greeting.secret.as_bytes(),
        &[b"{\"events\": []}"],
    ));
    let beat = Call::post(b"{\"events\": []}").with("x-hook-signature", &mac);
    assert_empty(&greeting.send(&beat), 200);
    assert_empty(&greeting.send(&beat.without("x-hook-signature")), 401);
    greeting.end(2);
}

#[test]
fn trello_and_woocommerce_and_xero_ask_with_what_is_no_event() {
    let greeting = Greeting::new(&TRELLO, &json!({})).unwrap();
    for method in ["HEAD", "GET"] {
        assert_empty(&greeting.send(&Call::new(method, "")), 200);
    }
    greeting.end(2);
    let greeting = Greeting::new(&WOOCOMMERCE, &json!({})).unwrap();
    let form =
        Call::post(b"webhook_id=7").with("content-type", "application/x-www-form-urlencoded");
    assert_empty(&greeting.send(&form), 200);
    greeting.end(1);
    let greeting = Greeting::new(&XERO, &json!({})).unwrap();
    let body = b"{\"events\":[],\"firstEventSequence\":0,\"lastEventSequence\":0}";
    let mac = base64(&hmac_sha256(greeting.secret.as_bytes(), &[body]));
    let intent = Call::post(body).with("x-xero-signature", &mac);
    assert_empty(&greeting.send(&intent), 200);
    assert_empty(
        &greeting.send(&intent.with("x-xero-signature", "AAAA")),
        401,
    );
    greeting.end(1);
}

/// GitHub's handshake is an event like any other.
#[test]
fn github_pings_with_an_event() {
    let home = Home::new();
    let daemon = start(&home, &super::github("gh", ""));
    let call = super::push("1", b"{\"zen\":\"Design for failure.\"}");
    assert_empty(
        &call.with("x-github-event", "ping").send(&daemon, "gh"),
        200,
    );
    assert_eq!(super::types(&daemon), ["github.ping"]);
}
