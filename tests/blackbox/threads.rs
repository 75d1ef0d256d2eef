//! What is seen from outside is the same with any number of threads that make attempts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Answer, Gate, Home, Receiver, endpoint, wait_for};

const NUMBERS: [usize; 3] = [1, 2, 5];
const ENDPOINTS: usize = 12;
const EVENTS: usize = 10;

fn threads(number: usize, max_in_flight: usize) -> String {
    format!(
        "[delivery]\nthreads = {number}\nmax_in_flight = {max_in_flight}\n\
         allow_networks = [\"127.0.0.0/8\"]\n"
    )
}

fn names_of_threads(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    let names = tasks.filter_map(|task| name(task.unwrap()).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn limits_hold_everything_arrives_once_and_in_order() {
    for number in NUMBERS {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, peak) = (now.clone(), most.clone());
        let receiver = Receiver::answering(move |_| {
            let many = count.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(many, Ordering::SeqCst);
            std::thread::yield_now();
            count.fetch_sub(1, Ordering::SeqCst);
            Answer::status(200)
        });
        let home = Home::new();
        let mut config = threads(number, 6);
        for n in 0..ENDPOINTS {
            let more = "ordering = \"strict\"";
            config += &endpoint(&format!("e{n}"), &receiver.url(&format!("/{n}")), more);
        }
        let daemon = home.start(&config);
        let running = || {
            let names = names_of_threads(daemon.pid());
            names
                .iter()
                .filter(|name| name.starts_with("attempts-"))
                .count()
        };
        // Each gives itself its name.
        let expected = if number == 1 { 0 } else { number };
        wait_for(
            || (running() == expected).then_some(()),
            || format!("{} threads for attempts", running()),
        );
        for n in 0..EVENTS {
            daemon.send("a", &n.to_string());
        }
        let seen = receiver.wait(ENDPOINTS * EVENTS);
        let mut orders: HashMap<&str, Vec<String>> = HashMap::new();
        for one in &seen {
            let body: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
            let order = orders.entry(one.path.as_str()).or_default();
            order.push(body["data"].to_string());
        }
        let expected: Vec<String> = (0..EVENTS).map(|n| n.to_string()).collect();
        assert_eq!(orders.len(), ENDPOINTS);
        for (path, order) in orders {
            assert_eq!(order, expected, "{path} with {number} threads");
        }
        assert!(most.load(Ordering::SeqCst) <= 6);
        assert!(daemon.stop().success());
    }
}

#[test]
fn what_is_in_flight_is_known_and_finishes_at_a_stop() {
    for number in NUMBERS {
        let gate = Gate::new();
        let held = gate.clone();
        let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held));
        let home = Home::new();
        let mut config = threads(number, 64);
        for n in 0..4 {
            config += &endpoint(&format!("e{n}"), &receiver.url(&format!("/{n}")), "");
        }
        let daemon = home.start(&config);
        let id = daemon.send("a", "1");
        receiver.wait(4);
        let explained = daemon
            .tcp
            .get(&format!("/v1/events/{id}/deliveries/e0/explain"));
        assert!(
            explained.text().contains("in_flight"),
            "{}",
            explained.text()
        );
        assert_eq!(daemon.metric("outboxd_attempts_in_flight"), 4.0);
        daemon.terminate();
        daemon.wait_log("stopping");
        gate.open();
        assert!(daemon.wait_exit().success());
        // Nothing is sent again: the outcomes were stored.
        let daemon = home.start(&config);
        for n in 0..4 {
            daemon.wait_status(&id, &format!("e{n}"), "delivered");
        }
        assert_eq!(receiver.seen().len(), 4, "with {number} threads");
    }
}
