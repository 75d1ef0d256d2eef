//! Requests that another page could make a browser send.

use super::{guest, make};
use crate::harness::Home;
use crate::ui::browser::Form;

#[test]
fn only_the_pages_own_forms_change_anything() {
    let home = Home::new();
    let daemon = home.start("");
    let id = make(&daemon, "acme", "http://localhost:9/");
    let mut browser = guest(&daemon, "acme");
    let mut other = guest(&daemon, "acme");
    let page = format!("/portal/endpoints/{id}");
    let form: Form = browser.form(&page, "/disable");
    let foreign = other.form(&page, "/disable").value("form_token").to_owned();
    let origin = browser.origin();
    for (name, form, origin) in [
        ("no origin", form.clone(), None),
        ("null", form.clone(), Some("null")),
        ("another port", form.clone(), Some("http://127.0.0.1:1")),
        ("another scheme", form.clone(), Some("https://127.0.0.1")),
        (
            "no token",
            form.clone().without("form_token"),
            Some(origin.as_str()),
        ),
        (
            "a wrong token",
            form.clone().with("form_token", "x"),
            Some(&origin),
        ),
        (
            "another session's",
            form.clone().with("form_token", &foreign),
            Some(&origin),
        ),
    ] {
        assert_eq!(browser.submit_from(&form, origin).status, 403, "{name}");
    }
    assert_eq!(daemon.endpoint(&id)["enabled"], true);
    // Nor does a page of another site bring anybody in.
    let made = super::link_for(&daemon, "globex", &["view"]);
    let entry = browser
        .form("/portal/enter", "/portal/enter")
        .with("code", &super::code(&made));
    for origin in [None, Some("https://evil.example")] {
        assert_eq!(browser.submit_from(&entry, origin).status, 403);
    }
    assert_eq!(browser.submit(&entry).status, 303);
    // A form without a session.
    let mut nobody = crate::ui::browser::Browser::new(&daemon);
    assert_eq!(
        nobody.submit(&form).header("location"),
        Some("/portal/?said=ended")
    );
    assert_eq!(daemon.endpoint(&id)["enabled"], true);
}

#[test]
fn the_code_reaches_no_log_and_no_page() {
    let home = Home::new();
    let daemon = home.start("[log]\nlevel = \"trace\"\nformat = \"json\"\n");
    let made = super::link_for(&daemon, "acme", &["manage", "secrets", "replay"]);
    let mut browser = crate::ui::browser::Browser::new(&daemon);
    super::enter(&mut browser, &made);
    let (code, token) = (super::code(&made), made["token"].as_str().unwrap());
    let page = browser.page("/portal/");
    daemon.wait_log("came in at the portal");
    let log = daemon.log_text();
    for secret in [code.as_str(), token] {
        assert!(!page.contains(secret) && !log.contains(secret));
    }
}
