//! The drill of `docs/backup.md`, as it stands there.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::*;
use crate::shop::*;

#[test]
fn the_drill_of_the_documentation_works() {
    let page = include_str!("../../docs/backup.md");
    let section = page
        .split("\n## A drill\n")
        .nth(1)
        .expect("the page has a drill");
    let block = section.split("```sh\n").nth(1).expect("with commands");
    let drill = block.split("```").next().unwrap();
    assert_eq!(drill.lines().count(), 5);

    let home = Home::new();
    let to = file_url(&home.path("shipped"));
    let receiver = Receiver::ok();
    let daemon = home.start(&format!(
        "{}{}",
        endpoint("orders", "http://127.0.0.1:9/", ""),
        shipping(&to)
    ));
    daemon.send("order.created", "1");
    wait_shipped(&daemon);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    // Another drill may run on this machine at the same time.
    let drill = drill.replace("7799", &port.to_string());
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_outboxd"));
    let path = format!(
        "{}:{}",
        binary.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let ran = Command::new("bash")
        .args(["-euc", &drill])
        .current_dir(home.path(""))
        .env("FROM", &to)
        .env("PATH", path)
        .output()
        .expect("bash runs");
    let text =
        String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{text}");
    assert!(text.contains("restored generation"), "{text}");
    assert!(text.contains("nothing is damaged"), "{text}");
    // The endpoint was one of the file, which the drill does not have.
    assert!(text.contains("0 pending, 1 held"), "{text}");
    assert!(receiver.seen().is_empty());
    assert!(!home.path("drill").exists() && !home.path("drill.toml").exists());
}
