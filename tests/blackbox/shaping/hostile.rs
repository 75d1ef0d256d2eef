//! Templates by hostile tenants: refused or held, and no delivery of others waits for them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::endpoint_api::id_of;
use crate::harness::{Home, Receiver, endpoint};

/// What the whole daemon may have at its peak, in bytes. Two renderings of 16 MiB may go on at once.
const MOST_MEMORY: u64 = 256 << 20;

/// How long the delivery of another tenant may take meanwhile, on a machine that is busy.
const PROMPT: Duration = Duration::from_secs(2);

fn templates() -> Vec<String> {
    let written = [
        "{{ 'x' * 1000000000 }}",
        "{{ data.s * 100000000 }}",
        "{{ [1] * 100000000 }}",
        "{% for i in range(1000000000) %}x{% endfor %}",
        "{% for i in range(30000) %}{% for j in range(30000) %}{% endfor %}{% endfor %}",
        "{% for a in data.s %}{% for b in data.s %}{% for c in data.s %}x{% endfor %}{% endfor %}{% endfor %}",
        "{{ data.s | indent(100000000) }}",
        "{{ data.lines | indent(10000) }}",
        "{{ data.s | center(1000000000) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%*d' | format(1000000000, 1) }}",
        "{{ data.list | join(data.s) | replace('', data.s) | replace('', data.s) }}",
        "{{ data.s | replace('x', data.s) | replace('x', data.s) }}",
        "{{ data.list | batch(1000000000, data.s) | list }}",
        "{{ range(1000000) | batch(1) | list }}",
        "{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
        "{% set a = data.s ~ data.s ~ data.s %}{% set b = [a, a, a, a] %}{% set c = [b, b, b, b] %}{% set d = [c, c, c, c] %}{% set e = [d, d, d, d] %}{{ [e, e, e, e, e, e, e, e] }}",
        "{{ 9 ** 999999999 }}",
        "{{ data.s | list | sort | reverse | unique | join(data.s) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% include data.s %}",
        "{{ data.s.__class__ }}",
        "{{ [data, data, data] | map(attribute='s') | join | upper | title | capitalize | urlencode | urlencode | urlencode | urlencode | urlencode | urlencode }}",
    ];
    let nested = [
        format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("{}1", "-".repeat(20_000)),
        format!("{}1", "not ".repeat(20_000)),
        format!("1{}", " + 1".repeat(20_000)),
        format!("data{}", ".a".repeat(20_000)),
        format!("data{}", " | string".repeat(20_000)),
    ];
    let nested = nested.iter().map(|source| format!("{{{{ {source} }}}}"));
    let blocks = format!(
        "{}{}",
        "{% if true %}".repeat(5000),
        "{% endif %}".repeat(5000)
    );
    let written = written.iter().map(|source| (*source).to_owned());
    written.chain(nested).chain([blocks]).collect()
}

#[test]
fn hostile_templates_hurt_nobody_else() {
    let receiver = Receiver::ok();
    let evil = Receiver::ok();
    let home = Home::new();
    let good = "tenant = \"good\"\ntemplate = '{\"n\": {{ data.n }}}'";
    let daemon = home.start(&endpoint("good", &receiver.url("/"), good));
    let (mut ids, mut refused) = (Vec::new(), 0);
    for source in templates() {
        let definition = json!({"url": evil.url("/"), "template": source, "content_type": "text/plain", "tenant": "evil"});
        let answer = daemon
            .tcp
            .post_json("/v1/endpoints", definition.to_string());
        match answer.status {
            201 => ids.push((id_of(&answer.json()), source)),
            _ => {
                answer.problem(400);
                refused += 1;
            }
        }
    }
    assert!(
        refused >= 5 && ids.len() >= 10,
        "{refused} refused, {} saved",
        ids.len()
    );
    let data = json!({"s": "x".repeat(20_000), "lines": "y\n".repeat(10_000), "list": vec![1; 1000], "n": 1});
    let event = daemon.send_with("a", &data.to_string(), "\"tenant\": \"evil\"");
    // While they are being rendered, others' events come and go.
    let mut slowest = Duration::ZERO;
    let mut open = ids.clone();
    let began = Instant::now();
    while !open.is_empty() {
        let at = Instant::now();
        let sent = daemon.send_with("a", r#"{"n": 1}"#, "\"tenant\": \"good\"");
        daemon.wait_status(&sent, "good", "delivered");
        slowest = slowest.max(at.elapsed());
        open.retain(|(id, _)| daemon.delivery(&event, id)["status"] == "pending");
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "never ends: {open:?}"
        );
    }
    assert!(slowest < PROMPT, "{slowest:?}");
    for (id, source) in &ids {
        let shown: String = source.chars().take(100).collect();
        let delivery = daemon.delivery(&event, id);
        let small = evil.seen().iter().all(|seen| seen.body.len() <= 1 << 20);
        let is_done =
            delivery["reason"] == "template" || (delivery["status"] == "delivered" && small);
        assert!(is_done, "{shown}: {delivery:#}");
    }
    let held = ids
        .iter()
        .filter(|(id, _)| daemon.delivery(&event, id)["status"] == "held");
    assert!(held.count() >= 10);
    assert!(
        daemon.memory_peak() < MOST_MEMORY,
        "{} MiB",
        daemon.memory_peak() >> 20
    );
}
