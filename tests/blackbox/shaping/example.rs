//! `docs/examples/order-to-slack.toml`, as it stands there.

use super::services::SLACK;
use crate::harness::{Home, Receiver};

const FILE: &str = include_str!("../../../docs/examples/order-to-slack.toml");
const URL: &str = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX";

#[test]
fn an_order_becomes_a_message_in_slack() {
    let table: Vec<&str> = FILE
        .lines()
        .skip_while(|line| *line != "[[endpoint]]")
        .collect();
    assert!(table.len() <= 6, "{table:?}");
    let receiver: Receiver = SLACK.stand_in();
    let home = Home::new();
    let daemon = home.start(&FILE.replace(URL, &receiver.url(SLACK.path)));
    let url = daemon.url();
    // The file's own example of an event.
    let data = r#"{"id": "A-1001", "customer": "Ada", "total": 12.50}"#;
    assert!(FILE.contains(&format!("outboxd send order.created '{data}'")));
    let sent = home
        .run(&["send", "order.created", data, "--url", &url, "--json"])
        .json();
    let event = sent["id"].as_str().unwrap();
    daemon.wait_status(event, "orders-to-slack", "delivered");
    let seen = receiver.wait(1);
    assert_eq!(
        seen[0].text(),
        r#"{"text": ":package: *Order A-1001* from Ada: 12.50 EUR"}"#
    );
    assert_eq!(seen[0].header("content-type"), "application/json");
    // As it stands there it is a valid configuration.
    std::fs::write(home.path("example.toml"), FILE).unwrap();
    let ran = home.run(&["check", "--config", "example.toml"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
