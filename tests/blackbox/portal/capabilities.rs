//! What a link lets its holder do: every act with every capability.

use super::{SHORT, failing, guest, guest_with, link_for, make, named, send};
use crate::harness::{Daemon, Home, Receiver, wait_for};
use crate::ui::browser::text_of;
use serde_json::Value;

/// Method, path, form and the capability that it takes; `""` is any link.
type Act = (&'static str, &'static str, &'static str, &'static str);

const ACTS: [Act; 27] = [
    ("GET", "/portal/", "", ""),
    ("GET", "/portal/endpoints", "", ""),
    ("GET", "/portal/endpoints/ENDPOINT", "", ""),
    ("GET", "/portal/events", "", ""),
    ("GET", "/portal/events/EVENT", "", ""),
    ("GET", "/portal/events/EVENT/body", "", ""),
    ("GET", "/portal/events/EVENT/deliveries/ENDPOINT", "", ""),
    ("GET", "/portal/deliveries?status=dead", "", ""),
    ("GET", "/portal/dead", "", ""),
    ("GET", "/portal/tail", "", ""),
    ("GET", "/portal/jobs/job_01M8D6F0SB0000000000000001", "", ""),
    ("GET", "/portal/endpoints/new", "", "manage"),
    (
        "POST",
        "/portal/endpoints",
        "url=http%3A%2F%2Flocalhost%3A9%2F",
        "manage",
    ),
    ("GET", "/portal/endpoints/ENDPOINT/edit", "", "manage"),
    (
        "POST",
        "/portal/endpoints/ENDPOINT/edit",
        "description=x",
        "manage",
    ),
    ("POST", "/portal/endpoints/ENDPOINT/disable", "", "manage"),
    ("POST", "/portal/endpoints/ENDPOINT/enable", "", "manage"),
    ("POST", "/portal/endpoints/ENDPOINT/test", "", "manage"),
    ("POST", "/portal/endpoints/ENDPOINT/secret", "", "secrets"),
    (
        "POST",
        "/portal/endpoints/ENDPOINT/rotate",
        "overlap=1h",
        "secrets",
    ),
    (
        "GET",
        "/portal/endpoints/ENDPOINT/replay?count=1",
        "",
        "replay",
    ),
    (
        "POST",
        "/portal/events/EVENT/deliveries/ENDPOINT/retry",
        "",
        "replay",
    ),
    (
        "POST",
        "/portal/events/EVENT/deliveries/ENDPOINT/cancel",
        "",
        "replay",
    ),
    (
        "POST",
        "/portal/endpoints/ENDPOINT/replay",
        "status=dead",
        "replay",
    ),
    (
        "POST",
        "/portal/jobs/job_01M8D6F0SB0000000000000001/cancel",
        "",
        "replay",
    ),
    ("GET", "/portal/endpoints/ENDPOINT/delete", "", "manage"),
    ("POST", "/portal/endpoints/ENDPOINT/delete", "", "manage"),
];

/// What only the operator has.
const OPERATORS: [(&str, &str); 8] = [
    ("POST", "/portal/endpoints/ENDPOINT/diagnose"),
    ("GET", "/portal/endpoints/ENDPOINT/purge"),
    ("POST", "/portal/endpoints/ENDPOINT/purge"),
    ("POST", "/portal/events/EVENT/erase"),
    ("GET", "/portal/jobs"),
    ("GET", "/portal/status"),
    ("POST", "/portal/send"),
    ("GET", "/portal/sources"),
];

#[test]
fn every_act_takes_its_capability() {
    let receiver = failing();
    let home = Home::new();
    let daemon = home.start(SHORT);
    let sets: [&[&str]; 5] = [
        &["view"],
        &["manage"],
        &["replay"],
        &["secrets"],
        &["view", "manage", "replay", "secrets"],
    ];
    for capabilities in sets {
        let endpoint = make(&daemon, "acme", &named(&receiver, "/hook"));
        let event = send(&daemon, "acme");
        daemon.wait_status(&event, &endpoint, "dead");
        let link = link_for(&daemon, "acme", capabilities);
        let bearer = format!("Bearer {}", link["token"].as_str().unwrap());
        let ask = |method: &str, path: &str, form: &str| {
            let path = path.replace("ENDPOINT", &endpoint).replace("EVENT", &event);
            let headers = [
                ("authorization", bearer.as_str()),
                ("content-type", "application/x-www-form-urlencoded"),
            ];
            daemon.tcp.request(method, &path, &headers, form.as_bytes())
        };
        for (method, path, form, needs) in ACTS {
            let answer = ask(method, path, form);
            let is_let = needs.is_empty() || capabilities.contains(&needs);
            let text = answer.text();
            match is_let {
                true => assert!(
                    matches!(answer.status, 200 | 303 | 409),
                    "{capabilities:?} {method} {path}: {} {text}",
                    answer.status
                ),
                false => {
                    assert_eq!(
                        answer.status, 403,
                        "{capabilities:?} {method} {path}: {text}"
                    );
                    let why = format!("it lacks the capability `{needs}`");
                    assert!(text_of(&text).contains(&why), "{text}");
                }
            }
        }
        for (method, path) in OPERATORS {
            let status = ask(method, path, "").status;
            assert_eq!(status, 404, "{method} {path}");
        }
        let gone = daemon.unix.get(&format!("/v1/endpoints/{endpoint}")).status == 404;
        assert_eq!(gone, capabilities.contains(&"manage"));
    }
}

/// The log has a line about this.
#[track_caller]
fn logged(daemon: &Daemon, action: &str, object: &str) {
    let found = || {
        let lines = daemon.log_text();
        let mut lines = lines.lines();
        lines.any(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["message"] == "changed on a page"
                && line["action"] == action
                && line["object"] == object
                && line["by"] == "portal acme/user-1"
        })
    };
    wait_for(
        || found().then_some(()),
        || format!("no line of {action} {object}: {}", daemon.log_text()),
    );
}

#[test]
fn buttons_are_those_that_work() {
    let receiver = failing();
    let home = Home::new();
    let daemon = home.start(SHORT);
    let endpoint = make(&daemon, "acme", &named(&receiver, "/"));
    let event = send(&daemon, "acme");
    daemon.wait_status(&event, &endpoint, "dead");
    let mut browser = guest_with(&daemon, "acme", &["view"]);
    for path in [
        "/portal/".to_owned(),
        "/portal/endpoints".to_owned(),
        format!("/portal/endpoints/{endpoint}"),
        format!("/portal/events/{event}"),
        format!("/portal/events/{event}/deliveries/{endpoint}"),
        "/portal/dead".to_owned(),
    ] {
        let page = browser.page(&path);
        let forms = crate::ui::browser::forms(&page, &path);
        let actions: Vec<&str> = forms.iter().map(|form| form.action.as_str()).collect();
        assert_eq!(actions, ["/portal/logout"], "{path}");
        for word in ["/new\"", "/replay", "/edit", "/delete", "/purge", "/send"] {
            assert!(!page.contains(word), "{path} has {word}");
        }
    }
}

#[test]
fn a_customer_makes_repairs_and_replays() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/bad" => crate::harness::Answer::status(500),
        _ => crate::harness::Answer::status(200),
    });
    let home = Home::new();
    let daemon = home.start(SHORT);
    let mut browser = guest(&daemon, "acme");
    let form = browser.form("/portal/endpoints/new", "/portal/endpoints");
    for hidden in ["tenant", "max_in_flight", "ordering", "client_key"] {
        assert!(
            !form.fields.iter().any(|(name, _)| name == hidden),
            "{hidden}"
        );
    }
    // What the form does not offer is not read.
    let filled = form
        .with("url", &named(&receiver, "/bad"))
        .with("types", "order.*")
        .with("tenant", "globex")
        .with("max_in_flight", "500");
    let (place, _) = browser.follow(&filled);
    let id = place.strip_prefix("/portal/endpoints/").unwrap();
    let id = id.strip_suffix("?said=created").unwrap().to_owned();
    let made = daemon.endpoint(&id);
    assert_eq!(made["tenant"], "acme");
    assert_eq!(made["max_in_flight"], 16);
    logged(&daemon, "endpoint.create", &id);
    let event = send(&daemon, "acme");
    daemon.wait_status(&event, &id, "dead");
    let page = browser.page(&format!("/portal/events/{event}/deliveries/{id}"));
    let text = text_of(&page);
    assert!(text.contains("was answered with 500"), "{text}");
    let edit = format!("/portal/endpoints/{id}/edit");
    let form = browser.form(&edit, "/edit");
    browser.follow(&form.with("url", &named(&receiver, "/good")));
    logged(&daemon, "endpoint.change", &id);
    // First it is counted, then done.
    let replay = format!("/portal/endpoints/{id}/replay");
    let counted = format!("{replay}?status=dead&count=1");
    let form = browser.form(&counted, "/replay");
    assert!(form.text.contains("Replay 1 deliveries"), "{}", form.text);
    let (place, _) = browser.follow(&form);
    assert!(place.starts_with("/portal/jobs/"), "{place}");
    daemon.wait_status(&event, &id, "delivered");
    logged(&daemon, "endpoint.replay", &id);
    let form = browser.form(&format!("/portal/endpoints/{id}"), "/secret");
    let shown = browser.submit(&form).text();
    let secret = daemon.tcp.get(&format!("/v1/endpoints/{id}/secret")).json()["secret"].clone();
    assert!(shown.contains(secret.as_str().unwrap()));
    logged(&daemon, "endpoint.secret", &id);
    for (action, end) in [
        ("endpoint.disable", "/disable"),
        ("endpoint.enable", "/enable"),
    ] {
        let form = browser.form(&format!("/portal/endpoints/{id}"), end);
        browser.follow(&form);
        logged(&daemon, action, &id);
    }
    let form = browser.form(&format!("/portal/events/{event}"), "/retry");
    browser.follow(&form);
    logged(&daemon, "delivery.retry", &format!("{event}/{id}"));
}

#[test]
fn a_customer_makes_no_endpoints_without_end() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = guest(&daemon, "acme");
    for _ in 0..100 {
        make(&daemon, "acme", "http://localhost:9/");
    }
    let form = browser.form("/portal/endpoints/new", "/portal/endpoints");
    let form = form.with("url", "http://localhost:9/");
    let refused = browser.submit(&form);
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("there are 100 endpoints already"));
    let mut other = guest(&daemon, "globex");
    let blank = other.form("/portal/endpoints/new", "/portal/endpoints");
    other.follow(&blank.with("url", "http://localhost:9/"));
}

#[test]
fn an_endpoint_of_the_operator_keeps_its_secret() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let more = "tenant = \"acme\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"";
    let file = crate::harness::endpoint("house", &named(&receiver, "/operators-path"), more);
    let daemon = home.start(&file);
    let mut browser = guest(&daemon, "acme");
    let page = browser.page("/portal/endpoints/house");
    assert!(page.contains("set up by the operator"), "{page}");
    assert!(
        !page.contains("operators-path") && !page.contains("/secret"),
        "{page}"
    );
    let mut form = browser.form("/portal/endpoints/house", "/disable");
    for end in ["secret", "rotate"] {
        form.action = format!("/portal/endpoints/house/{end}");
        assert_eq!(browser.submit(&form).status, 403, "{end}");
    }
    form.action = "/portal/endpoints/house/delete".to_owned();
    assert_eq!(browser.submit(&form).status, 409);
    assert_eq!(browser.get("/portal/endpoints/house/edit").status, 409);
}
