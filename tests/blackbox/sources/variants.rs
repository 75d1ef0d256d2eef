//! Ways in which one provider signs, and those in which nobody may.

use serde_json::json;

use super::crypto::{base64, ed25519, hex, hmac_sha1, hmac_sha256, public_hex, sha256};
use super::stand_in::{Signing, StandIn, now_ms, url};
use super::stand_ins::{
    CLOUDEVENTS, GITHUB, GITLAB, GITLAB_TOKEN, HUBSPOT, SALESFORCE, STANDARD_WEBHOOKS,
    STANDARD_WEBHOOKS_V1A, STRIPE, TWILIO, ZALO,
};
use super::{Call, assert_counts, assert_empty, events, made, start, types};
use crate::harness::{Daemon, Home};

const OLD: &str = "the-old-secret-of-0123456789";

/// A daemon with the source of a stand-in, whose secret is `OLD` where it is a text.
fn taking(one: &StandIn) -> (Home, Daemon) {
    let home = Home::new();
    let daemon = start(&home, "");
    made(&daemon, &one.definition(&[one.two_secrets()[0]]));
    (home, daemon)
}

fn by(number: u32) -> Signing<'static> {
    Signing {
        secret: OLD,
        at_ms: now_ms(),
        number,
    }
}

#[test]
fn githubs_older_signature_is_none() {
    let (_home, daemon) = taking(&GITHUB);
    let call = (GITHUB.call)(by(1));
    let sha1 = format!("sha1={}", hex(&hmac_sha1(OLD.as_bytes(), &[&call.body])));
    let older = call
        .clone()
        .without("x-hub-signature-256")
        .with("x-hub-signature", &sha1);
    assert_empty(&older.send(&daemon, "github"), 401);
    let right = call
        .headers
        .iter()
        .find(|(name, _)| name == "x-hub-signature-256");
    let right = right.unwrap().1.clone();
    for wrong in [
        sha1.as_str(),
        "",
        "sha256=",
        "sha256=00",
        &right[..right.len() - 1],
        &format!("{right}00"),
        &right.replace("sha256=", ""),
        &right.replace("sha256=", "sha512="),
    ] {
        let call = call.clone().with("x-hub-signature-256", wrong);
        assert_empty(&call.send(&daemon, "github"), 401);
    }
    // Hex of either case is the same.
    let upper = right.to_uppercase().replace("SHA256", "sha256");
    let call = call.with("x-hub-signature-256", &upper);
    assert_empty(&call.send(&daemon, "github"), 200);
}

#[test]
fn of_a_header_that_is_there_twice_each_signature_counts() {
    let (_home, daemon) = taking(&GITHUB);
    let call = (GITHUB.call)(by(1));
    let wrong = format!("sha256={}", "0".repeat(64));
    let mut twice = call.clone();
    twice
        .headers
        .insert(0, ("x-hub-signature-256".to_owned(), wrong));
    assert_empty(&twice.send(&daemon, "github"), 200);
}

#[test]
fn stripe_signs_no_other_time_than_it_says() {
    let (_home, daemon) = taking(&STRIPE);
    let call = (STRIPE.call)(by(1));
    let header = call
        .headers
        .iter()
        .find(|(name, _)| name == "stripe-signature");
    let header = header.unwrap().1.clone();
    let (time, rest) = header.split_once(',').unwrap();
    let seconds: i64 = time[2..].parse().unwrap();
    for wrong in [
        // Fresh, but not what is signed; and the first time counts, not one that is put behind.
        format!("t={},{rest}", seconds + 1),
        format!("t={},t={seconds},{rest}", seconds + 1),
        format!("t=,{rest}"),
        format!("t=-{seconds},{rest}"),
        format!("t={seconds}.5,{rest}"),
        format!("t=99999999999999999999,{rest}"),
        rest.to_owned(),
        time.to_owned(),
        header.replace("v1=", "v0="),
    ] {
        let call = call.clone().with("stripe-signature", &wrong);
        assert_empty(&call.send(&daemon, "stripe"), 401);
    }
    assert_empty(&call.send(&daemon, "stripe"), 200);
}

/// Of many signatures a bounded number is looked at, and a flood of them is no way in.
#[test]
fn many_signatures_are_no_way_in() {
    let (_home, daemon) = taking(&STRIPE);
    let call = (STRIPE.call)(by(1));
    let seconds = by(1).seconds();
    let many = format!(
        "t={seconds}{}",
        format!(",v1={}", "0".repeat(64)).repeat(150)
    );
    assert_empty(
        &call.with("stripe-signature", &many).send(&daemon, "stripe"),
        401,
    );
}

#[test]
fn standard_webhooks_of_both_kinds_and_with_a_signed_id() {
    let home = Home::new();
    let daemon = start(&home, "");
    let [secret, other] = STANDARD_WEBHOOKS.two_secrets();
    let definition = json!({"id": "both", "preset": "standard_webhooks", "secrets": [secret],
        "public_key": public_hex(&ed25519(11))});
    made(&daemon, &definition);
    let v1 = |secret, number| {
        (STANDARD_WEBHOOKS.call)(Signing {
            secret,
            ..by(number)
        })
    };
    let v1a = |seed, number| {
        (STANDARD_WEBHOOKS_V1A.call)(Signing {
            secret: seed,
            ..by(number)
        })
    };
    assert_empty(&v1(secret, 1).send(&daemon, "both"), 200);
    assert_empty(&v1a("11", 2).send(&daemon, "both"), 200);
    assert_empty(&v1(other, 3).send(&daemon, "both"), 401);
    assert_empty(&v1a("22", 3).send(&daemon, "both"), 401);
    // The id and the time are signed, so that neither can be changed to send a call again.
    let call = v1(secret, 4);
    assert_empty(
        &call
            .clone()
            .with("webhook-id", "msg_5")
            .send(&daemon, "both"),
        401,
    );
    assert_empty(
        &call.clone().without("webhook-id").send(&daemon, "both"),
        401,
    );
    assert_empty(
        &call
            .clone()
            .without("webhook-timestamp")
            .send(&daemon, "both"),
        401,
    );
    let later = (by(4).seconds() + 1).to_string();
    assert_empty(
        &call.with("webhook-timestamp", &later).send(&daemon, "both"),
        401,
    );
    assert_counts(&daemon, "both", 2, 0);
}

/// Where GitLab signs, its token does not make a wrong signature right.
#[test]
fn gitlabs_signature_is_decisive_where_it_is() {
    let home = Home::new();
    let daemon = start(&home, "");
    let [signing, other] = GITLAB.two_secrets();
    made(
        &daemon,
        &json!({"id": "gl", "preset": "gitlab", "secrets": [signing, OLD]}),
    );
    let signed = |secret, number| {
        (GITLAB.call)(Signing {
            secret,
            ..by(number)
        })
    };
    assert_empty(&signed(signing, 1).send(&daemon, "gl"), 200);
    assert_empty(&(GITLAB_TOKEN.call)(by(2)).send(&daemon, "gl"), 200);
    let both = signed(other, 3).with("x-gitlab-token", OLD);
    assert_empty(&both.send(&daemon, "gl"), 401);
    let both = signed(signing, 4).with("x-gitlab-token", "wrong");
    assert_empty(&both.send(&daemon, "gl"), 200);
}

#[test]
fn zalo_signs_the_time_of_its_header_or_of_its_body() {
    let (_home, daemon) = taking(&ZALO);
    let now = now_ms();
    let signed = |n: u32, app: &str, in_body: i64, signed: i64| {
        let body = format!(
            "{{\"app_id\":\"{app}\",\"event_name\":\"user_send_text\",\"timestamp\":\"{in_body}\",\
             \"message\":{{\"msg_id\":\"m-{n}\"}}}}"
        );
        let time = signed.to_string();
        let parts = ["app-1", &body, &time, OLD].map(str::as_bytes);
        let mac = hex(&sha256(&parts));
        Call::post(body.as_bytes()).with("x-zevent-signature", &format!("mac={mac}"))
    };
    let header = "x-zevent-timestamp";
    // The header's, which need not be the body's.
    let call = signed(1, "app-1", now - 5, now).with(header, &now.to_string());
    assert_empty(&call.send(&daemon, "zalo"), 200);
    // The body's, with another in the header and with none.
    let call = signed(2, "app-1", now, now).with(header, &(now - 7).to_string());
    assert_empty(&call.send(&daemon, "zalo"), 200);
    assert_empty(&signed(3, "app-1", now, now).send(&daemon, "zalo"), 200);
    // Neither of them.
    let call = signed(4, "app-1", now, now + 1).with(header, &now.to_string());
    assert_empty(&call.send(&daemon, "zalo"), 401);
    // Of another app.
    assert_empty(&signed(5, "app-2", now, now).send(&daemon, "zalo"), 401);
    for (n, prefix) in ["", "sha256="].iter().enumerate() {
        let call = signed(6 + n as u32, "app-1", now, now);
        let mac = call.headers[0].1.replace("mac=", prefix);
        assert_empty(
            &call.with("x-zevent-signature", &mac).send(&daemon, "zalo"),
            200,
        );
    }
    assert_counts(&daemon, "zalo", 5, 0);
}

#[test]
fn hubspot_signs_its_url_with_some_codes_decoded() {
    let (_home, daemon) = taking(&HUBSPOT);
    let time = now_ms().to_string();
    let send = |query: &str, signed: &str, n: u32| {
        let body = format!("[{{\"eventId\":{n},\"subscriptionType\":\"contact.creation\"}}]");
        let signed = format!("POST{}?{signed}{body}{time}", url("hubspot"));
        let mac = base64(&hmac_sha256(OLD.as_bytes(), &[signed.as_bytes()]));
        let call = Call {
            query: query.to_owned(),
            ..Call::post(body.as_bytes())
        };
        call.with("x-hubspot-request-timestamp", &time)
            .with("x-hubspot-signature-v3", &mac)
            .send(&daemon, "hubspot")
    };
    assert_empty(&send("a=b", "a=b", 1), 200);
    let coded = "r=https%3A%2F%2Fa.example%2F%3Fx%40y%21%24%27%28%29%2A%2C%3B";
    assert_empty(&send(coded, "r=https://a.example/?x@y!$'()*,;", 2), 200);
    // No other codes.
    assert_empty(&send("q=a%20b%3D", "q=a%20b%3D", 3), 200);
    assert_empty(&send("q=a%20b%3D", "q=a b=", 4), 401);
    assert_empty(&send("a=b", "a=c", 5), 401);
}

#[test]
fn hubspots_array_is_split_when_it_is_asked_for() {
    let home = Home::new();
    let daemon = start(&home, "");
    let mut definition = HUBSPOT.definition(&[OLD]);
    definition["split"] = "/".into();
    made(&daemon, &definition);
    let time = now_ms().to_string();
    let send = |body: &str| {
        let signed = format!("POST{}{body}{time}", url("hubspot"));
        let mac = base64(&hmac_sha256(OLD.as_bytes(), &[signed.as_bytes()]));
        Call::post(body.as_bytes())
            .with("content-type", "application/json")
            .with("x-hubspot-request-timestamp", &time)
            .with("x-hubspot-signature-v3", &mac)
            .send(&daemon, "hubspot")
    };
    let one = r#"{"eventId":100,"subscriptionType":"contact.creation","attemptNumber":0}"#;
    let again = r#"{"eventId":100,"subscriptionType":"contact.creation","attemptNumber":1}"#;
    let two = r#"{"eventId":200,"subscriptionType":"deal.deletion","attemptNumber":0}"#;
    assert_empty(&send(&format!("[{one},{two}]")), 200);
    assert_eq!(
        types(&daemon),
        ["hubspot.contact.creation", "hubspot.deal.deletion"]
    );
    // HubSpot sends again what failed, in other company.
    assert_empty(&send(&format!("[{again}]")), 200);
    assert_counts(&daemon, "hubspot", 2, 1);
}

#[test]
fn twilio_signs_its_url_with_its_port_or_without() {
    let (_home, daemon) = taking(&TWILIO);
    let call = (TWILIO.call)(by(1));
    let body = String::from_utf8(call.body.clone()).unwrap();
    let digits = body.rsplit('=').next().unwrap();
    let sid = format!("CA{:032}", 1);
    let fields = format!(
        "AccountSidAC1CallSid{sid}CallStatusringingDigits{digits}From+14158675309To+18005551212"
    );
    let with_port = url("twilio").replace(".com/", ".com:443/");
    let mac = base64(&hmac_sha1(
        OLD.as_bytes(),
        &[with_port.as_bytes(), fields.as_bytes()],
    ));
    assert_eq!(
        call.clone()
            .with("x-twilio-signature", &mac)
            .send(&daemon, "twilio")
            .status,
        200
    );
    let other = with_port.replace("443", "8443");
    let mac = base64(&hmac_sha1(
        OLD.as_bytes(),
        &[other.as_bytes(), fields.as_bytes()],
    ));
    assert_empty(
        &call
            .with("x-twilio-signature", &mac)
            .send(&daemon, "twilio"),
        401,
    );
    // A body that is not a form is signed with its hash in the URL, or not at all.
    let mac = base64(&hmac_sha1(OLD.as_bytes(), &[url("twilio").as_bytes()]));
    let bare = Call::post(b"{\"evil\":true}")
        .with("content-type", "application/json")
        .with("x-twilio-signature", &mac);
    assert_empty(&bare.send(&daemon, "twilio"), 401);
}

#[test]
fn salesforce_is_known_by_its_id_of_15_or_18_letters() {
    let home = Home::new();
    let daemon = start(&home, "");
    let short = json!({"id": "short", "preset": "salesforce", "account": "00D000000000062"});
    made(&daemon, &short);
    made(&daemon, &SALESFORCE.definition(&["00D000000000062EAA"]));
    let call = |account: &'static str, number| {
        (SALESFORCE.call)(Signing {
            secret: account,
            ..by(number)
        })
    };
    for (n, account) in ["00D000000000062EAA", "00D000000000062"]
        .into_iter()
        .enumerate()
    {
        for source in ["short", "salesforce"] {
            let answer = call(account, n as u32).send(&daemon, source);
            assert_eq!(answer.text(), SALESFORCE.answer.body, "{account} {source}");
        }
    }
    // The 15 letters tell upper from lower case.
    let other = call("00d000000000062", 7);
    assert_empty(&other.send(&daemon, "short"), 401);
    // A field of that name elsewhere in the body is not the sender's.
    let forged = String::from_utf8(call("00D000000000063EAA", 8).body).unwrap();
    let account = "<OrganizationId>00D000000000062EAA</OrganizationId>";
    for (place, with) in [
        ("<sf:Name>", format!("{account}<sf:Name>")),
        ("<soapenv:Body>", format!("<!--{account}--><soapenv:Body>")),
        (
            "<soapenv:Body>",
            format!("<soapenv:Header>{account}</soapenv:Header><soapenv:Body>"),
        ),
        ("<SessionId>", format!("<SessionId><![CDATA[{account}]]>")),
    ] {
        let body = forged.replace(place, &with);
        assert_empty(&Call::post(body.as_bytes()).send(&daemon, "short"), 401);
    }
    assert_eq!(events(&daemon).len(), 4);
}

#[test]
fn cloudevents_come_in_each_of_their_modes() {
    let (_home, daemon) = taking(&CLOUDEVENTS);
    let send = |content_type: &str, body: &str| {
        let call = Call {
            query: format!("token={OLD}"),
            ..Call::post(body.as_bytes())
        };
        call.with("content-type", content_type)
            .send(&daemon, "cloudevents")
    };
    let one = r#"{"specversion":"1.0","id":"1","source":"/a","type":"x.one","data":{"n":1}}"#;
    let two = r#"{"specversion":"1.0","id":"1","source":"/b","type":"x.two","data":{"n":2}}"#;
    assert_empty(&send("application/cloudevents+json", one), 200);
    let batch = format!("[{one},{two}]");
    assert_empty(&send("application/cloudevents-batch+json", &batch), 200);
    assert_counts(&daemon, "cloudevents", 2, 1);
    assert_eq!(types(&daemon), ["cloudevents.x.one", "cloudevents.x.two"]);
    for (content_type, body) in [
        ("application/json", "{}"),
        ("application/cloudevents+json", "{}"),
        ("application/cloudevents+json", "not json"),
        ("application/cloudevents-batch+json", "{}"),
    ] {
        assert_empty(&send(content_type, body), 400);
    }
    assert_eq!(events(&daemon).len(), 2);
}
