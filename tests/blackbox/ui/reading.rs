//! Pages that are read: what they show, that all their links lead somewhere, and that what others
//! wrote stays text.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use super::browser::{Browser, links, text_of};
use crate::harness::http::head;
use crate::harness::{Daemon, Home, Receiver, endpoint};

const MARKUP: &str = "<script>alert('x')</script>\"><img src=x onerror=y>";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A page without markup of others in it.
#[track_caller]
fn is_clean(path: &str, page: &str) {
    for mark in ["<script>", "<img", "onerror=y>", "alert('x')"] {
        assert!(!page.contains(mark), "{path} holds {mark}: {page}");
    }
}

/// Makes an endpoint through the API, and gives its id.
fn make(daemon: &Daemon, body: &serde_json::Value) -> String {
    let made = daemon.unix.post_json("/v1/endpoints", body.to_string());
    made.expect(201)["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_empty_daemon_says_what_to_do_next() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    for (path, next) in [
        ("/ui/", "/ui/endpoints/new"),
        ("/ui/endpoints", "/ui/endpoints/new"),
        ("/ui/events", "/ui/send"),
        ("/ui/deliveries", "/ui/send"),
        ("/ui/sources", "/ui/sources/new"),
        ("/ui/jobs", "/ui/dead"),
    ] {
        let page = browser.page(path);
        let main = page.split("<main").nth(1).unwrap();
        let empty = main.split("class=\"empty\"").nth(1);
        let empty = empty.unwrap_or_else(|| panic!("{path}: {main}"));
        assert!(
            empty.contains(&format!("href=\"{next}\"")),
            "{path}: {empty}"
        );
    }
    assert!(text_of(&browser.page("/ui/dead")).contains("There is none"));
}

/// Before the breaker opens, nothing else says that no attempt delivers.
#[test]
fn the_overview_does_not_call_failing_deliveries_well() {
    let good = "every accepted event is being delivered";
    let receiver = Receiver::ok();
    let home = Home::new();
    let dead = endpoint("dead", "http://127.0.0.1:9/", "types = [\"dead.*\"]");
    let ok = endpoint("ok", &receiver.url("/"), "types = [\"ok.*\"]");
    let slow = "[retry]\nfirst = \"1h\"\n";
    let daemon = home.start(&format!("{slow}{dead}{ok}"));
    let mut browser = Browser::new(&daemon);
    assert!(text_of(&browser.page("/ui/")).contains(good));
    let event = daemon.send("dead.letter", "1");
    daemon.wait_delivery(&event, "dead", "attempted", |shown| {
        shown["attempt_count"] == 1
    });
    let page = text_of(&browser.page("/ui/"));
    assert!(
        page.contains("no attempt of the last 5 minutes delivered"),
        "{page}"
    );
    assert!(!page.contains(good), "{page}");
    let event = daemon.send("ok.event", "1");
    daemon.wait_status(&event, "ok", "delivered");
    let page = text_of(&browser.page("/ui/"));
    assert!(
        page.contains("attempts that failed in the last 5 minutes: 1"),
        "{page}"
    );
}

#[test]
fn what_is_not_there_is_404() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    let event = "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for path in [
        "/ui/nope".to_owned(),
        "/ui/endpoints/nope".to_owned(),
        "/ui/endpoints/nope/edit".to_owned(),
        "/ui/endpoints/nope/replay".to_owned(),
        "/ui/endpoints/a.b".to_owned(),
        "/ui/events/nope".to_owned(),
        format!("/ui/events/{event}"),
        format!("/ui/events/{event}/body"),
        format!("/ui/events/{event}/erase"),
        format!("/ui/events/{event}/deliveries/nope"),
        "/ui/sources/nope".to_owned(),
        "/ui/jobs/nope".to_owned(),
        "/ui/assets/nope.css".to_owned(),
    ] {
        let answer = browser.get(&path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("<h1>Not found</h1>"), "{path}");
    }
    assert_eq!(browser.ask("DELETE", "/ui/events", &[], "").status, 403);
    assert_eq!(browser.get("/ui/logout").status, 405);
    let faulty = browser.get("/ui/events?type=*.a&since=soon");
    assert_eq!(faulty.status, 400);
    let text = text_of(&faulty.text());
    assert!(
        text.contains("type: ") && text.contains("since: "),
        "{text}"
    );
}

#[test]
fn what_others_wrote_stays_text() {
    let home = Home::new();
    let receiver = Receiver::answering(|_| crate::harness::Answer::reply(500, &[], MARKUP));
    let daemon = home.start("[retry]\nschedule = [\"10ms\"]\n");
    let id = make(
        &daemon,
        &serde_json::json!({"url": receiver.url("/?<b>"), "description": MARKUP}),
    );
    let event = serde_json::json!({"type": "a.b", "data": MARKUP, "key": MARKUP,
        "headers": {"x-mark": MARKUP}, "idempotency_key": MARKUP});
    let sent = daemon
        .unix
        .post_json("/v1/events", event.to_string())
        .expect(202);
    let event = sent["id"].as_str().unwrap();
    daemon.wait_status(event, &id, "dead");
    let opaque = [("content-type", "text/html")];
    let opaque = daemon
        .unix
        .request("POST", "/v1/events/page", &opaque, MARKUP.as_bytes());
    let opaque = opaque.expect(202)["id"].as_str().unwrap().to_owned();
    let mut browser = Browser::new(&daemon);
    for path in [
        "/ui/".to_owned(),
        "/ui/endpoints".to_owned(),
        format!("/ui/endpoints/{id}"),
        format!("/ui/endpoints/{id}/edit"),
        "/ui/events".to_owned(),
        "/ui/deliveries".to_owned(),
        "/ui/dead".to_owned(),
        format!("/ui/events/{event}"),
        format!("/ui/events/{event}?body=raw"),
        format!("/ui/events/{event}?body=hex"),
        format!("/ui/events/{event}/deliveries/{id}"),
        format!("/ui/events/{opaque}?body=raw"),
    ] {
        is_clean(&path, &browser.page(&path));
    }
    let shown = browser.page(&format!("/ui/events/{opaque}?body=raw"));
    assert!(text_of(&shown).contains("onerror=y"), "{shown}");
    // Of addresses and forms too.
    for path in [
        "/ui/events",
        "/ui/deliveries",
        "/ui/endpoints",
        "/ui/tail",
        "/ui/send",
        "/ui/try",
    ] {
        let mark: String = url::form_urlencoded::byte_serialize(MARKUP.as_bytes()).collect();
        let path = format!(
            "{path}?type={mark}&tenant={mark}&data={mark}&filter={mark}&endpoint={mark}&said={mark}"
        );
        is_clean(&path, &browser.get(&path).text());
    }
    let body = browser.get(&format!("/ui/events/{opaque}/body"));
    assert_eq!(
        body.header("content-type"),
        Some("application/octet-stream")
    );
    assert!(
        body.header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
    assert_eq!(body.body, MARKUP.as_bytes());
}

#[test]
fn secrets_are_on_no_page_but_their_own() {
    let home = Home::new();
    let config = "[[source]]\nid = \"gh\"\npreset = \"github\"\nsecrets = [\"sesame-of-github\"]\n"
        .to_owned()
        + &endpoint(
            "one",
            "http://127.0.0.1:9/hook",
            &format!("secret = \"{SECRET}\"\nheaders = {{ authorization = \"Bearer hunter2\" }}"),
        );
    let daemon = home.start(&config);
    let slack = make(
        &daemon,
        &serde_json::json!({"url": "http://127.0.0.1:9/services/T0-hidden", "preset": "slack",
            "text": "hello", "auth": {"type": "bearer", "token": "hunter3"}}),
    );
    let event = daemon.send("a.b", "1");
    let mut browser = Browser::new(&daemon);
    let (all, _) = crawl(&mut browser);
    let extra = [
        format!("/ui/endpoints/{slack}/edit"),
        format!("/ui/events/{event}/deliveries/{slack}"),
    ];
    for path in all.iter().chain(&extra) {
        let page = browser.get(path).text();
        for secret in [
            &SECRET[6..],
            "hunter2",
            "hunter3",
            "T0-hidden",
            "sesame-of-github",
        ] {
            assert!(!page.contains(secret), "{path} shows {secret}");
        }
    }
    let form = browser.form("/ui/endpoints/one", "/secret");
    let shown = browser.submit(&form);
    assert!(shown.text().contains(SECRET) && shown.header("cache-control") == Some("no-store"));
    let form = browser.form(&format!("/ui/endpoints/{slack}/preview"), "/preview");
    let preview = browser.submit(&form.with("sample_type", "a.b")).text();
    assert!(
        preview.contains("hello") || preview.contains("POST"),
        "{preview}"
    );
    for secret in ["T0-hidden", "hunter3"] {
        assert!(!preview.contains(secret), "{preview}");
    }
}

/// All addresses that pages link to, and the largest page.
fn crawl(browser: &mut Browser) -> (BTreeSet<String>, (usize, String)) {
    let mut known = BTreeSet::from(["/ui/".to_owned()]);
    let mut next: Vec<String> = known.iter().cloned().collect();
    let mut largest = (0, String::new());
    while let Some(path) = next.pop() {
        let answer = browser.get(&path);
        let is_way = answer.status == 303;
        assert!(
            answer.status == 200 || is_way,
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
        if !answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"))
        {
            continue;
        }
        if answer.body.len() > largest.0 {
            largest = (answer.body.len(), path.clone());
        }
        for link in links(&answer.text()) {
            let link = match link.strip_prefix('?') {
                Some(query) => format!("{}?{query}", path.split('?').next().unwrap()),
                None => link,
            };
            let link = link.split('#').next().unwrap().to_owned();
            if link.is_empty() {
                continue;
            }
            assert!(
                link.starts_with('/') && !link.starts_with("//"),
                "{path} leads to {link}"
            );
            if known.insert(link.clone()) {
                next.push(link);
            }
        }
    }
    (known, largest)
}

#[test]
fn every_link_of_every_page_answers() {
    let home = Home::new();
    let good = Receiver::ok();
    let bad = Receiver::statuses(&[500]);
    let config = "[retry]\nschedule = [\"10ms\"]\n[[source]]\nid = \"gh\"\npreset = \"github\"\nsecrets = [\"sesame\"]\n".to_owned()
        + &endpoint("good", &good.url("/"), "")
        + &endpoint("bad", &bad.url("/"), "");
    let daemon = home.start(&config);
    let own = make(
        &daemon,
        &serde_json::json!({"url": good.url("/own"), "tenant": "acme"}),
    );
    let mut events = Vec::new();
    for n in 0..60 {
        events.push(daemon.send("order.created", &n.to_string()));
    }
    for event in &events {
        daemon.wait_status(event, "good", "delivered");
    }
    let mut browser = Browser::new(&daemon);
    let (known, largest) = crawl(&mut browser);
    for part in [
        "/ui/dead",
        "cursor=",
        "/deliveries/bad",
        "/ui/sources/gh",
        "/replay?status=dead",
        &own,
        "body=hex",
        "/erase",
    ] {
        assert!(
            known.iter().any(|path| path.contains(part)),
            "nothing leads to {part}"
        );
    }
    // The budget of a page is 60 KB, compressed; the largest one here.
    let page = browser.get(&largest.1).body;
    assert!(
        page.len() < 120_000,
        "{} has {} bytes",
        largest.1,
        page.len()
    );
    if let Some(packed) = gzip(&page) {
        assert!(packed < 60_000, "{}: {packed}", largest.1);
    }
}

/// How large it is in gzip, where there is one.
fn gzip(bytes: &[u8]) -> Option<usize> {
    let mut child = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = child.stdin.take()?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let packed = child.wait_with_output().ok()?.stdout;
    writer.join().ok()?.ok()?;
    Some(packed.len())
}

#[test]
fn a_delivery_says_why_in_words() {
    let home = Home::new();
    let receiver = Receiver::statuses(&[503]);
    let config = "[retry]\nfirst = \"1h\"\n".to_owned()
        + &endpoint("one", &receiver.url("/"), "types = [\"order.*\"]")
        + &endpoint("other", &receiver.url("/"), "types = [\"user.*\"]");
    let daemon = home.start(&config);
    let event = daemon.send("order.created", "{\"id\": 7}");
    receiver.wait(1);
    daemon.wait_delivery(&event, "one", "an attempt", |one| one["attempt_count"] == 1);
    let mut browser = Browser::new(&daemon);
    let page = text_of(&browser.page(&format!("/ui/events/{event}/deliveries/one")));
    for part in [
        "waiting",
        "Attempt 1",
        "503",
        "Next attempt",
        "connect",
        "after acceptance",
    ] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    let led = browser.get(&format!("/ui/events/{event}/why?endpoint=other"));
    let place = led.header("location").unwrap().to_owned();
    let page = text_of(&browser.page(&place));
    assert!(
        page.contains("not subscribed") && page.contains("the endpoint wants user.*"),
        "{page}"
    );
    // The API's answer is the page's.
    let explained = daemon
        .unix
        .get(&format!("/v1/events/{event}/deliveries/other/explain"))
        .expect(200);
    assert!(
        page.contains(explained["detail"].as_str().unwrap()),
        "{page}"
    );
}

#[test]
fn lists_are_filtered_by_their_address() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let order = daemon.send_with("order.created", "1", r#""key": "k1""#);
    let user = daemon.send("user.created", "2");
    daemon.wait_status(&order, "one", "delivered");
    daemon.wait_status(&user, "one", "delivered");
    let mut browser = Browser::new(&daemon);
    for (query, has_order, has_user) in [
        ("", true, true),
        ("type=order.*", true, false),
        ("key=k1", true, false),
        ("since=1h", true, true),
        ("until=1h", false, false),
        ("tenant=other", false, false),
    ] {
        let page = browser.page(&format!("/ui/events?{query}"));
        let main = page.split("<main").nth(1).unwrap();
        assert_eq!(
            (main.contains(&order), main.contains(&user)),
            (has_order, has_user),
            "{query}"
        );
    }
    let page = browser.page("/ui/deliveries?status=delivered&endpoint=one&type=user.*");
    assert!(page.contains(&user) && !page.contains(&order));
    assert!(!browser.page("/ui/deliveries?status=dead").contains(&user));
    let led = browser.get(&format!("/ui/events?id={order}"));
    assert_eq!(
        led.header("location"),
        Some(format!("/ui/events/{order}").as_str())
    );
}

#[test]
fn the_tail_follows_what_happens() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let mut browser = Browser::new(&daemon);
    let page = browser.page("/ui/tail?type=order.*");
    assert!(
        page.contains("data-stream=\"/ui/tail/stream?type=order.*\""),
        "{page}"
    );
    let mut stream = daemon.tcp.connect().unwrap();
    let host = browser.host.clone();
    let request = head(
        "GET",
        "/ui/tail/stream?type=order.*",
        &[("host", &host)],
        None,
    );
    stream.send(&request).unwrap();
    let began = stream.until(": tail").unwrap();
    assert!(began.contains("content-type: text/event-stream"), "{began}");
    assert!(began.contains("content-security-policy"), "{began}");
    daemon.send("user.created", "1");
    let order = daemon.send("order.created", "1");
    let heard = stream.until("event: attempt").unwrap();
    assert!(
        heard.contains(&order) && !heard.contains("user.created"),
        "{heard}"
    );
}

#[test]
fn the_configuration_is_shown_as_check_shows_it() {
    let home = Home::new();
    let daemon = home.start(&endpoint(
        "one",
        "http://127.0.0.1:9/",
        &format!("secret = \"{SECRET}\""),
    ));
    let mut browser = Browser::new(&daemon);
    let shown = text_of(&browser.page("/ui/status"));
    let config = home.path("outboxd.toml");
    let checked = home.run(&["check", "--config", config.to_str().unwrap()]);
    let checked = checked
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let endpoint = &checked[checked.find("[[endpoint]]").unwrap()..];
    let endpoint = endpoint.split("[endpoint.retry]").next().unwrap();
    assert!(shown.contains(endpoint.trim()), "{shown}\n{endpoint}");
    home.write_config(&endpoint_two());
    daemon.reload();
    assert!(text_of(&browser.page("/ui/status")).contains("id = \"two\""));
}

fn endpoint_two() -> String {
    endpoint("two", "http://127.0.0.1:9/", "")
}
