//! The address guard, counted at the sockets: in a network namespace of its own every
//! address is local, so whatever the daemon dials arrives here, and nowhere else.
//!
//! The test makes the namespaces and runs itself in them. Where that is not allowed (it takes `unshare`, `ip` and user namespaces) it says so and is skipped; the
//! transport's own tests count connections on loopback all the same.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::namespaces::is_inside;
use crate::harness::{Daemon, Home, endpoint, wait_for};

/// Names the file that stands for `/etc/hosts` inside.
const HOSTS: &str = "OUTBOXD_TEST_HOSTS";
const THIS: &str = "guard::no_address_of_the_table_is_dialled";
/// Everything is local: what is dialled is accepted by whoever listens on all addresses.
const NETWORK: &str = "ip link set lo up && ip route add local 0.0.0.0/0 dev lo \
    && ip -6 route add local ::/0 dev lo && mount --bind \"$OUTBOXD_TEST_HOSTS\" /etc/hosts";

/// First, last and some address of each range that is not public.
const BLOCKED: &[&str] = &[
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "10.0.0.0",
    "10.1.2.3",
    "10.255.255.255",
    "100.64.0.0",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.255.255",
    "172.16.0.0",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.170",
    "192.0.0.255",
    "192.0.2.1",
    "192.0.2.255",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "203.0.113.255",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "254.255.255.255",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[fe80::1]",
    "[febf::1]",
    "[fc00::1]",
    "[fdff::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[ff0e::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[2001:2::1]",
    "[100::1]",
    "[2001:10::1]",
    "[4000::1]",
    // Forms that carry an IPv4 address: mapped, compatible, NAT64, 6to4, Teredo.
    "[::ffff:10.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:169.254.169.254]",
    "[::ffff:7f00:1]",
    "[::10.0.0.1]",
    "[::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[2002:a00:1::]",
    "[2002:7f00:1::1]",
    "[2002:c0a8:101::]",
    "[2001:0:a00:1::1]",
    "[2001:0:4136:e378:8000:63bf:f5ff:fffe]",
    // Odd spellings of addresses above.
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0177.0.0.01",
    "0",
    "10.1",
    "0xa000001",
    "167772161",
    "192.168.257",
    "127.0.0.1.",
    "%31%30.0.0.1",
    "⑩.0.0.1",
    "１０.0.0.1",
    "10。0。0。1",
    "[0:0:0:0:0:ffff:a00:1]",
    "[::FFFF:0A00:0001]",
    // Names that lead to such.
    "localhost",
    "LOCALHOST",
    "in.guard.test",
    "meta.guard.test",
    "six.guard.test",
    "both.guard.test",
    "mapped.guard.test",
];

/// Public addresses, and a name that has one beside two bad ones: these are dialled.
const OPEN: &[(&str, &str)] = &[
    ("93.184.216.34", "93.184.216.34"),
    ("100.63.255.255", "100.63.255.255"),
    ("172.32.0.1", "172.32.0.1"),
    ("[2606:4700::1111]", "2606:4700::1111"),
    ("[64:ff9b::5db8:d822]", "64:ff9b::5db8:d822"),
    ("mixed.guard.test", "93.184.216.77"),
];

const NAMES: &str = "127.0.0.1 localhost\n::1 localhost\n10.0.0.1 in.guard.test\n\
    169.254.169.254 meta.guard.test\nfd00::5 six.guard.test\n10.0.0.1 both.guard.test\n\
    ::1 both.guard.test\n::ffff:10.0.0.1 mapped.guard.test\n10.0.0.7 mixed.guard.test\n\
    93.184.216.77 mixed.guard.test\nfd00::7 mixed.guard.test\n";

#[test]
fn no_address_of_the_table_is_dialled() {
    if let Ok(hosts) = std::env::var(HOSTS) {
        return inside(Path::new(&hosts));
    }
    let home = Home::new();
    let hosts = home.path("hosts");
    std::fs::write(&hosts, NAMES).unwrap();
    let hosts = hosts.display().to_string();
    is_inside(THIS, NETWORK, &[(HOSTS, &hosts)]);
}

/// Who came: how often each address was dialled.
#[derive(Clone, Default)]
struct Dialled(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

impl Dialled {
    /// Answers 200 on all addresses, and closes, so that each attempt dials.
    fn listen() -> (Dialled, u16) {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let dialled = Dialled::default();
        let counting = dialled.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let dialled = stream.local_addr().unwrap().ip().to_canonical();
                *counting.0.lock().unwrap().entry(dialled).or_default() += 1;
                std::thread::spawn(move || answer(stream));
            }
        });
        (dialled, port)
    }

    fn all(&self) -> BTreeMap<IpAddr, usize> {
        self.0.lock().unwrap().clone()
    }
}

fn answer(mut stream: std::net::TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let (mut text, mut some) = (Vec::new(), [0; 4096]);
    let head_ends = |text: &[u8]| text.windows(4).position(|four| four == b"\r\n\r\n");
    while head_ends(&text).is_none() {
        match stream.read(&mut some) {
            Ok(read) if read > 0 => text.extend_from_slice(&some[..read]),
            _ => return,
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
}

/// In the namespaces.
fn inside(hosts: &Path) {
    let (dialled, port) = Dialled::listen();
    let home = Home::new();
    let mut config = "[delivery]\nallow_http = true\n[retry]\nfirst = \"1h\"\n".to_owned();
    let of = |id: &str, host: &str, kind: &str| {
        endpoint(
            id,
            &format!("http://{host}:{port}/"),
            &format!("types = [\"{kind}\"]\n"),
        )
    };
    for (n, host) in BLOCKED.iter().enumerate() {
        config += &of(&format!("bad-{n}"), host, "all");
    }
    for (n, (host, _)) in OPEN.iter().enumerate() {
        config += &of(&format!("good-{n}"), host, "all");
    }
    config += &of("changing", "changing.guard.test", "change");
    let daemon = home.start(&config);

    let event = daemon.send("all", "1");
    for (n, host) in BLOCKED.iter().enumerate() {
        let delivery = tried(&daemon, &event, &format!("bad-{n}"), 1);
        assert_eq!(kind(&delivery), "blocked", "{host}: {delivery}");
        assert_eq!(
            delivery["attempts"][0]["address"],
            serde_json::Value::Null,
            "{host}"
        );
    }
    for n in 0..OPEN.len() {
        daemon.wait_status(&event, &format!("good-{n}"), "delivered");
    }
    let expected: BTreeMap<IpAddr, usize> = OPEN
        .iter()
        .map(|(_, ip)| (ip.parse().unwrap(), 1))
        .collect();
    assert_eq!(dialled.all(), expected, "only public addresses, each once");

    changing_names(&daemon, hosts, &dialled);
}

/// A name that is good, then bad, then both, then good again.
fn changing_names(daemon: &Daemon, hosts: &Path, dialled: &Dialled) {
    let good: IpAddr = "93.184.216.99".parse().unwrap();
    let lead_to = |addresses: &[&str]| {
        let lines: String = addresses
            .iter()
            .map(|ip| format!("{ip} changing.guard.test\n"))
            .collect();
        std::fs::write(hosts, NAMES.to_owned() + &lines).unwrap();
    };
    let before = dialled.all().len();
    lead_to(&["93.184.216.99"]);
    let first = daemon.send("change", "1");
    daemon.wait_status(&first, "changing", "delivered");
    lead_to(&["10.0.0.9"]);
    let second = daemon.send("change", "2");
    assert_eq!(kind(&tried(daemon, &second, "changing", 1)), "blocked");
    lead_to(&["10.0.0.9", "93.184.216.99", "169.254.169.254"]);
    let path = format!("/v1/events/{second}/deliveries/changing/retry");
    daemon.unix.post(&path).expect(202);
    daemon.wait_status(&second, "changing", "delivered");
    let all = dialled.all();
    assert_eq!(all.get(&good), Some(&2));
    assert_eq!(all.len(), before + 1, "{all:?}");
}

fn tried(daemon: &Daemon, event: &str, endpoint: &str, times: u64) -> serde_json::Value {
    wait_for(
        || {
            let delivery = daemon.delivery(event, endpoint);
            (delivery["attempt_count"].as_u64() >= Some(times)).then_some(delivery)
        },
        || format!("{endpoint} was not attempted"),
    )
}

fn kind(delivery: &serde_json::Value) -> &str {
    let attempts = delivery["attempts"].as_array().unwrap();
    attempts.last().unwrap()["error"]["kind"]
        .as_str()
        .unwrap_or("none")
}
