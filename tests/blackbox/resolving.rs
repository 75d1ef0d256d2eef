//! Names whose DNS servers hang. In namespaces of its own, where the name server is the test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::harness::namespaces::is_inside;
use crate::harness::{Home, Receiver, endpoint, wait_for};

const THIS: &str = "resolving::fresh_names_that_hang_do_not_stop_the_look_ups_of_others";
/// `/etc/resolv.conf` and nsswitch as on a server, with a name server that the test plays. A
/// look-up that it does not answer takes a minute.
const NETWORK: &str = "ip link set lo up \
    && printf 'nameserver 127.0.0.1\\noptions timeout:30 attempts:2\\n' > \"$OUTBOXD_TEST_RESOLV\" \
    && printf 'hosts: dns\\n' > \"$OUTBOXD_TEST_NSSWITCH\" \
    && mount --bind \"$OUTBOXD_TEST_RESOLV\" /etc/resolv.conf \
    && mount --bind \"$OUTBOXD_TEST_NSSWITCH\" /etc/nsswitch.conf";
/// More than there are places for look-ups that were never slow.
const HANGING: usize = 100;

/// Answers what begins with "good" with 127.0.0.1 (RFC 1035, 4.1), and nothing else.
fn serve_names() {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((read, from)) = socket.recv_from(&mut query) {
            let query = &query[..read];
            if !query[12..].starts_with(b"\x04good") {
                continue;
            }
            // The question ends with a zero, a type and a class.
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = query[end - 4..end - 2] == [0, 1];
            let mut answer = query[..end].to_vec();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[6..12].copy_from_slice(&[0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn fresh_names_that_hang_do_not_stop_the_look_ups_of_others() {
    let home = Home::new();
    let file = |name: &str| {
        let path = home.path(name);
        std::fs::write(&path, "").unwrap();
        path.display().to_string()
    };
    let (resolv, nsswitch) = (file("resolv.conf"), file("nsswitch.conf"));
    let env = [
        ("OUTBOXD_TEST_RESOLV", resolv.as_str()),
        ("OUTBOXD_TEST_NSSWITCH", nsswitch.as_str()),
    ];
    if !is_inside(THIS, NETWORK, &env) {
        return;
    }
    serve_names();
    let receiver = Receiver::ok();
    let port = receiver.address().port();
    let mut config =
        "[delivery]\nallow_networks = [\"127.0.0.0/8\"]\nconnect_timeout = \"50s\"\ntimeout = \"50s\"\n".to_owned();
    for n in 0..HANGING {
        // Domains of their own: nothing that is known of one says anything of another.
        let url = format!("http://hangs.domain{n}.test:{port}/");
        config += &endpoint(&format!("hangs{n}"), &url, "types = [\"hangs\"]\n");
    }
    for n in 0..3 {
        let url = format!("http://good.domain-{n}.test:{port}/");
        config += &endpoint(&format!("good{n}"), &url, "types = [\"good\"]\n");
    }
    let daemon = home.start(&config);
    let hanging = daemon.send("hangs", "1");
    let in_flight = || daemon.status()["backlog"]["in_flight"].as_u64();
    wait_for(
        || (in_flight() >= Some(HANGING as u64)).then_some(()),
        || format!("{:?} attempts hang", in_flight()),
    );
    let good = daemon.send("good", "1");
    for n in 0..3 {
        daemon.wait_status(&good, &format!("good{n}"), "delivered");
    }
    // They were delivered while the others still hung.
    for n in 0..HANGING {
        let delivery = daemon.delivery(&hanging, &format!("hangs{n}"));
        assert_eq!(delivery["attempt_count"], 0, "{delivery}");
    }
}

const THE_OTHER: &str = "resolving::an_address_that_does_not_answer_leaves_time_for_the_next_one";
const TWO_ADDRESSES: &str = "ip link set lo up && mount --bind \"$OUTBOXD_TEST_HOSTS\" /etc/hosts";

#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_next_one() {
    let home = Home::new();
    let hosts = home.path("hosts");
    std::fs::write(&hosts, "127.0.0.1 two.test\n127.0.0.2 two.test\n").unwrap();
    let env = [("OUTBOXD_TEST_HOSTS", hosts.to_str().unwrap())];
    if !is_inside(THE_OTHER, TWO_ADDRESSES, &env) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    // The first one has no room for a connection: the kernel drops what asks for one.
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let silent = silent.listen(0).unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut filling = Vec::new();
    let patience = Duration::from_millis(500);
    while let Ok(stream) = TcpStream::connect_timeout(&silent.local_addr().unwrap(), patience) {
        filling.push(stream);
    }
    let listener = TcpListener::bind(("127.0.0.2", port)).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut text = Vec::new();
            let mut some = [0; 4096];
            // The body is JSON, and ends with a brace.
            while !text.ends_with(b"}") {
                match stream.read(&mut some) {
                    Ok(read) if read > 0 => text.extend_from_slice(&some[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let config = "[delivery]\nconnect_timeout = \"2s\"\nallow_networks = [\"127.0.0.0/8\"]\n";
    let config = config.to_owned() + &endpoint("one", &format!("http://two.test:{port}/"), "");
    let daemon = home.start(&config);
    let event = daemon.send("a", "1");
    let delivery = daemon.wait_status(&event, "one", "delivered");
    assert_eq!(delivery["attempt_count"], 1, "{delivery}");
}
