//! Commands and requests of the pages are tried on a daemon.

use std::process::Command;

use crate::harness::http::Interface;
use crate::harness::{Daemon, Home, Receiver, endpoint};
use crate::page::{Page, pages, words};

/// What runs until it is stopped, needs another machine, or a state that no test has; these are
/// compared with the help of the command instead.
const NOT_RUN: [&str; 10] = [
    "serve",
    "demo",
    "listen",
    "tail",
    "restore",
    "verify",
    "verify-store",
    "status --watch",
    "status --url",
    "backup /mnt",
];

/// What may end with 1: the state that the page speaks of is not the one of the test.
const MAY_FAIL: [&str; 7] = [
    "deliveries cancel",
    "jobs show",
    "jobs cancel",
    "filter test",
    "endpoints purge",
    "events erase",
    "sources remove",
];

/// Where nobody listens. Endpoints of the pages are there, so that nothing leaves this machine.
const NOBODY: &str = "https://127.0.0.1:9";

/// The text with [`NOBODY`] in place of the hosts of its `https` URLs.
fn on_this_machine(text: &str) -> String {
    let mut parts = text.split("https://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', '"', '\'', ' ', ',', '}']);
        out += NOBODY;
        out += end.map_or("", |end| &part[end..]);
    }
    out
}

#[test]
fn no_url_of_a_page_leads_to_another_machine() {
    let text = r#"{"url": "https://a.example", "to": "https://b.example:1/c"} https://d.example"#;
    let local =
        r#"{"url": "https://127.0.0.1:9", "to": "https://127.0.0.1:9/c"} https://127.0.0.1:9"#;
    assert_eq!(on_this_machine(text), local);
}

/// A daemon with what the pages speak of.
struct Stage {
    home: Home,
    daemon: Daemon,
    _receiver: Receiver,
}

impl Stage {
    fn new() -> Stage {
        let receiver = Receiver::ok();
        let mut home = Home::new();
        let socket = home.path("api.sock");
        let listen = format!(
            "[listen]\nhttp = \"127.0.0.1:0\"\nunix = {socket:?}\ninbound = \"127.0.0.1:0\"\n\
             public_url = \"https://hooks.example.com\"\n"
        );
        let secret = home.run(&["keygen"]).stdout;
        let orders = endpoint("orders", &receiver.url("/hook"), "");
        let hooks = endpoint("customer", &format!("{NOBODY}/hook"), "");
        let order = r#"{"id": 7, "amount": 120, "total": 12.5, "customer": "Ada"}"#;
        for (name, content) in [
            ("secret", &*secret),
            ("new-secret", "another-secret-of-the-provider\n"),
            ("order.json", order),
            ("sample.json", order),
            ("body.json", order),
            ("report.csv", "a,b\n1,2\n"),
            ("filter.json", r#"{"data": {"amount": {"$gte": 100}}}"#),
            ("hooks.toml", &*hooks),
        ] {
            std::fs::write(home.path(name), content).unwrap();
        }
        let daemon = home.start(&(listen + &orders));
        home.set_env("OUTBOXD_URL", daemon.url());
        Stage {
            home,
            daemon,
            _receiver: receiver,
        }
    }

    fn new_endpoint(&self) -> String {
        let definition = format!(r#"{{"url": "{NOBODY}/hook", "enabled": false}}"#);
        let made = self.daemon.tcp.post_json("/v1/endpoints", definition);
        made.expect(201)["id"].as_str().unwrap().to_owned()
    }

    /// Makes a source of this id, or sees that there is none.
    fn source(&self, id: &str, preset: &str, is_there: bool) {
        let api = &self.daemon.tcp;
        let path = format!("/v1/sources/{id}");
        match (api.get(&path).status, is_there) {
            (200, false) => assert_eq!(api.request("DELETE", &path, &[], b"").status, 204),
            (404, true) => {
                let json = format!(r#"{{"id": "{id}", "preset": "{preset}", "secrets": ["s"]}}"#);
                api.post_json("/v1/sources", json).expect(201);
            }
            _ => {}
        }
    }

    /// An argument with what a reader fills in.
    fn filled(&self, text: &str) -> String {
        let mut text = text.replace("http://127.0.0.1:7717", &self.daemon.url());
        text = on_this_machine(&text);
        if text.contains("evt_…") || text == "EVENT" {
            let event = self
                .daemon
                .send("order.created", r#"{"id": 7, "total": 12.5}"#);
            self.daemon.wait_status(&event, "orders", "delivered");
            text = text.replace("evt_…", &event).replace("EVENT", &event);
        }
        if text.contains("ep_…") {
            text = text.replace("ep_…", &self.new_endpoint());
        }
        text = text.replace("job_…", "job_01KD0000000000000000000000");
        match &*text {
            "ENDPOINT" | "ID" => "orders".to_owned(),
            "TYPE" | "T" => "order.created".to_owned(),
            "DATA" => "{}".to_owned(),
            "DIR" => self.home.path("copy").display().to_string(),
            path if path.starts_with('/') => {
                let path = self.home.path(&path[1..]);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                if !path.exists() && path.extension().is_none() && !path.ends_with("man1") {
                    std::fs::write(&path, "a-secret-of-the-provider\n").unwrap();
                }
                path.display().to_string()
            }
            _ => text,
        }
    }

    /// Runs the command; what is wrong with how it ended.
    fn run(&self, words: &[String]) -> Option<String> {
        if words[0] == "sources" {
            let adds = words[1] == "add";
            for (id, preset) in [("gh", "github"), ("stripe-live", "stripe")] {
                let is_named = words.iter().any(|word| word == id);
                if is_named || !adds {
                    self.source(id, preset, !adds);
                }
            }
        }
        let args: Vec<String> = words.iter().map(|word| self.filled(word)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ran = self.home.run(&args);
        let line = words.join(" ");
        let may_fail = MAY_FAIL.iter().any(|begin| line.starts_with(begin));
        match ran.code {
            Some(0) => None,
            Some(1) if may_fail => None,
            code => Some(format!("{code:?}: {}{}", ran.stdout, ran.stderr)),
        }
    }

    /// Sends what `curl` would send; what is wrong with the answer.
    fn curl(&self, words: &[String]) -> Option<String> {
        let (mut method, mut headers, mut body) = (None, Vec::new(), String::new());
        let mut path = String::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("the option has a value").clone();
            match &**word {
                "-X" => method = Some(value()),
                "-d" | "--data-binary" => body = value(),
                "--unix-socket" => drop(value()),
                "-i" | "-s" | "--fail" => {}
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(": ").expect("a header");
                    headers.push((name.to_owned(), value.to_owned()));
                }
                option if option.starts_with('-') => {
                    return Some(format!("the test does not know {option}"));
                }
                url => {
                    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                    path = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
                }
            }
        }
        let has_type = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !body.is_empty() && !has_type {
            let form = "application/x-www-form-urlencoded";
            headers.push(("content-type".to_owned(), form.to_owned()));
        }
        let usual = if body.is_empty() { "GET" } else { "POST" };
        let method = method.unwrap_or_else(|| usual.to_owned());
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        let (path, body) = (self.filled(&path[1..]), self.filled(&body));
        let api: &Interface = &self.daemon.tcp;
        let answer = api.request(&method, &format!("/{path}"), &headers, body.as_bytes());
        let is_good = (200..300).contains(&answer.status);
        (!is_good).then(|| format!("{}: {}", answer.status, answer.text()))
    }
}

/// Compares a command that is not run with its help.
fn compared(words: &[String]) -> Option<String> {
    let names = words.iter().take_while(|word| !word.starts_with('-'));
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.truncate(if ["endpoints", "events"].contains(&names[0]) {
        2
    } else {
        1
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    let help = command.args(&names).arg("--help").output().unwrap();
    if !help.status.success() {
        return Some("there is no such command".to_owned());
    }
    let help = String::from_utf8(help.stdout).unwrap();
    let mut options = words.iter().filter(|word| word.starts_with("--"));
    let is_known = |option: &str| {
        let ends = [' ', '\n'];
        ends.iter()
            .any(|end| help.contains(&format!("{option}{end}")))
    };
    let unknown = options.find(|option| !is_known(option));
    unknown.map(|option| format!("it has no {option}"))
}

#[test]
fn every_command_and_request_works() {
    let (mut faults, mut ran, mut read, mut sent) = (Vec::new(), 0, 0, 0);
    for page in pages() {
        let lines = page.shell();
        let mut stage: Option<Stage> = None;
        for (number, line) in lines {
            let fault = if let Some(command) = line.strip_prefix("outboxd ") {
                let words = words(command).expect("its quotes are closed");
                let is_run = !NOT_RUN.iter().any(|begin| command.starts_with(begin));
                if is_run {
                    ran += 1;
                    stage.get_or_insert_with(Stage::new).run(&words)
                } else {
                    read += 1;
                    compared(&words)
                }
            } else if let Some(request) = line.strip_prefix("curl ") {
                sent += 1;
                let words = words(request).expect("its quotes are closed");
                stage.get_or_insert_with(Stage::new).curl(&words)
            } else {
                None
            };
            if let Some(fault) = fault {
                faults.push(format!("{}:{number}: {line}\n    {fault}", page.name));
            }
        }
    }
    eprintln!("{ran} commands were run, {read} compared with their help, {sent} requests sent");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(ran > 50 && read > 15 && sent > 12, "{ran} {read} {sent}");
}

/// The README's commands are those that a newcomer types first.
#[test]
fn the_readme_begins_with_the_demo_and_the_tests() {
    let readme = Page {
        name: "README.md".to_owned(),
        text: crate::page::read("README.md"),
    };
    let lines = readme.shell();
    let first: Vec<&str> = lines.iter().take(2).map(|(_, line)| &**line).collect();
    assert_eq!(
        first,
        ["cargo run --release -- demo", "cargo test --all-features"]
    );
}
