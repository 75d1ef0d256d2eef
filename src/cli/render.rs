//! `outboxd render`: what an endpoint would be sent. Nothing is sent.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::client::{Configured, Reach};
use super::paint::{BOLD, DIM, Paint, plain};
use super::sample::{Asked, Sample, raw};
use super::{Failure, print};
use crate::domain::endpoint::EndpointId;

/// Show what an endpoint would be sent of an event; nothing is sent
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    endpoint: EndpointId,
    #[command(flatten)]
    sample: Sample,
    /// Print the response as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Rendered {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    body_base64: Option<String>,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let asked = match args.sample.asked()? {
        Asked::Id(id) => format!(r#"{{"event":{id}}}"#),
        Asked::New(event) => event,
    };
    let client = args.reach.client(configured)?;
    let path = format!("/v1/endpoints/{}/render", args.endpoint);
    let answer = client.post_json(&path, &raw(asked)?).await?;
    if args.json {
        return print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    print(&readable(&client.read(&answer)?, Paint::for_stdout()))
}

fn readable(rendered: &Rendered, paint: Paint) -> String {
    let line = format!("{} {}", plain(&rendered.method), plain(&rendered.url));
    let mut out = format!("{}\n", paint.paint(BOLD, &line));
    for (name, value) in &rendered.headers {
        let name = paint.paint(DIM, &format!("{}:", plain(name)));
        out.push_str(&format!("{name} {}\n", plain(value)));
    }
    let body = rendered.body.as_deref().or(rendered.body_base64.as_deref());
    let lines = body.unwrap_or_default().lines();
    out.push('\n');
    for line in lines {
        out.push_str(&format!("{}\n", plain(line)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_shown_as_it_would_be_sent() {
        let rendered: Rendered = serde_json::from_str(
            r#"{"method":"POST","url":"https://example.com/hook",
            "headers":{"content-type":"application/json","x-a":"…"},"body":"{\"a\":1}\n2\u001b"}"#,
        )
        .unwrap();
        assert_eq!(
            readable(&rendered, Paint { colour: false }),
            "POST https://example.com/hook\ncontent-type: application/json\nx-a: …\n\n{\"a\":1}\n2\\u{1b}\n"
        );
    }
}
