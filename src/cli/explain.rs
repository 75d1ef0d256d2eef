//! `outboxd explain`: why an event did or did not reach an endpoint.

use serde::Deserialize;
use url::{Host, Url};

use super::answers::{Attempt, Delivery, Received, Retry};
use super::client::{Configured, Reach};
use super::deliveries::{self, Named};
use super::endpoints::retried;
use super::paint::{ACCENT, BAD, BOLD, DIM, GOOD, Paint, WARN, plain};
use super::when;
use super::{Failure, print};
use crate::clock;
use crate::domain::time::Timestamp;

/// Explain why an event did or did not reach an endpoint, and what comes next
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    named: Named,
    /// Print the response as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Explained {
    event: String,
    endpoint: String,
    r#type: String,
    matched: bool,
    answer: String,
    detail: String,
    next_at: Option<Timestamp>,
    policy: Option<Policy>,
    received: Option<Received>,
    delivery: Option<Delivery>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    url: String,
    types: Vec<String>,
    max_in_flight: u64,
    rate_limit: Option<String>,
    ordering: String,
    timeout: String,
    retry: Retry,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let answer = client
        .get(&format!("{}/explain", args.named.path()))
        .await?;
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    let explained: Explained = client.read(&answer)?;
    print(&readable(&explained, clock::now(), Paint::for_stdout()))
}

fn readable(explained: &Explained, now: Timestamp, paint: Paint) -> String {
    let style = match explained.answer.as_str() {
        "delivered" => GOOD,
        "dead" => BAD,
        "in_flight" | "queued" | "waiting" => ACCENT,
        _ => WARN,
    };
    let answer = explained.answer.replace('_', " ");
    // The detail is a sentence of its own for those who read JSON.
    let rest = explained.detail.strip_prefix(&answer);
    let rest = rest.and_then(|rest| rest.strip_prefix(": ").or(rest.strip_prefix(' ')));
    let detail = rest.unwrap_or(&explained.detail);
    let mut out = format!(
        "{}  {}  to {}\n{}: {}\n\n",
        paint.paint(BOLD, &plain(&explained.event)),
        plain(&explained.r#type),
        paint.paint(BOLD, &plain(&explained.endpoint)),
        paint.paint(style, &plain(&answer)),
        plain(detail),
    );
    let mut fact = |name: &str, text: &str| {
        if !text.is_empty() {
            let name = paint.paint(DIM, &format!("{name:<9}"));
            out.push_str(&format!("{name}{}\n", plain(text)));
        }
    };
    if let Some(received) = &explained.received {
        fact("received", &received.in_words());
    }
    fact(
        "matched",
        if explained.matched {
            "yes, when it was accepted"
        } else {
            "no"
        },
    );
    if let Some(policy) = &explained.policy {
        fact("url", &policy.url);
        fact("wants", &policy.types.join(" "));
        fact("policy", &policy.in_words());
        fact("retry", &retried(&policy.retry));
    }
    if let Some(at) = explained.next_at {
        fact(
            "next",
            &format!("{} ({})", when::moment(at), when::relative(at, now)),
        );
    }
    if let Some(delivery) = &explained.delivery {
        out.push('\n');
        let url = explained.policy.as_ref().map(|policy| policy.url.as_str());
        let way = Way::to(url.unwrap_or_default());
        let steps = |attempt: &Attempt| way.steps(attempt);
        out.push_str(&deliveries::block_with(delivery, now, paint, &steps));
    }
    out
}

/// What an attempt goes through to get to a URL.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// The URL has a name, which DNS knows the addresses of.
    named: bool,
    encrypted: bool,
}

impl Way {
    fn to(url: &str) -> Way {
        let url = Url::parse(url).ok();
        let host = url.as_ref().and_then(Url::host);
        Way {
            named: !matches!(host, Some(Host::Ipv4(_) | Host::Ipv6(_))),
            encrypted: url.as_ref().is_none_or(|url| url.scheme() == "https"),
        }
    }

    /// How far an attempt came: `DNS ✓ address ✓ connect ✗`. Empty for a timeout, whose
    /// detail says what took so long.
    fn steps(self, attempt: &Attempt) -> String {
        let kind = attempt.error.as_ref().map(|error| error.kind.as_str());
        let steps = [
            ("DNS", "dns", self.named),
            ("address", "blocked", true),
            ("connect", "connect", true),
            ("TLS", "tls", self.encrypted),
            ("answer", "protocol", true),
        ];
        if !matches!(kind, None | Some("status")) && !steps.iter().any(|step| kind == Some(step.1))
        {
            return String::new();
        }
        let mut out = Vec::new();
        for (name, of_kind, taken) in steps {
            let failed = kind == Some(of_kind);
            if taken || failed {
                out.push(format!("{name} {}", if failed { '✗' } else { '✓' }));
            }
            if failed {
                break;
            }
        }
        out.join(" ")
    }
}

impl Policy {
    fn in_words(&self) -> String {
        let rate = match &self.rate_limit {
            Some(rate) => format!("at most {rate}"),
            None => "no rate limit".to_owned(),
        };
        format!(
            "at most {} in flight, {rate}, ordering {}, timeout {}",
            self.max_in_flight, self.ordering, self.timeout
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_with_what_led_to_it() {
        let explained: Explained = serde_json::from_str(
            r#"{"event":"evt_1","endpoint":"e","tenant":"default","type":"a.b","matched":true,
            "answer":"breaker_open","detail":"the endpoint failed\u001b","behind":null,
            "next_at":"2026-01-01T00:02:00Z","lane":null,
            "received":{"source":"stripe-live","delivery_id":null,"verified_by":"secret 1",
              "remote":"203.0.113.7"},
            "policy":{"url":"https://example.com/","tenant":"default","types":["a.*","b"],
              "max_in_flight":16,"rate_limit":null,"ordering":"key","timeout":"20s",
              "retry":{"first":"5s","factor":3.0,"max":"6h","jitter":0.5,"give_up_after":"3d","schedule":[]}},
            "delivery":{"event":"evt_1","endpoint":"e","type":"a.b","status":"pending","reason":null,
              "attempt_count":1,"accepted_at":"2026-01-01T00:00:00Z","finished_at":null,
              "next_attempt_at":"2026-01-01T00:02:00Z","attempts":[
                {"at":"2026-01-01T00:00:05Z","duration_ms":41,"status":null,"response_body":"",
                 "error":{"kind":"tls","detail":"bad certificate"},"address":"192.0.2.1:443"}]}}"#,
        )
        .unwrap();
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(
            readable(&explained, now, Paint { colour: false }),
            "evt_1  a.b  to e\n\
             breaker open: the endpoint failed\\u{1b}\n\n\
             received by source stripe-live, verified by secret 1, from 203.0.113.7\n\
             matched  yes, when it was accepted\n\
             url      https://example.com/\n\
             wants    a.* b\n\
             policy   at most 16 in flight, no rate limit, ordering key, timeout 20s\n\
             retry    5s, then times 3 up to 6h; given up after 3d\n\
             next     2026-01-01 00:02:00.000Z (in 1m)\n\n\
             e  pending  1 attempt\n  \
             2026-01-01 00:00:00.000Z      +0ms  ● accepted\n  \
             2026-01-01 00:00:05.000Z     +5.0s  ✗ attempt 1  DNS ✓ address ✓ connect ✓ TLS ✗, \
             failed after 41ms at 192.0.2.1:443: tls: bad certificate\n  \
             2026-01-01 00:02:00.000Z       +2m  … attempt 2  in 1m\n"
        );
    }

    #[test]
    fn an_attempt_came_as_far_as_its_kind_says() {
        let steps = |url: &str, kind: Option<&str>| {
            let error = kind.map(|kind| serde_json::json!({"kind": kind, "detail": ""}));
            let attempt = serde_json::json!({"at": "2026-01-01T00:00:05Z", "duration_ms": 1,
                "status": null, "error": error, "address": null});
            Way::to(url).steps(&serde_json::from_value(attempt).unwrap())
        };
        let all = "DNS ✓ address ✓ connect ✓ TLS ✓ answer ✓";
        assert_eq!(steps("https://example.com/", None), all);
        assert_eq!(steps("https://example.com/", Some("status")), all);
        assert_eq!(steps("https://example.com/", Some("dns")), "DNS ✗");
        assert_eq!(
            steps("https://example.com/", Some("blocked")),
            "DNS ✓ address ✗"
        );
        assert_eq!(steps("https://example.com/", Some("timeout")), "");
        assert_eq!(
            steps("http://[::1]:1/", Some("connect")),
            "address ✓ connect ✗"
        );
        assert_eq!(
            steps("http://127.0.0.1/", Some("protocol")),
            "address ✓ connect ✓ answer ✗"
        );
    }
}
