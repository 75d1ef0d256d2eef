//! `docs/examples/read_log.py`, which knows the log from `docs/log-format.md` alone, reads what the
//! daemon has written.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Home, Receiver, endpoint};
use crate::page::{ROOT, read};

fn rows(home: &Home) -> Vec<Value> {
    let printed = Command::new("python3")
        .arg(format!("{ROOT}/docs/examples/read_log.py"))
        .arg(home.data_dir())
        .output()
        .unwrap();
    assert!(printed.status.success(), "{printed:?}");
    let text = String::from_utf8(printed.stdout).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
    rows.collect()
}

#[test]
fn the_log_is_what_its_page_says() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    }
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("orders", &receiver.url("/"), ""));
    let plain = daemon.send("order.created", r#"{"id": 7.50}"#);
    let extras = daemon.send_with("order.paid", "[1]", r#""channels": ["eu"], "key": "k""#);
    let text = [("content-type", "text/csv")];
    let opaque = daemon
        .tcp
        .request("POST", "/v1/events/report.ready", &text, b"a,b\n");
    let opaque = opaque.expect(202)["id"].as_str().unwrap().to_owned();
    let erased = daemon.send("order.secret", r#""personal""#);
    for event in [&plain, &extras, &opaque, &erased] {
        daemon.wait_status(event, "orders", "delivered");
    }
    let path = format!("/v1/events/{erased}");
    assert_eq!(daemon.tcp.request("DELETE", &path, &[], b"").status, 204);
    assert!(daemon.stop().success());

    let rows = rows(&home);
    let accepted = |event: &str| {
        let of_event = |row: &&Value| row["event"] == event && row["tenant"] == "default";
        let row = rows.iter().find(of_event);
        row.unwrap_or_else(|| panic!("{event} is not in {rows:#?}"))
            .clone()
    };
    assert_eq!(accepted(&plain)["data"], r#"{"id": 7.50}"#);
    assert_eq!(accepted(&plain)["kind"], 1);
    assert_eq!(accepted(&extras)["data"], "[1]");
    assert_eq!(accepted(&extras)["kind"], 18);
    assert_eq!(accepted(&extras)["key"], "k");
    assert_eq!(accepted(&opaque)["data"], "a,b\n");
    assert_eq!(accepted(&opaque)["content_type"], "text/csv");
    assert_eq!(accepted(&erased)["erased_or_damaged"], true);
    let endpoint = rows.iter().find(|row| row["endpoint"] == "orders").unwrap();
    for event in [&plain, &extras, &opaque] {
        let of_event = |row: &&Value| row["event"] == **event && row["kind"] == 16;
        let attempt = rows.iter().find(of_event).unwrap();
        assert_eq!(attempt["status"], 200);
        assert_eq!(attempt["endpoint_number"], endpoint["endpoint_number"]);
    }
    assert!(
        rows.iter().all(|row| row.get("damaged").is_none()),
        "{rows:#?}"
    );
}

#[test]
fn the_example_is_that_of_the_golden_bytes() {
    let page = read("docs/log-format.md");
    let example = page.split("## An example").nth(1).unwrap();
    let block = example.split("```text\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let lines = block
        .lines()
        .map(|line| line.get(..35).unwrap_or(line).trim());
    let shown: Vec<&str> = lines.collect();
    let golden = read("src/outbox/log/tests/golden.rs");
    for line in &shown {
        assert!(golden.contains(line), "{line}");
    }
    let whole = shown.join("\\n\\\n         ");
    assert!(golden.contains(&whole), "{whole}");
}

#[test]
fn the_page_has_every_kind_of_record() {
    let page = read("docs/log-format.md");
    let source = read("src/outbox/record.rs") + &read("src/outbox/record/definition.rs");
    let mut found = 0;
    for line in source.lines() {
        let number = line
            .split_once(": u8 = ")
            .and_then(|(_, rest)| rest.strip_suffix(';'));
        let Some(number) = number.filter(|_| line.contains("const ")) else {
            continue;
        };
        let table = page.split("| kind | record |").nth(1).unwrap();
        let rows = table
            .lines()
            .skip(1)
            .take_while(|line| line.is_empty() || line.starts_with('|'));
        let numbers = |row: &str| -> Vec<String> {
            let cell = row.split('|').nth(1).unwrap_or_default();
            let words = cell.split(|c: char| !c.is_ascii_digit());
            words.map(str::to_owned).collect()
        };
        let is_there = rows
            .into_iter()
            .any(|row| numbers(row).iter().any(|n| n == number));
        assert!(
            is_there,
            "kind {number} is not in docs/log-format.md: {line}"
        );
        found += 1;
    }
    assert!(found > 15, "{found}");
}
