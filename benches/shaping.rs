//! What shaping costs: a rendering, a delivery with a template, ten thousand filters over one
//! event, and the templates and filters of hostile authors that `hostile/` has.
//!
//! Beside it, in the same run: serde_json reading and writing the same event, a delivery without a
//! template, bare requests, handing in for a tenant without filters.

#[path = "rig/bare.rs"]
mod bare;
#[path = "rig/cpu.rs"]
mod cpu;
#[path = "rig/daemon.rs"]
mod daemon;
#[path = "hostile/filters.rs"]
mod hostile_filters;
#[path = "hostile/templates.rs"]
mod hostile_templates;
#[path = "rig/load.rs"]
mod load;
#[path = "rig/pipeline.rs"]
mod pipeline;
#[path = "rig/report.rs"]
mod report;
#[path = "rig/runtime.rs"]
mod runtime;
#[path = "rig/server.rs"]
mod server;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use outboxd::domain::content::Content;
use outboxd::domain::endpoint::{Endpoint, EndpointId, EndpointNo, Ordering, Source, TypePattern};
use outboxd::domain::event::{EventId, EventType, NewEvent, Payload, Tenant};
use outboxd::domain::filter::Filter;
use outboxd::domain::json::Json;
use outboxd::domain::render::render;
use outboxd::domain::retry::RetryPolicy;
use outboxd::domain::shaping::{Around, Shaping, read};
use outboxd::domain::template::{EventFields, Limits, Names, Output, Template};
use outboxd::domain::time::Timestamp;
use outboxd::outbox::Filters;
use outboxd::outbox::endpoints::Endpoints;
use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};

use load::{Connection, EVENT};
use pipeline::Sink;
use report::{Asked, Report, Row};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Pairs of daemons with a template and without.
const PAIRS: usize = 8;
/// Of the hostile.
const TRIES: usize = 1_000;
/// `max_event_size` of the default configuration.
const LONGEST: usize = 1 << 20;

fn main() {
    let asked = Asked::read();
    let report = Report::new("shaping", asked);
    rendering(&report, if asked.smoke { 1_000 } else { 100_000 });
    keeping(&report);
    matching(&report, if asked.smoke { 100 } else { 10_000 });
    hostile(&report, if asked.smoke { TRIES / 10 } else { TRIES });
    handing_in(&report, if asked.smoke { (50, 50) } else { (10_000, 500) });
    delivering(&report, if asked.smoke { 200 } else { 10_000 });
}

/// A template of 1 KiB: names, a loop, a condition and some filters.
fn template() -> String {
    let head = concat!(
        r#"{"text": {{ data.customer.name }}, "amount": {{ data.amount }}, "id": {{ event.id }}, "#,
        r#""blocks": [{% for item in data["items"] %}{"type": "section", "text": "#,
        r#"{{ item.sku ~ " x " ~ item.qty }}}{% if not loop.last %},{% endif %}{% endfor %}], "#,
        r#""note": {% if data.amount > 10 %}{{ data.note|truncate(60)|upper }}{% else %}null"#,
        r#"{% endif %}, "pad": ""#
    );
    format!("{head}{}\"}}", "p".repeat(1024 - head.len() - 2))
}

/// The data of an event of 1 KiB.
fn data() -> String {
    let head = concat!(
        r#"{"customer":{"name":"Ada"},"amount":12.50,"status":"paid","items":["#,
        r#"{"sku":"a","qty":1},{"sku":"b","qty":2},{"sku":"c","qty":3.5}],"note":""#
    );
    format!("{head}{}\"}}", "n ".repeat((1024 - head.len() - 2) / 2))
}

fn shaping(definition: &str) -> Arc<Shaping> {
    let Ok(Json::Object(given)) = Json::parse(definition.as_bytes()) else {
        panic!("the definition is an object");
    };
    let around = Around {
        headers: &http::HeaderMap::new(),
        secrets: &[],
        is_reserved: |_| false,
    };
    let shaping = read(&given, around).expect("the definition is valid");
    Arc::new(shaping.expect("it shapes something"))
}

fn endpoint(id: &str, shaping: Arc<Shaping>) -> Endpoint {
    Endpoint {
        id: EndpointId::new(id).expect("it is an id"),
        tenant: Tenant::default(),
        url: "https://example.invalid/".parse().expect("it is a URL"),
        types: vec![TypePattern::Any],
        secrets: Vec::new(),
        headers: Arc::default(),
        max_in_flight: 16,
        rate_limit: None,
        ordering: Ordering::None,
        timeout: Duration::from_secs(15),
        http2: true,
        retry: Arc::new(RetryPolicy::default()),
        allow_networks: Vec::new(),
        enabled: true,
        source: Source::Api,
        description: String::new(),
        shaping: Some(shaping),
        applied_as: None,
    }
}

fn event_type() -> EventType {
    EventType::new("bench.shaping").expect("it is a type")
}

/// Renders as a delivery does: reads the event's data, makes the context, renders, checks.
fn rendering(report: &Report, count: u32) {
    let definition = serde_json::json!({ "template": template() }).to_string();
    let shaping = shaping(&definition);
    let endpoint = endpoint("ep", shaping.clone());
    let (head, data) = (r#"{"type":"bench.shaping","data":"#, data());
    let content = Content {
        tenant: Tenant::default(),
        event_type: event_type(),
        key: None,
        accepted_at: Timestamp::from_millis(1_700_000_000_000),
        content_type: "application/json".into(),
        opaque: false,
        body: format!("{head}{data}}}").into(),
        data_at: u32::try_from(head.len()).expect("it is short"),
        extras: None,
    };
    let (mut ours, mut plain) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..10 {
        ours += timed(count / 10, || {
            render(
                &endpoint,
                &shaping,
                EventId(7),
                black_box(&content),
                LONGEST,
            )
            .expect("it can be rendered")
        });
        plain += timed(count / 10, || {
            let json: serde_json::Value =
                serde_json::from_str(black_box(&data)).expect("it is JSON");
            json.to_string()
        });
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    report.row(&Row {
        measure: "rendering 1 KiB by a template of 1 KiB".to_owned(),
        value: micros(ours),
        unit: "us",
        limit: Some(("serde_json, read and written", micros(plain))),
    });
}

/// What a template of 1 KiB keeps, beside the bytes of its source.
fn keeping(report: &Report) {
    const COUNT: usize = 1_000;
    let source = template();
    let before = MEMORY.current_usage();
    let kept: Vec<Template> = (0..COUNT)
        .map(|_| Template::parse(&source, Output::Json).expect("it is a template"))
        .collect();
    let bytes = MEMORY.current_usage().saturating_sub(before) / kept.len();
    report.row(&Row {
        measure: "memory of a template of 1 KiB".to_owned(),
        value: bytes as f64 / 1024.0,
        unit: "KiB",
        limit: Some(("its source", source.len() as f64 / 1024.0)),
    });
}

/// CPU time of this thread, so that others on the machine do not count.
fn timed<T>(count: u32, mut run: impl FnMut() -> T) -> Duration {
    let start = cpu_time();
    for _ in 0..count {
        black_box(run());
    }
    cpu_time().saturating_sub(start)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Each endpoint's own: none holds but for one, and each has to look into the data.
fn filter(n: u64) -> String {
    format!(
        r#"{{"data": {{"status": {{"$in": ["paid", "open"]}}, "amount": {{"$gte": {}.5}},
        "customer.name": {{"$startsWith": "A"}}}}}}"#,
        n + 12
    )
}

/// What handing in asks before it is the writer's turn.
fn matching(report: &Report, endpoints: u64) {
    let mut all = Endpoints::default();
    for n in 0..endpoints {
        let filter = format!(r#"{{"filter": {}}}"#, filter(n));
        let endpoint = endpoint(&format!("ep{n}"), shaping(&filter));
        let no = u32::try_from(n).expect("there are fewer");
        all.put(EndpointNo(no), Some(Arc::new(endpoint)));
    }
    let event = [NewEvent {
        tenant: Tenant::default(),
        event_type: event_type(),
        payload: Payload::Json(data().into()),
        key: None,
        idempotency_key: None,
        deliver_at: None,
        extras: None,
    }];
    let mut times = samples(50, || {
        let filters = Filters::of(&all, &event);
        assert!(!filters.is_empty());
        filters.judge(&event)
    });
    for (name, percent) in [("median", 50), ("p99", 99)] {
        report.row(&Row {
            measure: format!("filters of {endpoints} endpoints, {name}"),
            value: percentile(&mut times, percent).as_secs_f64() * 1e3,
            unit: "ms",
            limit: None,
        });
    }
}

fn samples<T>(count: usize, mut run: impl FnMut() -> T) -> Vec<Duration> {
    (0..count).map(|_| timed(1, &mut run)).collect()
}

fn percentile(values: &mut [Duration], percent: usize) -> Duration {
    values.sort();
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// Reading and, if it is not refused, running: what each try took, and the most memory of one.
fn hostile(report: &Report, tries: usize) {
    let names = hostile_templates::documents().iter().map(|data| {
        let names = Names::of_event(EventFields::default(), Some(data.clone()));
        names.with_json("d", data.clone())
    });
    let names: Vec<Names> = names.collect();
    let sources = hostile_templates::sources();
    let limits = Limits {
        steps: Limits::STEPS,
        output: LONGEST,
    };
    show(report, "templates", tries, |n| {
        let (_, source) = &sources[n % sources.len()];
        let names = &names[n / sources.len() % names.len()];
        let template = Template::parse(source, Output::Json);
        let _ = black_box(template.map(|template| template.render(names, limits)));
    });
    let pairs = hostile_filters::pairs()
        .into_iter()
        .map(|(condition, value)| {
            let root = Json::parse(format!(r#"{{"a":{value}}}"#).as_bytes());
            (format!(r#"{{"a":{condition}}}"#), root.expect("it is JSON"))
        });
    let pairs: Vec<(String, Json)> = pairs.collect();
    show(report, "filters", tries, |n| {
        let (filter, root) = &pairs[n % pairs.len()];
        let _ = black_box(Filter::parse_text(filter).map(|filter| filter.judge(root)));
    });
}

fn show(report: &Report, what: &str, tries: usize, run: impl Fn(usize)) {
    let (mut times, mut most) = (Vec::with_capacity(tries), 0);
    for n in 0..tries {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        times.push(timed(1, || run(n)));
        most = most.max(MEMORY.peak_usage().saturating_sub(before));
    }
    for (name, percent) in [("median", 50), ("p99", 99), ("slowest", 100)] {
        report.row(&Row {
            measure: format!("hostile {what}, {name}"),
            value: percentile(&mut times, percent).as_secs_f64() * 1e3,
            unit: "ms",
            limit: None,
        });
    }
    report.row(&Row {
        measure: format!("hostile {what}, most memory"),
        value: most as f64 / f64::from(1 << 20),
        unit: "MiB",
        limit: None,
    });
}

/// An event with [`data`], of a tenant.
fn event(tenant: &str) -> Bytes {
    let data = data();
    format!(r#"{{"type":"bench.shaping","tenant":"{tenant}","data":{data}}}"#).into()
}

/// 202 for a tenant with so many filters beside one with none, in turns. No filter holds, so that
/// nothing else is to be done.
fn handing_in(report: &Report, (endpoints, events): (u64, usize)) {
    let sink = Sink::start();
    let table = |n: u64| {
        let filter = filter(n + 1).replace('\n', "");
        format!(
            "{}tenant = \"filtered\"\nfilter = '{filter}'\n",
            sink.endpoint(&format!("e{n}"))
        )
    };
    let config: String = (0..endpoints).map(table).collect();
    let home = daemon::home();
    let daemon = daemon::start(home.path(), &config);
    let runtime = runtime::current_thread();
    let (mut filtered, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        plain.extend(runtime.block_on(latencies(daemon.address, "plain", events / 2)));
        filtered.extend(runtime.block_on(latencies(daemon.address, "filtered", events / 2)));
    }
    for (name, percent) in [("median", 50), ("p99", 99)] {
        let millis = |values: &mut [Duration]| percentile(values, percent).as_secs_f64() * 1e3;
        report.row(&Row {
            measure: format!("202 beside {endpoints} filters, {name}"),
            value: millis(&mut filtered),
            unit: "ms",
            limit: Some(("tenant without filters", millis(&mut plain))),
        });
    }
}

/// Of events handed in one after the other.
async fn latencies(address: SocketAddr, tenant: &str, count: usize) -> Vec<Duration> {
    let mut connection = Connection::open(address).await;
    let body = event(tenant);
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        connection.post(EVENT, body.clone()).await;
        times.push(start.elapsed());
    }
    times
}

/// Two daemons in turns, one with a template: the CPU time that a delivery takes.
fn delivering(report: &Report, events: u64) {
    let sink = Sink::start();
    // The bench's events have no other data.
    let names = r#""x": {{ data.x|upper }}, "id": {{ event.id }}"#;
    let with = format!(
        "{}template = '{{{names}, \"pad\": \"{}\"}}'\n",
        sink.endpoint("sink"),
        "p".repeat(950)
    );
    let configs = [sink.endpoint("sink"), with];
    let homes = [daemon::home(), daemon::home()];
    let daemons = [0, 1].map(|n: usize| daemon::start(homes[n].path(), &configs[n]));
    let mut spent = [0.0, 0.0];
    let mut ratios = Vec::new();
    let (mut took, mut bare) = (Duration::ZERO, Duration::ZERO);
    for pair in 0..=PAIRS {
        let mut pair_spent = [0.0, 0.0];
        for n in [pair % 2, 1 - pair % 2] {
            let before = cpu::seconds(&daemons[n].child);
            let time = sink.deliver(&daemons[n], events, 1, 1024);
            took += if n == 1 { time } else { Duration::ZERO };
            pair_spent[n] = cpu::seconds(&daemons[n].child) - before;
        }
        bare += sink.bare(events, 1024);
        // The first one warms up.
        if pair > 0 {
            spent = [spent[0] + pair_spent[0], spent[1] + pair_spent[1]];
            ratios.push(pair_spent[1] / pair_spent[0]);
        }
    }
    let per_second = |time: Duration| (events * (PAIRS as u64 + 1)) as f64 / time.as_secs_f64();
    report.row(&Row {
        measure: "deliveries with a template".to_owned(),
        value: per_second(took),
        unit: "/s",
        limit: Some(("bare requests", per_second(bare))),
    });
    let micros = |spent: f64| spent * 1e6 / (events as f64 * PAIRS as f64);
    report.row(&Row {
        measure: "daemon's CPU for a delivery with a template".to_owned(),
        value: micros(spent[1]),
        unit: "us",
        limit: Some(("without one", micros(spent[0]))),
    });
    ratios.sort_by(f64::total_cmp);
    report.row(&Row {
        measure: "the same, median of the pairs' ratios".to_owned(),
        value: ratios[ratios.len() / 2],
        unit: "",
        limit: None,
    });
}
