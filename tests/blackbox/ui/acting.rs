//! Pages that act: each act is what the API does, and is logged with who did it.

use serde_json::{Value, json};

use super::browser::{Browser, forms, links, text_of};
use crate::harness::{Daemon, Home, Receiver, endpoint, wait_for};

fn make(daemon: &Daemon, body: &Value) -> String {
    let made = daemon.unix.post_json("/v1/endpoints", body.to_string());
    made.expect(201)["id"].as_str().unwrap().to_owned()
}

/// The log has a line about this.
#[track_caller]
fn logged(daemon: &Daemon, action: &str, object: &str) {
    let is_it = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["message"] == "changed on a page"
            && line["action"] == action
            && line["object"] == object
            && line["by"] == "open"
    };
    wait_for(
        || daemon.log_text().lines().any(is_it).then_some(()),
        || format!("no line of {action} {object}: {}", daemon.log_text()),
    );
}

#[test]
fn an_endpoint_is_made_changed_and_deleted() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    let blank = browser.form("/ui/endpoints/new", "/ui/endpoints");
    let filled = blank
        .with("url", "http://127.0.0.1:9/hook")
        .with("types", "order.*\r\nuser.created")
        .with("description", "the <shop>")
        .with("rate_limit", "50/s")
        .with("retry", r#"{"max": "1h"}"#)
        .with("filter", r#"{"data": {"amount": {"$gte": 100}}}"#)
        .with("headers", r#"{"x-team": "orders"}"#)
        .with("tenant", "acme");
    let (place, page) = browser.follow(&filled);
    let id = place
        .strip_prefix("/ui/endpoints/")
        .unwrap()
        .strip_suffix("?said=created")
        .unwrap();
    assert!(
        text_of(&page).contains("The endpoint is made") && page.contains("the &#60;shop&#62;"),
        "{page}"
    );
    let made = daemon.endpoint(id);
    assert_eq!(made["types"], json!(["order.*", "user.created"]));
    assert_eq!(
        (made["tenant"].as_str(), made["rate_limit"].as_str()),
        (Some("acme"), Some("50/s"))
    );
    assert_eq!(
        (&made["retry"]["max"], &made["headers"]),
        (&json!("1h"), &json!({"x-team": "…"}))
    );
    assert_eq!(made["filter"], json!({"data": {"amount": {"$gte": 100}}}));
    logged(&daemon, "endpoint.create", id);
    // Saved as it is, nothing changes, not even what is not shown.
    let edit = format!("/ui/endpoints/{id}/edit");
    let form = browser.form(&edit, "/edit");
    assert_eq!(form.value("types"), "order.*\r\nuser.created");
    browser.follow(&form);
    assert_eq!(daemon.endpoint(id), made);
    let form = form
        .with("types", "")
        .with("filter", "")
        .with("rate_limit", "1/s")
        .with("max_in_flight", "3");
    browser.follow(&form);
    let changed = daemon.endpoint(id);
    assert_eq!(
        (&changed["types"], &changed["filter"]),
        (&json!(["*"]), &Value::Null)
    );
    assert_eq!(
        (&changed["rate_limit"], &changed["max_in_flight"]),
        (&json!("1/s"), &json!(3))
    );
    assert_eq!(changed["headers"], json!({"x-team": "…"}));
    logged(&daemon, "endpoint.change", id);
    let form = browser.form(&format!("/ui/endpoints/{id}/delete"), "/delete");
    let (place, _) = browser.follow(&form);
    assert_eq!(place, "/ui/endpoints?said=deleted");
    daemon.unix.get(&format!("/v1/endpoints/{id}")).problem(404);
    logged(&daemon, "endpoint.delete", id);
}

#[test]
fn faults_stand_at_their_fields_and_what_was_typed_stays() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    let blank = browser
        .form("/ui/endpoints/new", "/ui/endpoints")
        .with("description", "kept & typed");
    for (field, value) in [
        ("url", "ftp://example.invalid"),
        ("url", ""),
        ("types", "*.a"),
        ("rate_limit", "fast"),
        ("max_in_flight", "many"),
        ("filter", "{"),
        ("filter", r#"{"data": {"$no": 1}}"#),
        ("template", "{{ 1 +"),
        ("headers", r#"{"webhook-id": "x"}"#),
        ("retry", r#"{"first": "soon"}"#),
        ("tenant", "a.b"),
        ("secret", "hunter2"),
    ] {
        let form = blank
            .clone()
            .with("url", "https://example.invalid/")
            .with(field, value);
        let form = if field == "template" {
            form.with("format", "template")
        } else {
            form
        };
        let answer = browser.submit(&form);
        assert_eq!(answer.status, 400, "{field} {value}");
        let page = answer.text();
        let wrong = page.split("class=\"field wrong\"").nth(1);
        let wrong = wrong.unwrap_or_else(|| panic!("{field} {value}: {}", text_of(&page)));
        assert!(
            wrong.contains(&format!("name=\"{field}\"")),
            "{field} {value}: {}",
            text_of(wrong)
        );
        assert!(page.contains("kept &#38; typed"), "{field}");
        assert!(!page.contains("hunter2"));
    }
    assert_eq!(
        daemon.unix.get("/v1/endpoints").expect(200)["data"],
        json!([])
    );
    // Trying saves nothing.
    let form = blank
        .with("try", "1")
        .with("types", "order.*")
        .with("filter", r#"{"data": {"a": 1}}"#);
    let form = form
        .with("sample_type", "order.created")
        .with("sample_data", "{\"a\": 2}");
    let page = text_of(&browser.submit(&form).text());
    assert!(page.contains("order.* matches order.created"), "{page}");
    assert!(page.contains("keeps the sample out at data.a"), "{page}");
    assert_eq!(
        daemon.unix.get("/v1/endpoints").expect(200)["data"],
        json!([])
    );
}

#[test]
fn an_endpoint_is_paused_enabled_tested_and_diagnosed() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let mut browser = Browser::new(&daemon);
    let form = browser.form("/ui/endpoints/one", "/disable");
    browser.follow(&form);
    let event = daemon.send("a.b", "1");
    daemon.wait_status(&event, "one", "held");
    let page = text_of(&browser.page("/ui/endpoints/one"));
    assert!(
        page.contains("paused by hand") && page.contains("Repair the receiver"),
        "{page}"
    );
    let form = browser.form("/ui/endpoints/one", "/enable");
    browser.follow(&form);
    daemon.wait_status(&event, "one", "delivered");
    logged(&daemon, "endpoint.disable", "one");
    logged(&daemon, "endpoint.enable", "one");
    let form = browser.form("/ui/endpoints/one", "/test");
    let (place, page) = browser.follow(&form);
    assert!(
        place.ends_with("/deliveries/one?said=tested") && page.contains("outboxd.test"),
        "{place}"
    );
    receiver.wait_until("the test event", |seen| {
        seen.iter().any(|one| one.text().contains("outboxd.test"))
    });
    logged(&daemon, "endpoint.test", "one");
    let form = browser.form("/ui/endpoints/one", "/diagnose");
    let found = text_of(&browser.submit(&form).text());
    assert!(found.contains("a request would get there"), "{found}");
    // One of the file is not changed here.
    assert_eq!(browser.get("/ui/endpoints/one/edit").status, 409);
    let page = browser.page("/ui/endpoints/one/delete");
    let form = forms(&page, "/ui/endpoints/one/delete")
        .into_iter()
        .find(|form| form.action.ends_with("/delete"));
    assert_eq!(browser.submit(&form.unwrap()).status, 409);
}

#[test]
fn a_secret_is_rotated_with_an_overlap() {
    let home = Home::new();
    let daemon = home.start("");
    let id = make(&daemon, &json!({"url": "http://127.0.0.1:9/"}));
    let secret = || {
        daemon
            .unix
            .get(&format!("/v1/endpoints/{id}/secret"))
            .expect(200)["secret"]
            .clone()
    };
    let before = secret();
    let mut browser = Browser::new(&daemon);
    let form = browser.form(&format!("/ui/endpoints/{id}"), "/rotate");
    assert_eq!(
        browser.submit(&form.clone().with("overlap", "soon")).status,
        400
    );
    assert_eq!(secret(), before);
    browser.follow(&form.with("overlap", "1h"));
    assert_ne!(secret(), before);
    let form = browser.form(&format!("/ui/endpoints/{id}"), "/secret");
    assert!(
        browser
            .submit(&form)
            .text()
            .contains(secret().as_str().unwrap())
    );
    logged(&daemon, "endpoint.rotate", &id);
}

#[test]
fn dead_letters_are_counted_and_then_replayed() {
    let home = Home::new();
    let receiver = Receiver::statuses(&[500, 500, 500, 200]);
    let config = "[retry]\nschedule = [\"10ms\", \"10ms\"]\n".to_owned()
        + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a.b", "1");
    daemon.wait_status(&event, "one", "dead");
    let mut browser = Browser::new(&daemon);
    let page = browser.page("/ui/dead");
    let text = text_of(&page);
    assert!(
        text.contains("1 dead") && text.contains("answered 500 1"),
        "{text}"
    );
    let replay = links(&page)
        .into_iter()
        .find(|link| link.contains("/replay?"))
        .unwrap();
    let counted = browser.page(&replay);
    assert!(
        text_of(&counted).contains("1 deliveries match"),
        "{}",
        text_of(&counted)
    );
    assert_eq!(
        daemon.delivery(&event, "one")["status"],
        "dead",
        "counting changes nothing"
    );
    let faulty = browser.get("/ui/endpoints/one/replay?count=1&since=tomorrow");
    assert_eq!(faulty.status, 400);
    let none = text_of(&browser.page("/ui/endpoints/one/replay?count=1&types=other"));
    assert!(
        none.contains("0 deliveries match") && none.contains("Nothing would be done"),
        "{none}"
    );
    let form = forms(&counted, &replay)
        .into_iter()
        .find(|form| form.text.contains("Replay 1"));
    let answer = browser.submit(&form.unwrap());
    let place = answer.header("location").unwrap().to_owned();
    assert!(
        place.starts_with("/ui/jobs/") && place.ends_with("?said=replaying"),
        "{place}"
    );
    assert!(text_of(&browser.page(&place)).contains("The replay has begun"));
    daemon.wait_status(&event, "one", "delivered");
    logged(&daemon, "endpoint.replay", "one");
}

#[test]
fn a_job_is_cancelled_and_a_purge_ends_deliveries() {
    let home = Home::new();
    let daemon = home.start(&endpoint("one", "http://127.0.0.1:9/", "enabled = true"));
    daemon.unix.post("/v1/endpoints/one/disable");
    for _ in 0..20 {
        daemon.send("a.b", "1");
    }
    let mut browser = Browser::new(&daemon);
    let path = "/ui/endpoints/one/purge?count=1";
    let page = browser.page(path);
    let form = forms(&page, path)
        .into_iter()
        .find(|form| form.text.contains("Purge 20"));
    let answer = browser.submit(&form.unwrap_or_else(|| panic!("{}", text_of(&page))));
    assert_eq!(answer.status, 303);
    wait_for(
        || (daemon.endpoint("one")["backlog"]["dead"] == 20).then_some(()),
        || format!("{}", daemon.endpoint("one")),
    );
    logged(&daemon, "endpoint.purge", "one");
    // A slow replay can be cancelled.
    let path = "/ui/endpoints/one/replay?count=1&rate=1/m";
    let page = browser.page(path);
    let form = forms(&page, path)
        .into_iter()
        .find(|form| form.text.contains("Replay 20"));
    let answer = browser.submit(&form.unwrap());
    let job = answer
        .header("location")
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    assert!(browser.page("/ui/jobs").contains(&job));
    let form = browser.form(&job, "/cancel");
    let (place, _) = browser.follow(&form);
    assert_eq!(place, "/ui/jobs?said=job-cancelled");
    assert_eq!(daemon.unix.get("/v1/jobs").expect(200)["data"], json!([]));
    logged(&daemon, "job.cancel", job.rsplit('/').next().unwrap());
    assert!(text_of(&browser.page(&job)).contains("The job has ended"));
}

#[test]
fn a_delivery_is_cancelled_retried_and_an_event_erased() {
    let home = Home::new();
    let receiver = Receiver::statuses(&[500, 200]);
    let config = "[retry]\nfirst = \"1h\"\n".to_owned() + &endpoint("one", &receiver.url("/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a.b", "{\"name\": \"Ada\"}");
    receiver.wait(1);
    daemon.wait_delivery(&event, "one", "an attempt", |one| one["attempt_count"] == 1);
    let mut browser = Browser::new(&daemon);
    let page = format!("/ui/events/{event}/deliveries/one");
    let form = browser.form(&page, "/cancel");
    let (_, shown) = browser.follow(&form);
    assert!(text_of(&shown).contains("cancelled"), "{shown}");
    assert_eq!(daemon.delivery(&event, "one")["reason"], "cancelled");
    assert_eq!(browser.submit(&form).status, 409, "it is dead already");
    let form = browser.form(&page, "/retry");
    browser.follow(&form);
    daemon.wait_status(&event, "one", "delivered");
    logged(&daemon, "delivery.cancel", &format!("{event}/one"));
    logged(&daemon, "delivery.retry", &format!("{event}/one"));
    let form = browser.form(&format!("/ui/events/{event}/erase"), "/erase");
    let (place, _) = browser.follow(&form);
    assert_eq!(place, "/ui/events?said=erased");
    for path in [
        format!("/ui/events/{event}"),
        format!("/ui/events/{event}/body"),
    ] {
        let answer = browser.get(&path);
        assert_eq!(answer.status, 410, "{path}");
        assert!(!answer.text().contains("Ada"));
    }
    logged(&daemon, "event.erase", &event);
}

#[test]
fn an_event_is_sent_by_hand() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), "format = \"bare\""));
    let mut browser = Browser::new(&daemon);
    let blank = browser.form("/ui/send", "/ui/send");
    for (field, value) in [
        ("type", "a..b"),
        ("type", "outboxd.x"),
        ("data", "{"),
        ("data", ""),
        ("deliver_at", "soon"),
        ("headers", "[]"),
        ("tenant", "a.b"),
    ] {
        let form = blank
            .clone()
            .with("type", "a.b")
            .with("data", "1")
            .with(field, value);
        let answer = browser.submit(&form);
        assert_eq!(answer.status, 400, "{field} {value}");
        let page = answer.text();
        let wrong = page.split("class=\"field wrong\"").nth(1);
        let wrong = wrong.unwrap_or_else(|| panic!("{field} {value}: {}", text_of(&page)));
        assert!(
            wrong.contains(&format!("name=\"{field}\"")),
            "{field} {value}: {}",
            text_of(wrong)
        );
    }
    let form = blank
        .clone()
        .with("type", "order.created")
        .with("data", "{\"id\" : 12345678901234567890, \"amount\":1.50}")
        .with("idempotency_key", "k1")
        .with("headers", "{\"x-region\": \"eu\"}");
    let (place, page) = browser.follow(&form);
    assert!(
        place.ends_with("?said=sent") && page.contains("12345678901234567890"),
        "{place}"
    );
    let seen = receiver.wait(1).remove(0);
    assert_eq!(
        seen.text(),
        "{\"id\" : 12345678901234567890, \"amount\":1.50}"
    );
    assert_eq!(seen.header("x-region"), "eu");
    let (again, _) = browser.follow(&form);
    assert_eq!(again, place.replace("said=sent", "said=duplicate"));
    assert_eq!(browser.submit(&form.with("data", "2")).status, 422);
    let form = blank
        .with("type", "note")
        .with("data", "plain <text>")
        .with("content_type", "text/plain");
    browser.follow(&form);
    let seen = receiver.wait(2).remove(1);
    assert_eq!(
        (seen.text().as_str(), seen.header("content-type")),
        ("plain <text>", "text/plain")
    );
}

#[test]
fn a_source_is_made_tested_rotated_and_removed() {
    let home = Home::new();
    let listen = "[listen]\nhttp = \"127.0.0.1:0\"\nunix = \"\"\ninbound = \"127.0.0.1:0\"\n";
    let daemon = home.start(listen);
    let mut browser = Browser::new(&daemon);
    let blank = browser.form("/ui/sources/new", "/ui/sources");
    let answer = browser.submit(&blank.clone().with("id", "gh").with("preset", "nobody"));
    assert_eq!(answer.status, 400);
    let page = answer.text();
    let wrong = page.split("class=\"field wrong\"").nth(1).unwrap();
    assert!(wrong.contains("name=\"preset\""), "{}", text_of(wrong));
    let form = blank
        .with("id", "gh")
        .with("preset", "github")
        .with("secrets", "[\"sesame\"]");
    let (place, page) = browser.follow(&form);
    assert_eq!(place, "/ui/sources/gh?said=source-created");
    assert!(
        page.contains("/in/gh") && !page.contains("sesame"),
        "{page}"
    );
    let form = browser.form("/ui/sources/gh", "/test");
    let page = text_of(&browser.submit(&form).text());
    assert!(page.contains("would be answered 2"), "{page}");
    let form = browser
        .form("/ui/sources/gh/edit", "/edit")
        .with("description", "of the shop");
    browser.follow(&form);
    let shown = daemon.tcp.get("/v1/sources/gh").expect(200);
    assert_eq!(shown["description"], "of the shop");
    let form = browser.form("/ui/sources/gh", "/test");
    assert!(
        text_of(&browser.submit(&form).text()).contains("would be answered 2"),
        "the secret is kept"
    );
    let form = browser
        .form("/ui/sources/gh", "/rotate")
        .with("secret", "open-sesame");
    let rotated = browser.submit(&form);
    assert!(matches!(rotated.status, 200 | 303), "{}", rotated.text());
    let form = browser.form("/ui/sources/gh/delete", "/delete");
    browser.follow(&form);
    daemon.tcp.get("/v1/sources/gh").problem(404);
    for action in ["create", "test", "change", "rotate", "delete"] {
        logged(&daemon, &format!("source.{action}"), "gh");
    }
}
