//! Counts over time, of endpoints, tenants and all.

use serde_json::{Value, json};

use crate::harness::{Answer, Daemon, Home, Receiver, endpoint, wait_for};

/// The sum of all steps, without their percentiles.
#[track_caller]
fn sums(daemon: &Daemon, path: &str) -> Value {
    let stats = daemon.tcp.get(path).expect(200);
    let (mut accepted, mut delivered) = (0, 0);
    let mut failed = serde_json::Map::new();
    for step in stats["data"].as_array().unwrap() {
        accepted += step["accepted"].as_u64().unwrap();
        delivered += step["delivered"].as_u64().unwrap();
        for (kind, count) in step["failed"].as_object().unwrap() {
            let sum = failed.get(kind).and_then(Value::as_u64).unwrap_or(0);
            failed.insert(kind.clone(), (sum + count.as_u64().unwrap()).into());
        }
    }
    json!({"accepted": accepted, "delivered": delivered, "failed": failed})
}

/// Of two endpoints, their tenant, and all.
#[track_caller]
fn all_sums(daemon: &Daemon, step: &str) -> [Value; 4] {
    let of = |path: &str| sums(daemon, &format!("{path}?step={step}"));
    [
        of("/v1/endpoints/sick/stats"),
        of("/v1/endpoints/well/stats"),
        sums(daemon, &format!("/v1/stats?tenant=acme&step={step}")),
        of("/v1/stats"),
    ]
}

#[test]
fn events_and_attempts_are_counted_and_counts_survive_a_kill() {
    let receiver = Receiver::answering(|seen| match seen.path.as_str() {
        "/sick" => Answer::status(500),
        _ => Answer::status(200),
    });
    let home = Home::new();
    let sick = "tenant = \"acme\"\n[endpoint.retry]\nschedule = [\"1ms\"]";
    let config = endpoint("sick", &receiver.url("/sick"), sick)
        + &endpoint("well", &receiver.url("/well"), "tenant = \"acme\"")
        + &endpoint("other", &receiver.url("/well"), "");
    let mut daemon = home.start(&config);
    for _ in 0..3 {
        let event = daemon.send_with("a", "1", r#""tenant": "acme""#);
        daemon.wait_status(&event, "sick", "dead");
        daemon.wait_status(&event, "well", "delivered");
    }
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "other", "delivered");
    // Each dead delivery is an event of the tenant too: `outboxd.delivery.dead`.
    let expected = [
        json!({"accepted": 3, "delivered": 0, "failed": {"status": 6}}),
        json!({"accepted": 3, "delivered": 3, "failed": {}}),
        json!({"accepted": 6, "delivered": 3, "failed": {"status": 6}}),
        json!({"accepted": 7, "delivered": 4, "failed": {"status": 6}}),
    ];
    for round in 0..3 {
        for step in ["1m", "15m"] {
            assert_eq!(all_sums(&daemon, step), expected, "round {round}, {step}");
        }
        match round {
            0 => daemon.kill(),
            // Without an index they are counted from the log.
            _ => {
                daemon.stop();
                std::fs::remove_dir_all(home.data_dir().join("index")).unwrap();
            }
        }
        daemon = home.start(&config);
    }
}

#[test]
fn a_step_has_percentiles_and_its_place() {
    let receiver = Receiver::ok();
    let home = Home::new();
    let daemon = home.start(&endpoint("one", &receiver.url("/"), ""));
    let empty = daemon.tcp.get("/v1/endpoints/one/stats").expect(200);
    assert_eq!(empty["step_s"], 60);
    let steps = empty["data"].as_array().unwrap();
    assert_eq!(steps.len(), 120);
    assert_eq!(steps[0]["at"], empty["since"]);
    let is_empty = |step: &Value| step["p50_ms"].is_null() && step["accepted"] == 0;
    assert!(steps.iter().all(is_empty));
    let event = daemon.send("a", "1");
    daemon.wait_status(&event, "one", "delivered");
    let attempt = &daemon.delivery(&event, "one")["attempts"][0];
    let took = attempt["duration_ms"].as_f64().unwrap();
    let step = wait_for(
        || {
            let stats = daemon.tcp.get("/v1/stats").expect(200);
            let steps = stats["data"].as_array().unwrap().clone();
            steps.into_iter().find(|step| step["delivered"] == 1)
        },
        || "it is not counted".to_owned(),
    );
    for percentile in ["p50_ms", "p95_ms"] {
        let told = step[percentile].as_f64().unwrap();
        assert!((told - took).abs() <= took / 8.0, "{took}: {step}");
    }
    assert_eq!(daemon.tcp.get("/v1/endpoints/two/stats").status, 404);
    let nobody = sums(&daemon, "/v1/stats?tenant=nobody");
    let nothing = json!({"accepted": 0, "delivered": 0, "failed": {}});
    assert_eq!(nobody, nothing);
    for (query, named) in [
        ("step=90s", "`step`"),
        ("since=x", "`since`"),
        ("to=a", "`to`"),
    ] {
        let detail = daemon.tcp.get(&format!("/v1/stats?{query}")).problem(400);
        assert!(detail.contains(named), "{detail}");
    }
}
