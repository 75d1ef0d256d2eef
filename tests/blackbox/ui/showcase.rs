//! `demo --ui`: a daemon with sample traffic, until somebody ends it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::http::Interface;
use crate::harness::{Home, wait_for};

#[test]
fn the_pages_live_until_the_demo_is_ended() {
    let home = Home::new();
    let temporary = home.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut child = home
        .command()
        .args(["demo", "--ui", "--json"])
        .env("TMPDIR", &temporary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = || -> Value {
        let line = lines.next().expect("it goes on").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    let ready = line();
    assert_eq!(ready["what"], "ready");
    let ui = ready["ui"].as_str().unwrap();
    let base = ui.strip_suffix("/ui/").unwrap();
    let portal = ready["portal"].as_str().unwrap();
    assert!(
        portal.starts_with(&format!("{base}/portal/#c=")),
        "{portal}"
    );
    let address = base.strip_prefix("http://").unwrap().parse().unwrap();
    let daemon = Interface::Tcp(address);
    let page = |path: &str| {
        let page = daemon.get(path);
        assert_eq!(page.status, 200, "{path}");
        page.text()
    };
    assert!(page("/ui/").contains("Endpoints in trouble"));
    // All states come by themselves, and events of both tenants, and the source's.
    for wanted in [
        "/v1/deliveries?status=delivered",
        "/v1/deliveries?status=dead",
        "/v1/deliveries?status=held",
        "/v1/events?tenant=acme",
        "/v1/events?type=stripe.*",
    ] {
        let found = || {
            let listed = daemon.get(wanted).expect(200);
            let data = listed["data"].as_array()?;
            (!data.is_empty()).then_some(())
        };
        wait_for(found, || format!("nothing at {wanted}"));
    }
    assert!(page("/ui/endpoints").contains("Shop system"));

    // Ctrl-C of a terminal reaches the daemon too; a signal to one process has to do.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let finished = line();
    assert_eq!(finished["what"], "finished");
    assert!(finished["events"].as_u64() > Some(0));
    assert!(child.wait().unwrap().success());
    assert!(daemon.connect().is_err(), "the daemon goes on");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}
