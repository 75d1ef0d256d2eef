//! `GET /v1/attempts`: lists of attempts, by endpoint and time.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

/// All attempts that a query finds, page by page.
#[track_caller]
fn all(daemon: &Daemon, query: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/attempts?limit={limit}&{query}{cursor}");
        let page = daemon.tcp.get(&path).expect(200);
        found.extend(page["data"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else {
            return found;
        };
        cursor = format!("&cursor={next}");
    }
}

fn ids(attempts: &[Value]) -> Vec<&str> {
    let ids = attempts.iter().map(|attempt| attempt["id"].as_str());
    ids.map(Option::unwrap).collect()
}

/// Waits until this many are found.
#[track_caller]
fn wait_all(daemon: &Daemon, query: &str, count: usize) -> Vec<Value> {
    wait_for(
        || Some(all(daemon, query, 1000)).filter(|found| found.len() == count),
        || format!("not {count}: {:#?}", all(daemon, query, 1000)),
    )
}

/// Two tenants, three endpoints: `a` answers 503, `b` delivers, `c` refuses connections.
fn three(receiver: &Receiver) -> String {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nowhere.local_addr().unwrap();
    drop(nowhere);
    let once = "[endpoint.retry]\nschedule = [\"1ms\", \"1ms\"]";
    endpoint("a", &receiver.url("/a"), once)
        + &endpoint("b", &receiver.url("/b"), "tenant = \"acme\"")
        + &endpoint(
            "c",
            &format!("http://{closed}/"),
            &format!("tenant = \"acme\"\n{once}"),
        )
}

fn receiver() -> Receiver {
    Receiver::answering(|seen| match seen.path.as_str() {
        "/a" => Answer::reply(503, &[], "busy"),
        _ => Answer::status(200),
    })
}

#[test]
fn attempts_are_listed_newest_first_with_each_filter() {
    let receiver = receiver();
    let home = Home::new();
    let config = three(&receiver);
    let daemon = home.start(&config);
    let mine = daemon.send("order.a", "1");
    let theirs: Vec<String> = (0..5)
        .map(|_| daemon.send_with("invoice.b", "1", r#""tenant": "acme""#))
        .collect();
    // Three at `a`, and for each of five one at `b` and three at `c`.
    daemon.wait_status(&mine, "a", "dead");
    for event in &theirs {
        daemon.wait_status(event, "c", "dead");
        daemon.wait_status(event, "b", "delivered");
    }
    let whole = all(&daemon, "", 1000);
    let known = ids(&whole);
    // An id begins with its millisecond.
    let moments = known.iter().map(|id| &id[.."att_".len() + 10]);
    assert!(moments.is_sorted_by(|a, b| a >= b), "{known:?}");
    assert_eq!(known.iter().collect::<BTreeSet<_>>().len(), known.len());
    // Each attempt is listed once, however small the pages are.
    for limit in [1, 2, 7] {
        assert_eq!(ids(&all(&daemon, "", limit)), known, "{limit}");
    }
    let of = |query: &str| all(&daemon, query, 3);
    let (a, b, c) = (of("endpoint=a"), of("endpoint=b"), of("endpoint=c"));
    assert_eq!((a.len(), b.len(), c.len()), (3, 5, 15));
    assert_eq!(a.len() + b.len() + c.len(), whole.len());
    assert!(
        a.iter()
            .all(|one| one["event"] == mine.as_str() && one["type"] == "order.a")
    );
    // Each attempt equals the one in its delivery.
    let delivery = daemon.delivery(&mine, "a");
    let stored = delivery["attempts"].as_array().unwrap();
    assert_eq!(a.len(), stored.len());
    for (listed, stored) in a.iter().zip(stored.iter().rev()) {
        for (key, value) in stored.as_object().unwrap() {
            assert_eq!(&listed[key], value, "{key}");
        }
    }
    assert_eq!(of("tenant=acme").len(), 20);
    assert_eq!(of("tenant=default").len(), 3);
    assert_eq!(of("type=invoice.*").len(), 20);
    assert_eq!(of("type=invoice.*&endpoint=a").len(), 0);
    assert_eq!(of("kind=connect").len(), 15);
    assert_eq!(of("status_code=200&tenant=acme").len(), 5);
    for query in ["status_code=5xx", "status_code=503", "kind=status"] {
        assert_eq!(of(query).len(), 3, "{query}");
    }
    assert_eq!(of("endpoint=nobody").len(), 0);
    // Times are of the attempt; `since` is inclusive, `until` exclusive.
    let middle = whole[whole.len() / 2]["at"].as_str().unwrap();
    let late = of(&format!("since={middle}"));
    let early = of(&format!("until={middle}"));
    assert_eq!(late.len() + early.len(), whole.len());
    assert!(late.iter().all(|one| one["at"].as_str() >= Some(middle)));
    assert!(early.iter().all(|one| one["at"].as_str() < Some(middle)));
}

#[test]
fn a_list_of_attempts_names_the_fault_of_its_query() {
    let home = Home::new();
    let daemon = home.start("");
    for (query, named) in [
        ("kind=late", "`kind`: not one of dns, connect"),
        ("status_code=70", "`status_code`"),
        ("type=.", "`type`"),
        ("status=dead", "unknown query parameter `status`"),
        ("cursor=AAAA", "cursor"),
        ("limit=0", "`limit`"),
    ] {
        let detail = daemon
            .tcp
            .get(&format!("/v1/attempts?{query}"))
            .problem(400);
        assert!(detail.contains(named), "{detail}");
    }
}

#[test]
fn attempts_are_the_same_after_a_kill_and_without_an_index_and_go_with_their_event() {
    let receiver = receiver();
    let home = Home::new();
    let config = three(&receiver);
    let daemon = home.start(&config);
    let erased = daemon.send_with("x", "1", r#""tenant": "acme""#);
    let kept = daemon.send_with("y", "1", r#""tenant": "acme""#);
    let before = wait_all(&daemon, "", 8);
    daemon.kill();
    let daemon = home.start(&config);
    assert_eq!(all(&daemon, "", 1000), before);
    daemon.stop();
    fs::remove_dir_all(home.data_dir().join("index")).unwrap();
    let daemon = home.start(&config);
    assert_eq!(all(&daemon, "", 1000), before);
    let path = format!("/v1/events/{erased}");
    assert_eq!(daemon.tcp.request("DELETE", &path, &[], b"").status, 204);
    let left = all(&daemon, "", 1000);
    assert_eq!(left.len(), 4);
    assert!(left.iter().all(|one| one["event"] == kept.as_str()));
    // A purge removes dead deliveries together with their attempts.
    let purge = daemon
        .tcp
        .post_json("/v1/endpoints/c/purge", r#"{"status": "dead"}"#);
    assert_eq!(purge.expect(202)["matched"], 1);
    assert_eq!(wait_all(&daemon, "", 1)[0]["endpoint"], "b");
}
