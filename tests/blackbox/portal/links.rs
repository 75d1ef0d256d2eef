//! Making links, and coming in by them.

use serde_json::json;

use super::{code, enter, guest, link, link_for, start_public};
use crate::harness::Home;
use crate::ui::browser::{Browser, text_of};

#[test]
fn a_link_lets_in_once() {
    let home = Home::new();
    let daemon = start_public(&home, "", "");
    let made = link_for(&daemon, "acme", &["view"]);
    let inbound = daemon.inbound.unwrap();
    let url = made["url"].as_str().unwrap();
    assert!(
        url.starts_with(&format!("http://{inbound}/portal/#c=")),
        "{url}"
    );
    assert!(made["token"].as_str().unwrap().starts_with("portal_"));
    let mut browser = Browser::at(daemon.public(), "http", &inbound.to_string());
    let page = browser.page("/portal/");
    assert!(
        page.contains("id=\"enter\"") && !page.contains("aria-label=\"Pages\""),
        "{page}"
    );
    let answer = enter(&mut browser, &made);
    let set = answer.header("set-cookie").unwrap();
    let named = format!("outboxd-portal-{}=", inbound.port());
    assert!(set.starts_with(&named), "{set}");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    assert!(browser.page("/portal/").contains("<h1>Overview</h1>"));
    // Another browser, the same link.
    let mut other = Browser::at(daemon.public(), "http", &inbound.to_string());
    let again = enter(&mut other, &made);
    assert_eq!(again.status, 403);
    assert!(again.text().contains("was used before"), "{}", again.text());
    assert_eq!(
        other.get("/portal/endpoints").header("location"),
        Some("/portal/?said=ended")
    );
    // The token is not used up by that.
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let public = daemon.public();
    let asked = public.request(
        "GET",
        "/portal/endpoints",
        &[("authorization", &bearer)],
        b"",
    );
    assert_eq!(asked.status, 200);
}

#[test]
fn the_whole_link_may_be_pasted_and_a_new_one_replaces_the_session() {
    let home = Home::new();
    let daemon = home.start("");
    let mut browser = guest(&daemon, "acme");
    let other = link_for(&daemon, "globex", &["view"]);
    let form = browser.form("/portal/enter", "/portal/enter");
    let (place, _) = browser.follow(&form.with("code", other["url"].as_str().unwrap()));
    assert_eq!(place, "/portal/");
    let form = browser.form("/portal/", "/portal/logout");
    assert!(form.text.contains("portal globex/user-1"), "{}", form.text);
    let (_, page) = browser.follow(&form);
    assert!(text_of(&page).contains("You are logged out"), "{page}");
    assert_eq!(browser.get("/portal/events").status, 303);
}

#[test]
fn bad_input_names_the_field_and_the_fix() {
    let home = Home::new();
    let daemon = home.start("");
    for (body, expected) in [
        (json!({}), "field `tenant`: missing"),
        (
            json!({"tenant": "a", "expires_in": "8d"}),
            "field `expires_in`: not from \"1s\" to \"7d\"",
        ),
        (
            json!({"tenant": "a", "capabilities": ["all"]}),
            "field `capabilities[0]`: not \"view\"",
        ),
        (
            json!({"tenant": "a", "return_url": "javascript:x"}),
            "field `return_url`",
        ),
        (
            json!({"tenant": "a", "session": "a b"}),
            "field `session`: not 1 to 128 visible",
        ),
        (
            json!({"tenant": "a", "expires_inn": "1h"}),
            "unknown field `expires_inn`, did you mean `expires_in`?",
        ),
    ] {
        let detail = daemon
            .unix
            .post_json("/v1/portal/links", body.to_string())
            .problem(400);
        assert!(detail.starts_with(expected), "{body}: {detail}");
    }
    for (query, expected) in [
        ("", "query parameter `tenant` is missing"),
        ("?session=a", "query parameter `tenant` is missing"),
        ("?tenant=a.b", "query parameter `tenant`"),
        ("?tenant=a&all=1", "unknown query parameter `all`"),
    ] {
        let path = format!("/v1/portal/links{query}");
        let detail = daemon.unix.request("DELETE", &path, &[], b"").problem(400);
        assert!(detail.starts_with(expected), "{query}: {detail}");
    }
}

#[test]
fn links_are_for_the_operator_and_their_tokens_for_the_portal() {
    let home = Home::new();
    let file = home.path("ops");
    std::fs::write(&file, "t0k-ops").unwrap();
    let app = home.path("app");
    std::fs::write(&app, "t0k-app").unwrap();
    let tokens = format!(
        "[auth]\ntokens = [{{ name = \"ops\", token_file = {file:?}, scope = \"admin\" }}, \
         {{ name = \"app\", token_file = {app:?}, scope = \"ingest\" }}]\n"
    );
    let daemon = start_public(&home, "public_url = \"https://hooks.example\"\n", &tokens);
    let json = ("content-type", "application/json");
    let body = br#"{"tenant": "acme", "capabilities": ["manage", "replay", "secrets"]}"#;
    let ask = |bearer: &str, path: &str| {
        let bearer = format!("Bearer {bearer}");
        daemon
            .tcp
            .request("POST", path, &[json, ("authorization", &bearer)], body)
    };
    daemon
        .tcp
        .request("POST", "/v1/portal/links", &[json], body)
        .problem(401);
    ask("t0k-app", "/v1/portal/links").problem(403);
    let made = ask("t0k-ops", "/v1/portal/links").expect(201);
    assert!(
        made["url"]
            .as_str()
            .unwrap()
            .starts_with("https://hooks.example/portal/#c=")
    );
    let token = made["token"].as_str().unwrap();
    for path in ["/v1/portal/links", "/v1/events", "/v1/endpoints"] {
        ask(token, path).problem(401);
    }
    let line = daemon.wait_log("changed through the API");
    assert_eq!(
        (&line["action"], &line["object"], &line["by"]),
        (&json!("portal_link.create"), &json!("acme"), &json!("ops"))
    );
    // A cookie is nothing to the API and to the operator's pages.
    let mut browser = Browser::new(&daemon);
    assert_eq!(enter(&mut browser, &made).status, 303);
    assert_eq!(browser.get("/portal/endpoints").status, 200);
    browser.get("/v1/endpoints").problem(401);
    assert!(
        browser
            .get("/ui/")
            .header("location")
            .unwrap()
            .starts_with("/ui/login")
    );
    // What was made with a token ends with it.
    let rest = format!(
        "[auth]\ntokens = [{{ name = \"app\", token_file = {app:?}, scope = \"admin\" }}]\n"
    );
    let socket = home.path("api.sock");
    home.write_config(&format!(
        "[listen]\nunix = {socket:?}\nhttp = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"\n\
         public_url = \"https://hooks.example\"\n{rest}"
    ));
    daemon.reload();
    assert_eq!(browser.get("/portal/endpoints").status, 303);
    let bearer = format!("Bearer {token}");
    let answer = daemon
        .tcp
        .request("GET", "/portal/", &[("authorization", &bearer)], b"");
    assert_eq!(answer.status, 401);
}

#[test]
fn a_way_back_is_a_link_and_nothing_more() {
    let home = Home::new();
    let daemon = home.start("");
    let back = "https://app.example/a?b=%22%3E&c=<x>'\"";
    let made = link(&daemon, json!({"tenant": "acme", "return_url": back}));
    let mut browser = Browser::new(&daemon);
    let answer = enter(&mut browser, &made);
    assert_eq!(answer.header("location"), Some("/portal/"));
    let page = browser.page("/portal/");
    let tag = page
        .split("<a class=\"back\"")
        .nth(1)
        .unwrap()
        .split("</a>")
        .next()
        .unwrap();
    assert!(tag.contains("rel=\"noopener noreferrer\""), "{tag}");
    assert!(
        tag.starts_with(" href=\"https://app.example/a?b=%22%3E&"),
        "{tag}"
    );
    assert_eq!(tag.matches('>').count(), 1, "{tag}");
    assert!(!code(&made).is_empty());
}

#[test]
fn the_public_listener_has_the_portal_and_nothing_else_of_people() {
    let home = Home::new();
    let daemon = start_public(&home, "", "");
    let public = daemon.public();
    assert_eq!(public.get("/portal").header("location"), Some("/portal/"));
    for path in [
        "/",
        "/ui/",
        "/ui/login",
        "/v1/portal/links",
        "/portals",
        "/portal2/",
        "/PORTAL/",
    ] {
        assert_eq!(public.get(path).status, 404, "{path}");
    }
    // Over plain HTTP from elsewhere nobody comes in: anybody on the way could read the link.
    let mut away = Browser::at(daemon.public(), "http", "hooks.example");
    let page = away.page("/portal/");
    assert!(
        page.contains("plain HTTP") && !page.contains("id=\"enter\""),
        "{page}"
    );
    let made = link_for(&daemon, "acme", &["view"]);
    let form = crate::ui::browser::Form {
        action: "/portal/enter".to_owned(),
        fields: vec![("code".to_owned(), code(&made))],
        text: String::new(),
    };
    assert_eq!(away.submit(&form).status, 403);
}
