//! Two tenants with like things: nothing of one is seen or done with a link of the other.

use std::collections::BTreeSet;

use serde_json::json;

use super::{SHORT, failing, guest, make, named, send};
use crate::harness::http::head;
use crate::harness::{Daemon, Home, Receiver, endpoint};
use crate::ui::browser::links;

struct World {
    _home: Home,
    _receiver: Receiver,
    daemon: Daemon,
    /// An endpoint and an event of each tenant.
    ours: (String, String),
    theirs: (String, String),
    erased: String,
}

fn world() -> World {
    let receiver = failing();
    let home = Home::new();
    let of_file = |id: &str, tenant: &str| {
        let url = named(&receiver, "/operators-path");
        let more = format!(
            "tenant = \"{tenant}\"\nallow_networks = [\"127.0.0.0/8\"]\ntypes = [\"never\"]"
        );
        endpoint(id, &url, &more)
    };
    let files = of_file("house-acme", "acme") + &of_file("house-globex", "globex");
    let daemon = home.start(&(SHORT.to_owned() + &files));
    let mut both = ["acme", "globex"].map(|tenant| {
        let endpoint = make(&daemon, tenant, &named(&receiver, "/hook"));
        let event = send(&daemon, tenant);
        daemon.wait_status(&event, &endpoint, "dead");
        (endpoint, event)
    });
    let erased = send(&daemon, "globex");
    daemon.wait_status(&erased, &both[1].0, "dead");
    let path = format!("/v1/events/{erased}");
    assert_eq!(daemon.unix.request("DELETE", &path, &[], b"").status, 204);
    World {
        _home: home,
        _receiver: receiver,
        daemon,
        ours: std::mem::take(&mut both[0]),
        theirs: std::mem::take(&mut both[1]),
        erased,
    }
}

/// What no page may hold.
fn forbidden(world: &World) -> Vec<String> {
    let (endpoint, event) = &world.theirs;
    let mut words = vec![endpoint.clone(), event.clone(), world.erased.clone()];
    for word in [
        "globex",
        "127.0.0.1",
        "127.0.0.0/8",
        "[::1]",
        "INTERNAL-ANSWER",
        "operators-path",
        "whsec_",
        "allow_networks",
    ] {
        words.push(word.to_owned());
    }
    words
}

#[test]
fn no_page_has_anything_of_others() {
    let world = world();
    let mut browser = guest(&world.daemon, "acme");
    let mut seen = BTreeSet::new();
    let mut open = vec!["/portal/".to_owned()];
    let (endpoint, event) = &world.ours;
    let unlinked = [
        format!("/portal/events/{event}/deliveries/{endpoint}"),
        format!("/portal/endpoints/{endpoint}/replay?count=1"),
        "/portal/endpoints?tenant=globex".to_owned(),
        "/portal/events?tenant=globex".to_owned(),
        "/portal/deliveries?tenant=globex".to_owned(),
        "/portal/enter".to_owned(),
    ];
    open.extend(unlinked);
    while let Some(path) = open.pop() {
        let own = path.split('#').next().unwrap().to_owned();
        if !seen.insert(own.clone()) || own.contains("/assets/") {
            continue;
        }
        assert!(own.starts_with("/portal/"), "a link leads to {own}");
        let page = browser.page(&own);
        for word in forbidden(&world) {
            // Typed words stand in the fields of filters.
            let is_typed = word == "globex" && own.contains("globex");
            let page = page.replace("whsec_…", "");
            assert!(
                is_typed || !page.contains(&word),
                "{own} has {word}: {page}"
            );
        }
        let address = own.split('?').next().unwrap().to_owned();
        let links = links(&page).into_iter();
        let links = links.filter(|link| !link.starts_with('#'));
        open.extend(links.map(|link| match link.strip_prefix('?') {
            Some(query) => format!("{address}?{query}"),
            None => link,
        }));
    }
    for expected in [
        format!("/portal/endpoints/{endpoint}"),
        format!("/portal/endpoints/{endpoint}/edit"),
        format!("/portal/events/{event}"),
        "/portal/dead".to_owned(),
        "/portal/tail".to_owned(),
        "/portal/endpoints/house-acme".to_owned(),
    ] {
        assert!(
            seen.contains(&expected),
            "{expected} is not linked: {seen:?}"
        );
    }
}

/// Paths that name things, with `E` and `V` for an endpoint and an event.
const PATHS: [(&str, &str); 24] = [
    ("GET", "/portal/endpoints?id=E"),
    ("GET", "/portal/endpoints/E"),
    ("GET", "/portal/endpoints/E/edit"),
    ("POST", "/portal/endpoints/E/edit"),
    ("POST", "/portal/endpoints/E/enable"),
    ("POST", "/portal/endpoints/E/disable"),
    ("POST", "/portal/endpoints/E/test"),
    ("POST", "/portal/endpoints/E/secret"),
    ("POST", "/portal/endpoints/E/rotate"),
    ("GET", "/portal/endpoints/E/delete"),
    ("POST", "/portal/endpoints/E/delete"),
    ("GET", "/portal/endpoints/E/replay?count=1"),
    ("POST", "/portal/endpoints/E/replay"),
    ("GET", "/portal/events/V"),
    ("GET", "/portal/events/V/body"),
    ("GET", "/portal/events/V/why?endpoint=E"),
    ("GET", "/portal/events/V/deliveries/E"),
    ("POST", "/portal/events/V/deliveries/E/retry"),
    ("POST", "/portal/events/V/deliveries/E/cancel"),
    ("GET", "/portal/deliveries?endpoint=E"),
    ("GET", "/portal/tail?endpoint=E"),
    ("GET", "/portal/events?id=V"),
    ("GET", "/portal/endpoints/%45"),
    ("GET", "/portal/events/%56"),
];

#[test]
fn what_is_of_others_is_as_if_it_did_not_exist() {
    let world = world();
    let (daemon, (endpoint, event)) = (&world.daemon, &world.theirs);
    let before = daemon.endpoint(endpoint);
    let (no_endpoint, no_event) = (
        "ep_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "evt_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    );
    let mut browser = guest(daemon, "acme");
    let token = browser.form("/portal/", "/portal/logout");
    let mut ask = |method: &str, path: &str, (id, event): (&str, &str)| {
        let path = path
            .replace("%45", "%65<end of e>")
            .replace("%56", "%65<end of v>")
            .replace('E', "<e>")
            .replace('V', "<v>")
            .replace("<end of e>", &id[1..])
            .replace("<end of v>", &event[1..])
            .replace("<e>", id)
            .replace("<v>", event);
        let mut answer = match method {
            "GET" => browser.get(&path),
            _ => {
                let mut form = token.clone().with("description", "taken");
                form.action = path;
                browser.submit(&form)
            }
        };
        answer.headers.retain(|(name, _)| name == "location");
        let place = answer.header("location").unwrap_or_default().to_owned();
        let text = (answer.text() + &place)
            .replace(id, "E")
            .replace(event, "V");
        (answer.status, text)
    };
    for (method, path) in PATHS {
        let absent = ask(method, path, (no_endpoint, no_event));
        let (ours_endpoint, ours_event) = (&world.ours.0, &world.ours.1);
        // Both of theirs; their endpoint with our event; ours with theirs; and one that was erased.
        assert_eq!(
            ask(method, path, (endpoint, event)),
            absent,
            "{method} {path}"
        );
        assert_eq!(
            ask(method, path, ("house-globex", &world.erased)),
            absent,
            "{method} {path}"
        );
        if path.contains('V') && path.contains('E') {
            let half = ask(method, path, (no_endpoint, ours_event));
            assert_eq!(
                ask(method, path, (endpoint, ours_event)),
                half,
                "{method} {path}"
            );
            let half = ask(method, path, (ours_endpoint, no_event));
            assert_eq!(
                ask(method, path, (ours_endpoint, event)),
                half,
                "{method} {path}"
            );
        }
        if absent.0 == 200 {
            assert!(path.contains('?'), "{method} {path}: {absent:?}");
        }
    }
    assert_eq!(daemon.endpoint(endpoint), before);
    let delivery = daemon.delivery(event, endpoint);
    assert_eq!(
        (&delivery["status"], &delivery["attempt_count"]),
        (&json!("dead"), &json!(2))
    );
}

#[test]
fn an_endpoint_with_the_name_of_a_page_is_judged() {
    let home = Home::new();
    let daemon = home.start(&endpoint(
        "new",
        "http://localhost:9/",
        "tenant = \"globex\"",
    ));
    let mut browser = guest(&daemon, "acme");
    let mut form = browser.form("/portal/endpoints/new", "/portal/endpoints");
    for end in ["disable", "test", "secret", "replay"] {
        form.action = format!("/portal/endpoints/new/{end}");
        assert_eq!(browser.submit(&form).status, 404, "{end}");
    }
    assert_eq!(daemon.endpoint("new")["enabled"], true);
}

#[test]
fn jobs_of_others_are_as_if_they_had_ended() {
    let world = world();
    let (daemon, (endpoint, _)) = (&world.daemon, &world.theirs);
    for _ in 0..4 {
        let event = send(daemon, "globex");
        daemon.wait_status(&event, endpoint, "dead");
    }
    let path = format!("/v1/endpoints/{endpoint}/replay");
    let begun = daemon
        .unix
        .post_json(&path, r#"{"status": "dead", "rate": "1/m"}"#)
        .expect(202);
    let job = begun["job"].as_str().unwrap();
    let mut browser = guest(daemon, "acme");
    let page = browser.page(&format!("/portal/jobs/{job}"));
    assert!(page.contains("The job has ended"), "{page}");
    let mut form = browser.form("/portal/", "/portal/logout");
    form.action = format!("/portal/jobs/{job}/cancel");
    assert_eq!(browser.submit(&form).status, 303);
    daemon.unix.get(&format!("/v1/jobs/{job}")).expect(200);
    // It is there for its own.
    let mut own = guest(daemon, "globex");
    assert!(
        own.page(&format!("/portal/jobs/{job}"))
            .contains("<progress")
    );
}

#[test]
fn a_tail_tells_of_its_tenant_alone() {
    let world = world();
    let daemon = &world.daemon;
    let link = super::link_for(daemon, "acme", &["view"]);
    let bearer = format!("Bearer {}", link["token"].as_str().unwrap());
    let mut tail = daemon.tcp.connect().unwrap();
    let headers = [("authorization", bearer.as_str())];
    // Another tenant cannot be asked for.
    tail.send(&head(
        "GET",
        "/portal/tail/stream?tenant=globex&source=x",
        &headers,
        None,
    ))
    .unwrap();
    tail.until(": tail\n\n").unwrap();
    send(daemon, "globex");
    let event = send(daemon, "acme");
    daemon.wait_status(&event, &world.ours.0, "dead");
    let last = send(daemon, "acme");
    let told = tail.until(&last).unwrap();
    assert!(
        told.contains("event: attempt") && told.contains(&event),
        "{told}"
    );
    for word in forbidden(&world) {
        assert!(!told.contains(&word), "{word} in {told}");
    }
}
