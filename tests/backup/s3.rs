//! Shipping to a real S3 server (SeaweedFS), with faults between.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use crate::harness::*;
use crate::shop::*;

const DEAD: &str = "http://127.0.0.1:9/";

/// A server that ends with this process: it reads a pipe whose other end is here.
pub struct Server {
    port: u16,
    _dir: tempfile::TempDir,
    _child: Child,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// The server of all tests; `None`, said aloud, where there is none.
pub fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(start).as_ref();
    if server.is_none() {
        println!("SKIPPED: SeaweedFS cannot be had here (tests/s3-server.sh --find)");
    }
    server
}

fn start() -> Option<Server> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/s3-server.sh");
    let found = Command::new("bash").arg(&script).arg("--find").output();
    if !found.is_ok_and(|found| found.status.success()) {
        return None;
    }
    let dir = tempfile::Builder::new().prefix("outboxd-s3-").tempdir();
    let dir = dir.expect("a temporary directory");
    let port = free_ports();
    let mut child = Command::new("bash")
        .arg(&script)
        .arg(dir.path())
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let out = child.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(out)
        .read_line(&mut line)
        .expect("the server speaks");
    assert_eq!(line, "ready\n", "see {}", dir.path().display());
    Some(Server {
        port,
        _dir: dir,
        _child: child,
    })
}

/// The first of eight ports in a row that are free now, below those that are given out.
fn free_ports() -> u16 {
    let mut port = 10_000 + (std::process::id() % 2000) as u16 * 8;
    loop {
        let mut row = port..port + 8;
        if row.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return port;
        }
        port = if port > 31_000 { 10_000 } else { port + 8 };
    }
}

/// What stands between outboxd and the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Connections are closed at once.
    Away,
    /// Every request gets 503.
    Busy,
    /// Requests are cut off after so many bytes, and the connection is closed.
    Cut(usize),
    /// Each piece of up to 64 KiB waits first.
    Slow(Duration),
}

/// A proxy with faults.
struct Between {
    address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
}

impl Between {
    fn new(port: u16) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let fault = Arc::new(Mutex::new(Fault::None));
        let now = fault.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let fault = now.clone();
                std::thread::spawn(move || between(client, port, &fault));
            }
        });
        Between { address, fault }
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

fn between(mut client: TcpStream, port: u16, fault: &Arc<Mutex<Fault>>) {
    if *fault.lock().unwrap() == Fault::Away {
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)) else {
        return;
    };
    let (mut back, mut answer) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut answer, &mut back);
        let _ = back.shutdown(Shutdown::Both);
    });
    let mut piece = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(count) = client.read(&mut piece) {
        if count == 0 {
            break;
        }
        let now = *fault.lock().unwrap();
        match now {
            Fault::None => {}
            Fault::Away => break,
            Fault::Busy => {
                let _ = client.write_all(
                    b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
                break;
            }
            Fault::Cut(most) if passed + count > most => {
                let _ = server.write_all(&piece[..most.saturating_sub(passed)]);
                break;
            }
            Fault::Cut(_) => {}
            // What the fault is: a peer that is slow.
            Fault::Slow(wait) => std::thread::sleep(wait),
        }
        passed += count;
        if server.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}

/// The configuration that ships to `prefix` of the bucket.
pub fn to_s3(home: &Home, address: SocketAddr, prefix: &str) -> String {
    let keys = home.path("keys");
    if !keys.exists() {
        write_keys(home, "SK");
    }
    format!(
        "{}endpoint = \"http://{address}\"\nregion = \"us-east-1\"\ncredentials_file = {keys:?}\n",
        shipping(&format!("s3://outboxd/{prefix}"))
    )
}

fn write_keys(home: &Home, secret: &str) {
    let text = format!("[default]\naws_access_key_id = AK\naws_secret_access_key = {secret}\n");
    std::fs::write(home.path("keys"), text).unwrap();
}

pub fn restore_s3(home: &Home, server: &Server, prefix: &str, more: &[&str]) -> (Home, Ran) {
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let keys = home.path("keys");
    let mut args = vec!["--endpoint", &endpoint, "--region", "us-east-1"];
    args.extend(["--credentials-file", keys.to_str().unwrap()]);
    args.extend(more);
    restore(&format!("s3://outboxd/{prefix}"), &args)
}

#[test]
fn what_was_acknowledged_comes_back_from_s3() {
    let Some(server) = server() else { return };
    let home = Home::new();
    let address = server.address();
    let key = home.path("key");
    std::fs::write(&key, "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n").unwrap();
    let config = format!(
        "{}{}key_file = {key:?}\n",
        endpoint("orders", DEAD, ""),
        to_s3(&home, address, "a/b")
    );
    let daemon = home.start(&config);
    let body = format!("\"{}\"", "x".repeat(300_000));
    let events: Vec<String> = (0..30)
        .map(|_| daemon.send("order.created", &body))
        .collect();
    wait_shipped(&daemon);
    daemon.kill();
    lose(&home);
    let more = ["--key-file", key.to_str().unwrap()];
    let (restored, ran) = restore_s3(&home, server, "a/b", &more);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let daemon = restored.start(&config);
    for event in &events {
        assert_eq!(daemon.delivery(event, "orders")["status"], "pending");
    }
    // The restored store ships to the same place, under a generation of its own.
    let backup = wait_shipped(&daemon);
    assert!(
        backup["generation"]
            .as_str()
            .unwrap()
            .starts_with("00000002-")
    );
}

#[test]
fn a_store_with_faults_is_caught_up_with() {
    let Some(server) = server() else { return };
    let home = Home::new();
    let between = Between::new(server.port);
    let receiver = Receiver::ok();
    let config = format!(
        "{}{}",
        endpoint("orders", &receiver.url("/"), ""),
        to_s3(&home, between.address, "faults")
    );
    let daemon = home.start(&config);
    let mut events = Vec::new();
    let body = format!("\"{}\"", "x".repeat(100_000));
    let slow = Fault::Slow(Duration::from_millis(50));
    for fault in [Fault::Away, Fault::Busy, Fault::Cut(5000), slow] {
        events.push(daemon.send("order.created", "1"));
        wait_shipped(&daemon);
        let failures = daemon.metric("outboxd_backup_failures_total");
        between.set(fault);
        for _ in 0..5 {
            let event = daemon.send("order.created", &body);
            daemon.wait_status(&event, "orders", "delivered");
            events.push(event);
        }
        if fault != slow {
            wait_for(
                || (daemon.metric("outboxd_backup_failures_total") > failures).then_some(()),
                || format!("{fault:?}: {}", daemon.status()["backup"]),
            );
        }
        between.set(Fault::None);
        wait_shipped(&daemon);
    }
    daemon.kill();
    let (restored, ran) = restore_s3(&home, server, "faults", &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let daemon = restored.start(&endpoint("orders", DEAD, ""));
    for event in &events {
        daemon.unix.get(&format!("/v1/events/{event}")).expect(200);
    }
    assert_eq!(daemon.status()["damaged_records"], 0);
}

#[test]
fn keys_that_expire_are_replaced_without_a_restart() {
    let Some(server) = server() else { return };
    let home = Home::new();
    write_keys(&home, "expired");
    let address = server.address();
    let config = format!(
        "{}{}",
        endpoint("orders", DEAD, ""),
        to_s3(&home, address, "expiring")
    );
    let daemon = home.start(&config);
    daemon.wait_log("the log cannot be shipped");
    daemon.send("order.created", "1");
    write_keys(&home, "SK");
    wait_shipped(&daemon);
    assert!(!daemon.log_text().contains("aws_secret"));
    daemon.kill();
    let (_, ran) = restore_s3(&home, server, "expiring", &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
