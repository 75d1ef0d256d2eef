//! The portal in a frame of another page.

use super::{code, link_for, start_public};
use crate::harness::Home;
use crate::ui::browser::{Browser, Form};

const PORTAL: &str =
    "[portal]\nframe_ancestors = [\"https://app.example\", \"https://*.shop.example\"]\n";

fn entry(code: String) -> Form {
    Form {
        action: "/portal/enter".to_owned(),
        fields: vec![("code".to_owned(), code)],
        text: String::new(),
    }
}

#[test]
fn configured_pages_frame_it_over_https_alone() {
    let home = Home::new();
    let daemon = start_public(&home, "trusted_proxies = [\"127.0.0.1/32\"]\n", PORTAL);
    let https = ("x-forwarded-proto".to_owned(), "https".to_owned());
    let mut browser = Browser::at(daemon.public(), "https", "hooks.example");
    browser.more = vec![https.clone()];
    let page = browser.get("/portal/");
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.ends_with("frame-ancestors 'self' https://app.example https://*.shop.example"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-frame-options"), None);
    browser.more = vec![
        https.clone(),
        ("sec-fetch-dest".to_owned(), "iframe".to_owned()),
    ];
    let answer = browser.submit(&entry(code(&link_for(&daemon, "acme", &["view"]))));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-outboxd-portal="), "{set}");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=None; Secure; Partitioned"),
        "{set}"
    );
    assert_eq!(browser.get("/portal/endpoints").status, 200);
    // Outside of a frame the cookie is not one for frames.
    let mut tab = Browser::at(daemon.public(), "https", "hooks.example");
    tab.more = vec![https, ("sec-fetch-dest".to_owned(), "document".to_owned())];
    let answer = tab.submit(&entry(code(&link_for(&daemon, "acme", &["view"]))));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.ends_with("; HttpOnly; SameSite=Lax; Secure"), "{set}");
    // Over plain HTTP nobody frames it, and nobody ever frames the operator's pages.
    let mut plain = Browser::new(&daemon);
    for path in ["/portal/", "/ui/"] {
        let page = plain.get(path);
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.ends_with("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
    }
    let answer = plain.submit(&entry(code(&link_for(&daemon, "acme", &["view"]))));
    assert!(
        answer
            .header("set-cookie")
            .unwrap()
            .ends_with("; SameSite=Lax")
    );
}

#[test]
fn without_ancestors_nobody_frames_it() {
    let home = Home::new();
    let daemon = start_public(&home, "trusted_proxies = [\"127.0.0.1/32\"]\n", "");
    let mut browser = Browser::at(daemon.public(), "https", "hooks.example");
    browser.more = vec![("x-forwarded-proto".to_owned(), "https".to_owned())];
    let page = browser.get("/portal/");
    assert_eq!(page.header("x-frame-options"), Some("DENY"));
    let answer = browser.submit(&entry(code(&link_for(&daemon, "acme", &["view"]))));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.ends_with("; SameSite=Lax; Secure"), "{set}");
}
