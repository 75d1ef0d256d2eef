//! Secrets of sources: replaced with an overlap, and never told.

use serde_json::{Value, json};

use super::crypto::{hex, hmac_sha256};
use super::stand_in::{Signing, now_ms};
use super::stand_ins::STRIPE;
use super::{Call, assert_empty, event, events, made, patch, push, shown, source, start};
use crate::harness::http::Response;
use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

fn rotate(daemon: &Daemon, id: &str, body: &Value) -> Response {
    daemon
        .tcp
        .post_json(&format!("/v1/sources/{id}/rotate"), body.to_string())
}

/// GitHub's call, signed with this secret.
pub fn signed(secret: &str, delivery: &str) -> Call {
    let mac = hex(&hmac_sha256(secret.as_bytes(), &[b"{}"]));
    push(delivery, b"{}").with("x-hub-signature-256", &format!("sha256={mac}"))
}

fn stripe(secret: &str, number: u32) -> Call {
    (STRIPE.call)(Signing {
        secret,
        at_ms: now_ms(),
        number,
    })
}

#[test]
fn a_secret_that_outboxd_makes_is_shown_once_and_the_old_one_counts_for_a_while() {
    let home = Home::new();
    let daemon = start(&home, "");
    made(
        &daemon,
        &json!({"id": "gh", "preset": "github", "secrets": ["the-first"]}),
    );
    let answer = rotate(&daemon, "gh", &json!({}));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let rotated = answer.expect(200);
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert!(second.len() >= 32, "{second}");
    assert_eq!(rotated["secrets"], json!(["…", "…"]));
    assert_eq!(shown(&daemon, "gh").get("secret"), None);
    assert_empty(&signed(&second, "1").send(&daemon, "gh"), 200);
    assert_empty(&signed("the-first", "2").send(&daemon, "gh"), 200);
    // Both overlap over a kill.
    daemon.kill();
    let daemon = start(&home, "");
    assert_empty(&signed("the-first", "3").send(&daemon, "gh"), 200);
    let verified = |daemon: &Daemon| {
        let newest = events(daemon).remove(0);
        event(daemon, newest["id"].as_str().unwrap())["received"]["verified_by"].clone()
    };
    assert_eq!(verified(&daemon), "secret 2");
    // Without an overlap all before are gone.
    let third = rotate(&daemon, "gh", &json!({"overlap": "0s"})).expect(200);
    let third = third["secret"].as_str().unwrap().to_owned();
    assert_eq!(shown(&daemon, "gh")["secrets"], json!(["…"]));
    assert_empty(&signed(&third, "4").send(&daemon, "gh"), 200);
    assert_eq!(verified(&daemon), "secret 1");
    for gone in ["the-first", &second] {
        assert_empty(&signed(gone, "5").send(&daemon, "gh"), 401);
    }
}

#[test]
fn an_overlap_ends() {
    let home = Home::new();
    let daemon = start(&home, "");
    made(
        &daemon,
        &json!({"id": "gh", "preset": "github", "secrets": ["the-first"]}),
    );
    let body = json!({"overlap": "3s", "secret": "the-second"});
    rotate(&daemon, "gh", &body).expect(200);
    let mut number = 0;
    let status = wait_for(
        || {
            number += 1;
            let status = signed("the-first", &format!("d-{number}"))
                .send(&daemon, "gh")
                .status;
            (status != 200).then_some(status)
        },
        || "it counts for ever".to_owned(),
    );
    assert_eq!(status, 401);
    assert!(number > 1, "there was no overlap");
    assert_empty(&signed("the-second", "new").send(&daemon, "gh"), 200);
    // Nor does a restart bring it back.
    daemon.kill();
    let daemon = start(&home, "");
    assert_empty(&signed("the-first", "again").send(&daemon, "gh"), 401);
    assert_empty(&signed("the-second", "new2").send(&daemon, "gh"), 200);
}

#[test]
fn a_secret_that_the_provider_makes_has_to_be_given() {
    let home = Home::new();
    let daemon = start(&home, "");
    made(
        &daemon,
        &json!({"id": "st", "preset": "stripe", "secrets": ["whsec_first"]}),
    );
    let detail = rotate(&daemon, "st", &json!({})).problem(400);
    assert!(detail.contains("`secret`"), "{detail}");
    assert_empty(&stripe("whsec_first", 1).send(&daemon, "st"), 200);
    let body = json!({"secret": "whsec_second", "overlap": "1h"});
    let rotated = rotate(&daemon, "st", &body).expect(200);
    // Whoever gave it knows it.
    assert_eq!(rotated.get("secret"), None, "{rotated}");
    assert_empty(&stripe("whsec_second", 2).send(&daemon, "st"), 200);
    assert_empty(&stripe("whsec_first", 3).send(&daemon, "st"), 200);
    // A change of the secrets is all of them.
    patch(&daemon.tcp, "st", &json!({"secrets": ["whsec_third"]})).expect(200);
    assert_eq!(shown(&daemon, "st")["secrets"], json!(["…"]));
    for gone in ["whsec_first", "whsec_second"] {
        assert_empty(&stripe(gone, 4).send(&daemon, "st"), 401);
    }
    assert_empty(&stripe("whsec_third", 4).send(&daemon, "st"), 200);
}

/// More rotations than a source may have secrets: the newest count.
#[test]
fn the_newest_secrets_count() {
    let home = Home::new();
    let daemon = start(&home, "");
    made(
        &daemon,
        &json!({"id": "gh", "preset": "github", "secrets": ["secret-0"]}),
    );
    for n in 1..=7 {
        let body = json!({"secret": format!("secret-{n}"), "overlap": "1h"});
        rotate(&daemon, "gh", &body).expect(200);
    }
    assert_eq!(shown(&daemon, "gh")["secrets"].as_array().unwrap().len(), 5);
    for n in 0..=7 {
        let call = signed(&format!("secret-{n}"), &format!("d-{n}"));
        let wanted = if n > 2 { 200 } else { 401 };
        assert_empty(&call.send(&daemon, "gh"), wanted);
    }
}

/// Everything that anybody can read, after all that can go wrong with secrets.
#[test]
fn secrets_are_told_nowhere() {
    const SECRETS: [&str; 7] = [
        "filesecret-aa11",
        "apisecret-bb22",
        "verifytoken-cc33",
        "urltoken-dd44",
        "newsecret-ee55",
        "headertoken-ff66",
        "badsecret-gg77",
    ];
    let [file, api, verify, url, new, header, bad] = SECRETS;
    let receiver = Receiver::statuses(&[500, 200]);
    let home = Home::new();
    std::fs::write(home.path("secret"), format!("{file}\n")).unwrap();
    let own = format!(
        "secrets = [\"{header}\"]\nforward_headers = [\"*\"]\n\
         type = \"own.{{{{ headers }}}}.{{{{ query }}}}\"\n\
         verify = {{ algorithm = \"token\", signature = \"header:x-api-key\" }}"
    );
    let config = "[log]\nlevel = \"trace\"\nformat = \"json\"\n".to_owned()
        + &source(
            "file",
            &format!(
                "preset = \"github\"\nsecret_files = [{:?}]\ntoken = \"{url}\"",
                home.path("secret")
            ),
        )
        + &source("own", &own)
        + &endpoint("app", &receiver.url("/"), "");
    let daemon = start(&home, &config);
    let mut told = Vec::new();
    let mut tell = |answer: Response| {
        told.push(format!("{answer:?} {}", answer.text()));
        answer
    };
    let definition = json!({"id": "fb", "preset": "meta", "secrets": [api],
        "verify_token": verify, "token": url});
    tell(daemon.tcp.post_json("/v1/sources", definition.to_string())).expect(201);
    tell(
        daemon
            .tcp
            .post_json("/v1/sources/fb/rotate", json!({"secret": new}).to_string()),
    );
    tell(patch(
        &daemon.tcp,
        "fb",
        &json!({"secrets": [new, api], "description": "x"}),
    ));
    for change in [
        json!({"secrets": [bad, 7]}),
        json!({"preset": "standard_webhooks", "secrets": [bad]}),
        json!({"token": [bad]}),
        json!({"verify_token": {"x": bad}}),
    ] {
        tell(patch(&daemon.tcp, "fb", &change)).problem(400);
    }
    let with_token = |call: Call, token: &str| Call {
        query: format!("token={token}"),
        ..call
    };
    let body = b"{\"object\":\"page\"}";
    let mac = hex(&hmac_sha256(new.as_bytes(), &[body]));
    let call = Call::post(body).with("x-hub-signature-256", &format!("sha256={mac}"));
    assert_empty(
        &tell(with_token(call.clone(), url).send(&daemon, "fb")),
        200,
    );
    assert_empty(
        &tell(with_token(call.clone(), bad).send(&daemon, "fb")),
        401,
    );
    assert_empty(
        &tell(with_token(call.body(b"{}"), url).send(&daemon, "fb")),
        401,
    );
    let hello = format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token={verify}&token={url}");
    assert_eq!(
        tell(Call::new("GET", &hello).send(&daemon, "fb")).status,
        200
    );
    let hello = hello.replace(verify, bad);
    assert_empty(&tell(Call::new("GET", &hello).send(&daemon, "fb")), 403);
    assert_empty(
        &tell(with_token(signed(file, "1"), url).send(&daemon, "file")),
        200,
    );
    let own = with_token(Call::post(b"{}"), url).with("x-api-key", header);
    assert_empty(&tell(own.clone().send(&daemon, "own")), 200);
    assert_empty(&tell(own.with("x-api-key", bad).send(&daemon, "own")), 401);
    for path in [
        "/v1/sources",
        "/v1/sources/fb",
        "/v1/sources/file",
        "/v1/sources/own",
        "/v1/events",
        "/v1/endpoints",
        "/v1/status",
        "/metrics",
        "/v1/deliveries",
    ] {
        tell(daemon.tcp.get(path));
    }
    for one in events(&daemon) {
        let id = one["id"].as_str().unwrap();
        tell(daemon.tcp.get(&format!("/v1/events/{id}")));
        tell(
            daemon
                .tcp
                .get(&format!("/v1/events/{id}/deliveries/app/explain")),
        );
    }
    tell(daemon.tcp.post_json("/v1/sources/fb/test", "{}"));
    for seen in receiver.wait(3) {
        told.push(format!("{:?} {}", seen.headers, seen.text()));
    }
    let path = home.path("outboxd.toml");
    let config = path.to_str().unwrap();
    for args in [
        &["check", "--config", config][..],
        &["check", "--config", config, "--json"],
        &["sources", "list", "--url", &daemon.url()],
        &["sources", "show", "fb", "--url", &daemon.url()],
        &["sources", "show", "fb", "--json", "--url", &daemon.url()],
    ] {
        let ran = home.run(args);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        told.push(format!("{ran:?}"));
    }
    daemon.terminate();
    daemon.wait_log("stopped");
    told.push(daemon.log_text());
    for text in &told {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in:\n{text}");
        }
    }
}
