//! What may be done from where: origins, the form's token, and the headers of every response.

use super::browser::{Browser, Form, forms, links};
use crate::harness::{Home, Receiver, endpoint};

#[test]
fn forms_are_taken_from_their_own_pages_only() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let mut browser = Browser::new(&daemon);
    let form = browser.form("/ui/endpoints/one", "/disable");
    let own = browser.origin();
    let is_enabled = || daemon.endpoint("one")["enabled"] == true;
    let port: u16 = own.rsplit(':').next().unwrap().parse().unwrap();
    let other_port = format!("http://127.0.0.1:{}", port.wrapping_add(1).max(1));
    let (by_name, secure) = (
        own.replace("127.0.0.1", "localhost"),
        own.replace("http:", "https:"),
    );
    for origin in [
        None,
        Some("null"),
        Some(""),
        Some("http://evil.example"),
        Some(other_port.as_str()),
        Some(&by_name),
        Some(&secure),
    ] {
        let answer = browser.submit_from(&form, origin);
        assert_eq!(answer.status, 403, "{origin:?}");
        assert!(is_enabled(), "{origin:?}");
    }
    let mut stranger = Browser::new(&daemon);
    let theirs = stranger.form("/ui/endpoints/one", "/disable");
    for (what, form) in [
        ("no token", form.clone().without("form_token")),
        ("an empty one", form.clone().with("form_token", "")),
        ("a wrong one", form.clone().with("form_token", "AAAA")),
        ("that of another browser", theirs.clone()),
    ] {
        let answer = browser.submit(&form);
        assert_eq!(answer.status, 403, "{what}");
        assert!(
            answer.text().contains("load the page again") && is_enabled(),
            "{what}"
        );
    }
    // A browser that keeps no cookies has nothing that its form could belong to.
    let mut forgetful = Browser::new(&daemon);
    assert_eq!(forgetful.submit(&form).status, 403);
    // Two origins, of which one is right.
    let two = [
        ("origin", own.as_str()),
        ("origin", "http://evil.example"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let body = format!("form_token={}", form.value("form_token"));
    assert_eq!(browser.ask("POST", &form.action, &two, &body).status, 403);
    let json = [("origin", own.as_str()), ("content-type", "text/plain")];
    assert_eq!(browser.ask("POST", &form.action, &json, &body).status, 415);
    assert!(is_enabled());
    let (place, page) = browser.follow(&form);
    assert_eq!(place, "/ui/endpoints/one?said=disabled");
    assert!(page.contains("The endpoint is paused") && !is_enabled());
    // A read in the background by another page is refused too.
    let cross = [("origin", other_port.as_str())];
    assert_eq!(
        browser.ask("GET", "/ui/tail/stream", &cross, "").status,
        403
    );
}

#[test]
fn every_post_needs_the_forms_token() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a.b", "1");
    let mut browser = Browser::new(&daemon);
    browser.page("/ui/");
    let routes = include_str!("../../../src/ui/operator/router.rs");
    let paths = routes
        .split("\"/ui/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let shared = include_str!("../../../src/ui/pages/router.rs");
    let shared = shared
        .split("at(\"/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    let paths = paths.chain(shared);
    let mut tried = 0;
    for path in paths {
        let path = path.replace("{id}", "one").replace("{endpoint}", "one");
        let path = format!(
            "/ui/{}",
            path.replace("events/one", &format!("events/{event}"))
        );
        let form = Form {
            action: path.clone(),
            fields: Vec::new(),
            text: String::new(),
        };
        let answer = browser.submit(&form);
        assert_eq!(answer.status, 403, "{path}");
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
    assert_eq!(daemon.endpoint("one")["enabled"], true);
}

#[test]
fn every_response_is_safe_to_show() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = Browser::new(&daemon);
    let page = browser.page("/ui/");
    let asset = links(&page)
        .into_iter()
        .find(|link| link.ends_with(".css"))
        .unwrap();
    for path in [
        "/ui/",
        "/ui/nope",
        "/ui/events?type=*.x",
        "/ui/events/evt_1",
        &asset,
        "/ui",
    ] {
        let answer = browser.get(path);
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        let policy = header("content-security-policy");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header("referrer-policy"), "same-origin", "{path}");
        let kept = if path == asset {
            "public, max-age=31536000, immutable"
        } else {
            "no-store"
        };
        assert_eq!(header("cache-control"), kept, "{path}");
    }
    let tag = browser.get(&asset).header("etag").unwrap().to_owned();
    let known = browser.ask("GET", &asset, &[("if-none-match", &tag)], "");
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(browser.get("/ui/assets/pages.css").status, 404);
}

#[test]
fn pages_hold_no_script_and_no_style_of_their_own() {
    let home = Home::new();
    let receiver = Receiver::ok();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let event = daemon.send("a.b", "1");
    daemon.wait_status(&event, "one", "delivered");
    let mut browser = Browser::new(&daemon);
    for path in [
        "/ui/",
        "/ui/endpoints/one",
        "/ui/endpoints",
        "/ui/tail",
        &format!("/ui/events/{event}"),
    ] {
        let page = browser.page(path);
        assert!(
            !page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:"),
            "{path}"
        );
        assert!(
            !page.contains(" onclick") && !page.contains(" onload"),
            "{path}"
        );
        let scripts: Vec<&str> = page.split("<script").skip(1).collect();
        assert!(
            scripts
                .iter()
                .all(|one| one.starts_with(" src=\"/ui/assets/") && one.contains("></script>")),
            "{path}"
        );
        for form in forms(&page, path) {
            assert!(!form.value("form_token").is_empty(), "{path}: {form:?}");
        }
    }
}
