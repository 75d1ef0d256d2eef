//! `outboxd endpoints apply`: a file of endpoints and sources, made and changed through the API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Home, Ran, Receiver};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD0000000=";

struct Site {
    home: Home,
    daemon: Daemon,
}

impl Site {
    fn new() -> Site {
        let home = Home::new();
        let daemon = home.start(
            "[listen]\nhttp = \"127.0.0.1:0\"\nunix = \"api.sock\"\ninbound = \"127.0.0.1:0\"\n",
        );
        Site { home, daemon }
    }

    fn apply(&self, text: &str, options: &[&str]) -> Ran {
        std::fs::write(self.home.path("hooks.toml"), text).unwrap();
        let url = self.daemon.url();
        let line = ["endpoints", "apply", "hooks.toml", "--url", &url];
        self.home.run(&[&line[..], options].concat())
    }

    /// The actions, by name.
    #[track_caller]
    fn applied(&self, text: &str, options: &[&str]) -> Vec<(String, String, Value)> {
        let answer = self.apply(text, &[options, &["--json"]].concat()).json();
        assert_eq!(answer["ok"], true, "{answer}");
        let data = answer["data"].as_array().unwrap().iter();
        data.map(|step| {
            let name = format!(
                "{} {}",
                step["kind"].as_str().unwrap(),
                step["applied_as"].as_str().unwrap()
            );
            (
                name,
                step["action"].as_str().unwrap().to_owned(),
                step["changed"].clone(),
            )
        })
        .collect()
    }

    fn endpoints(&self) -> Vec<Value> {
        self.daemon.tcp.get("/v1/endpoints").expect(200)["data"]
            .as_array()
            .unwrap()
            .clone()
    }

    #[track_caller]
    fn endpoint(&self, name: &str) -> Value {
        let found = self
            .endpoints()
            .into_iter()
            .find(|one| one["applied_as"] == name);
        found.unwrap_or_else(|| panic!("no endpoint {name}"))
    }
}

fn done(name: &str, action: &str, changed: Value) -> (String, String, Value) {
    (name.to_owned(), action.to_owned(), changed)
}

/// Two endpoints with all that is compared, and a source.
fn hooks(secret: &str) -> String {
    format!(
        r##"
[[endpoint]]
id = "orders"
url = "https://example.invalid/orders"
tenant = "acme"
types = ["order.*"]
secret = "{secret}"
headers = {{ authorization = "Bearer hush" }}
rate_limit = "50/s"
timeout = "5s"
retry = {{ first = "1s", factor = 2, schedule = [] }}
filter = {{ data = {{ amount = {{ "$gte" = 12.50 }} }} }}
channels = ["eu"]

[[endpoint]]
id = "chat"
url = "https://hooks.slack.invalid/services/hush"
preset = "slack"
text = "{{{{ data.id }}}} paid"
auth = {{ type = "basic", username = "u", password = "hush" }}

[[source]]
id = "gh"
preset = "github"
secrets = ["hush"]
idempotency_window = "3d"
"##
    )
}

#[test]
fn a_second_run_changes_nothing_and_a_change_only_what_differs() {
    let site = Site::new();
    let text = hooks(SECRET);
    let none = json!([]);
    let made = site.applied(&text, &[]);
    assert_eq!(
        made,
        ["endpoint orders", "endpoint chat", "source gh"].map(|name| done(
            name,
            "make",
            none.clone()
        ))
    );
    let orders = site.endpoint("orders");
    assert_eq!(
        (&orders["tenant"], &orders["url"], &orders["source"]),
        (
            &json!("acme"),
            &json!("https://example.invalid/orders"),
            &json!("api")
        )
    );
    let id = orders["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("ep_"), "{id}");
    let secret = site
        .daemon
        .tcp
        .get(&format!("/v1/endpoints/{id}/secret"))
        .expect(200);
    assert_eq!(secret["secret"], SECRET);

    let again = site.apply(&text, &[]);
    assert_eq!(
        (again.code, &*again.stdout),
        (Some(0), "3 unchanged\n"),
        "{again:?}"
    );
    assert_eq!(site.endpoints().len(), 2);

    let changed = text
        .replace("\"5s\"", "\"6s\"")
        .replace("channels = [\"eu\"]\n", "");
    let changed = changed
        .replace("password = \"hush\"", "password = \"hush2\"")
        .replace("\"3d\"", "\"4d\"");
    let wanted = [
        done("endpoint orders", "change", json!(["timeout", "channels"])),
        done("endpoint chat", "change", json!(["auth"])),
        done("source gh", "change", json!(["idempotency_window"])),
    ];
    let dry = site.apply(&changed, &["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert_eq!(
        dry.stdout,
        format!(
            "~ endpoint orders ({id}) would be changed\n    timeout: \"5s\" -> \"6s\"\n    \
             channels: [\"eu\"] -> (default)\n~ endpoint chat ({}) would be changed\n    \
             auth: (not shown)\n~ source gh would be changed\n    \
             idempotency_window: \"3d\" -> \"4d\"\n0 unchanged\n",
            site.endpoint("chat")["id"].as_str().unwrap()
        )
    );
    assert_eq!(site.endpoint("orders")["timeout"], "5s");
    assert_eq!(site.applied(&changed, &["--dry-run"]), wanted);
    assert_eq!(site.applied(&changed, &[]), wanted);
    assert_eq!(site.endpoint("orders")["timeout"], "6s");
    assert_eq!(site.endpoint("orders")["channels"], none);
    assert_eq!(site.apply(&changed, &[]).stdout, "3 unchanged\n");
}

#[test]
fn changes_by_others_are_reverted_and_keys_absent_from_the_file_are_kept() {
    let site = Site::new();
    let text = "[[endpoint]]\nid = \"one\"\nurl = \"https://example.invalid/one\"\n";
    site.applied(text, &[]);
    let id = site.endpoint("one")["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/endpoints/{id}");
    let secret =
        |site: &Site| site.daemon.tcp.get(&format!("{path}/secret")).expect(200)["secret"].clone();
    let change = r#"{"max_in_flight": 3, "description": "mine", "enabled": false}"#;
    site.daemon
        .tcp
        .request(
            "PATCH",
            &path,
            &[("content-type", "application/json")],
            change.as_bytes(),
        )
        .expect(200);
    site.daemon
        .tcp
        .post_json(&format!("{path}/rotate"), "{}")
        .expect(200);
    let rotated = secret(&site);
    assert_eq!(
        site.applied(text, &[]),
        [done("endpoint one", "change", json!(["max_in_flight"]))]
    );
    let one = site.endpoint("one");
    assert_eq!(
        (&one["max_in_flight"], &one["description"], &one["enabled"]),
        (&json!(16), &json!("mine"), &json!(false))
    );
    assert_eq!(secret(&site), rotated);
    // The file's values are in force again.
    let said = format!("{text}enabled = true\nsecret = \"{OTHER}\"\n");
    assert_eq!(
        site.applied(&said, &[]),
        [done("endpoint one", "change", json!(["secret", "enabled"]))]
    );
    assert_eq!(
        (&site.endpoint("one")["enabled"], secret(&site)),
        (&json!(true), json!(OTHER))
    );
}

#[test]
fn prune_removes_what_was_applied_and_nothing_else() {
    let site = Site::new();
    site.daemon
        .tcp
        .post_json(
            "/v1/endpoints",
            r#"{"url": "https://example.invalid/by-hand"}"#,
        )
        .expect(201);
    site.daemon
        .tcp
        .post_json(
            "/v1/sources",
            r#"{"id": "by-hand", "preset": "github", "secrets": ["x"]}"#,
        )
        .expect(201);
    site.applied(&hooks(SECRET), &[]);
    // The mark survives a restart of the daemon.
    let Site { home, daemon } = site;
    assert!(daemon.stop().success());
    let daemon = home.start(
        "[listen]\nhttp = \"127.0.0.1:0\"\nunix = \"api.sock\"\ninbound = \"127.0.0.1:0\"\n",
    );
    let site = Site { home, daemon };
    let chat = hooks(SECRET)
        .split("[[endpoint]]")
        .nth(2)
        .unwrap()
        .split("[[source]]")
        .next()
        .unwrap()
        .to_owned();
    let chat = format!("[[endpoint]]{chat}");
    let none = json!([]);
    let left = [done("endpoint chat", "none", none.clone())];
    assert_eq!(site.applied(&chat, &[]), left);
    let pruned = [
        left[0].clone(),
        done("endpoint orders", "remove", none.clone()),
        done("source gh", "remove", none.clone()),
    ];
    assert_eq!(site.applied(&chat, &["--prune", "--dry-run"]), pruned);
    assert_eq!(site.endpoints().len(), 3);
    assert_eq!(site.applied(&chat, &["--prune"]), pruned);
    let urls: Vec<Value> = site
        .endpoints()
        .iter()
        .map(|one| one["url"].clone())
        .collect();
    assert!(
        urls.contains(&json!("https://example.invalid/by-hand")),
        "{urls:?}"
    );
    assert_eq!(urls.len(), 2);
    let sources = site.daemon.tcp.get("/v1/sources").expect(200);
    assert_eq!(
        (
            &sources["data"][0]["id"],
            sources["data"].as_array().unwrap().len()
        ),
        (&json!("by-hand"), 1)
    );
    // An id that was pruned may be used again.
    let back = site.applied(&hooks(SECRET), &["--prune"]);
    assert_eq!(back[0], done("endpoint orders", "make", none));
    assert_eq!(site.applied("", &["--prune"]).len(), 3);
    assert_eq!(site.endpoints().len(), 1);
}

#[test]
fn all_faults_of_the_file_are_reported_and_nothing_changes() {
    let site = Site::new();
    let text = "[[endpoint]]\nid = \"a\"\nurl = \"https://example.invalid\"\nallow_networks = []\n\
                [[endpoint]]\nid = \"b\"\nurl = 1\nsecret_file = \"/nonexistent\"\n[delivery]\n";
    let ran = site.apply(text, &[]);
    assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
    let lines: Vec<&str> = ran.stderr.lines().collect();
    for (n, part) in [
        "hooks.toml:4:18: endpoint[0].allow_networks",
        "hooks.toml:7:7: endpoint[1].url",
        "hooks.toml:8:15: endpoint[1].secret_file",
        "hooks.toml:9:2: delivery",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(lines[n].contains(part), "{part}: {ran:?}");
    }
    let ran = site.apply(text, &["--json"]);
    assert_eq!(ran.code, Some(2));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["faults"].as_array().unwrap().len(), 4, "{told}");
    assert_eq!(told["faults"][0]["line"], 4);

    // Faults that only the daemon can find are reported for all definitions too.
    site.applied(
        "[[endpoint]]\nid = \"a\"\nurl = \"https://example.invalid\"\n",
        &[],
    );
    site.daemon
        .tcp
        .post_json(
            "/v1/sources",
            r#"{"id": "gh", "preset": "github", "secrets": ["x"]}"#,
        )
        .expect(201);
    let text = "[[endpoint]]\nid = \"a\"\nurl = \"https://example.invalid\"\ntenant = \"other\"\n\
                [[endpoint]]\nid = \"b\"\nurl = \"https://example.invalid\"\n\
                [[source]]\nid = \"gh\"\npreset = \"github\"\nsecrets = [\"hush\"]\n\
                [[source]]\nid = \"sms\"\npreset = \"twilio\"\nsecrets = [\"hush\"]\n";
    let ran = site.apply(text, &[]);
    assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
    for part in [
        "nothing was changed",
        "endpoint a: it has the tenant default",
        "source gh: a source of this id",
        "source sms: field `preset`: the provider signs the URL",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert!(!ran.stderr.contains("hush"), "{ran:?}");
    assert_eq!(site.endpoints().len(), 1);
}

#[test]
fn a_change_that_fails_halfway_says_what_was_done() {
    // A stand-in for the daemon refuses the second endpoint: the outbox is full.
    let made = Arc::new(AtomicUsize::new(0));
    let daemon = Receiver::answering(move |seen| match (seen.method.as_str(), &*seen.path) {
        ("GET", _) => Answer::reply(200, &[], r#"{"data": [], "next": null}"#),
        (_, "/v1/endpoints") if made.fetch_add(1, Ordering::SeqCst) == 0 => {
            Answer::reply(201, &[], r#"{"id": "ep_1", "tenant": "default"}"#)
        }
        (_, "/v1/endpoints") => Answer::reply(503, &[], r#"{"detail": "disk low"}"#),
        _ => Answer::reply(200, &[], r#"{"changed": []}"#),
    });
    let home = Home::new();
    let endpoints = ["a", "b", "c"]
        .map(|id| format!("[[endpoint]]\nid = \"{id}\"\nurl = \"https://example.invalid\"\n"));
    std::fs::write(home.path("hooks.toml"), endpoints.concat()).unwrap();
    let line = ["endpoints", "apply", "hooks.toml", "--url"];
    let ran = home.run(&[&line[..], &[&daemon.url("")]].concat());
    assert_eq!(
        (ran.code, &*ran.stdout),
        (Some(1), "endpoint a (ep_1) made\n0 unchanged\n"),
        "{ran:?}"
    );
    assert_eq!(
        ran.stderr,
        "outboxd: endpoint b: disk low (HTTP 503)\nnot done: endpoint c\n"
    );
}

#[test]
fn a_name_belongs_to_one_endpoint_and_never_changes() {
    let site = Site::new();
    let api = &site.daemon.tcp;
    let body = r#"{"url": "https://example.invalid", "applied_as": "a"}"#;
    let made = api.post_json("/v1/endpoints", body).expect(201);
    assert_eq!(made["applied_as"], "a");
    let again = api.post_json("/v1/endpoints", body).expect(409);
    assert_eq!(
        again["detail"],
        "an endpoint was applied under this name already"
    );
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    let patch = |body: &str| {
        api.request(
            "PATCH",
            &path,
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    };
    for refused in [r#"{"applied_as": "b"}"#, r#"{"applied_as": null}"#] {
        assert!(
            patch(refused).expect(400)["detail"]
                .as_str()
                .unwrap()
                .contains("never changes")
        );
    }
    patch(r#"{"applied_as": "a"}"#).expect(200);
    api.request("DELETE", &path, &[], b"");
    api.post_json("/v1/endpoints", body).expect(201);
}

#[test]
fn a_dry_run_of_the_api_names_the_fields_and_changes_nothing() {
    let site = Site::new();
    let api = &site.daemon.tcp;
    let body = r#"{"url": "https://example.invalid", "timeout": "5s", "format": "bare", "enabled": false}"#;
    let dry = api
        .post_json("/v1/endpoints?dry_run=true", body)
        .expect(200);
    assert_eq!(
        dry,
        json!({"changed": ["url", "timeout", "format", "enabled"]})
    );
    assert!(site.endpoints().is_empty());
    let made = api
        .post_json("/v1/endpoints?dry_run=false", body)
        .expect(201);
    let path = format!("/v1/endpoints/{}", made["id"].as_str().unwrap());
    let patch = |query: &str, body: &str| {
        api.request(
            "PATCH",
            &format!("{path}{query}"),
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    };
    let same = format!(
        "{{\"secret\": {}, \"timeout\": \"5000ms\", \"enabled\": false}}",
        made["secret"]
    );
    assert_eq!(
        patch("?dry_run=true", &same).expect(200),
        json!({"changed": []})
    );
    let other = r#"{"timeout": null, "format": null, "http2": true}"#;
    assert_eq!(
        patch("?dry_run=true", other).expect(200),
        json!({"changed": ["timeout", "http2", "format"]})
    );
    assert_eq!(api.get(&path).expect(200)["timeout"], "5s");
    assert_eq!(patch("?dry_run=maybe", other).expect(400)["status"], 400);
    assert_eq!(
        patch("?dry_run=true", r#"{"timeout": 5}"#).expect(400)["status"],
        400
    );
    let body = r#"{"id": "gh", "preset": "github", "secrets": ["x"]}"#;
    let dry = api.post_json("/v1/sources?dry_run=true", body).expect(200);
    assert_eq!(dry, json!({"changed": ["preset", "secrets"]}));
    let made = api.post_json("/v1/sources", body).expect(201);
    assert_eq!(made["applied"], false);
    let dry = api.post_json("/v1/sources?dry_run=true", body).expect(409);
    assert_eq!(dry["status"], 409);
}
