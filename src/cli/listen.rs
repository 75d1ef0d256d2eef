//! `listen`: a receiver for development. Prints each request, checks its signature, and
//! answers with the status of `--status` or with the response of the URL of `--forward`.
//!
//! It listens on 127.0.0.1 only. What it prints came from outside, so control sequences are
//! escaped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::StatusCode;
use reqwest::Url;
use tokio::sync::watch;

use super::client::{Configured, Reach};
use super::forward::Forwarder;
use super::receiver::{Received, Receiver, Reply};
use super::secrets::SecretArgs;
use super::stop::asked_to_stop;
use super::{Failure, listen_source, print, print_json, show};
use crate::domain::signature::Secret;

/// Receive webhooks on this machine: print them, check their signatures, answer
#[derive(clap::Args)]
pub struct Listen {
    /// The port on 127.0.0.1; 0 takes a free one and prints it
    #[arg(long, short, default_value_t = 7718)]
    port: u16,
    #[command(flatten)]
    secrets: SecretArgs,
    /// The status to answer
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = status)]
    status: StatusCode,
    /// Pass each request on to this URL, headers and all, and answer what it answers
    #[arg(long, value_name = "URL", conflicts_with = "status", value_parser = url)]
    forward: Option<Url>,
    /// Follow what this source of the daemon takes in, instead of listening
    #[arg(long, value_name = "ID", conflicts_with_all = ["port", "status", "secrets", "files"])]
    source: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

fn status(text: &str) -> Result<StatusCode, String> {
    let code = text
        .parse::<u16>()
        .ok()
        .filter(|code| (200..=599).contains(code));
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    status.ok_or_else(|| "a status is 200 to 599".to_owned())
}

fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|fault| fault.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("an http or https URL is wanted".to_owned()),
    }
}

/// Runs until SIGINT or SIGTERM, or until its output is closed.
pub async fn run(args: Listen, configured: Configured) -> Result<(), Failure> {
    let Some(source) = &args.source else {
        return listen(&args).await;
    };
    let following = listen_source::Following {
        client: args.reach.client(configured)?,
        source: source.clone(),
        forward: args.forward.clone().map(Forwarder::new).transpose()?,
        json: args.json,
    };
    tokio::select! {
        ended = following.follow() => ended,
        () = asked_to_stop()? => Ok(()),
    }
}

/// What every request needs.
struct Listening {
    secrets: Vec<Secret>,
    status: StatusCode,
    forward: Option<Forwarder>,
    json: bool,
    /// Set once there is no point in going on.
    broken: watch::Sender<Option<Failure>>,
}

async fn listen(args: &Listen) -> Result<(), Failure> {
    let (broken, mut breaks) = watch::channel(None);
    let listening = Arc::new(Listening {
        secrets: args.secrets.read()?,
        status: args.status,
        forward: args.forward.clone().map(Forwarder::new).transpose()?,
        json: args.json,
        broken,
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let receiver = Receiver::bind(address).await;
    let receiver = receiver
        .map_err(|error| Failure::Failed(format!("cannot listen on {address}: {error}")))?;
    let asked = asked_to_stop()?;
    let here = format!("http://{}", receiver.address());
    match args.json {
        true => print_json(&serde_json::json!({ "listening": here }))?,
        false => print(&format!("listening on {here}\n"))?,
    }
    let stop = async {
        tokio::select! {
            () = asked => {}
            _ = breaks.changed() => {}
        }
    };
    let shared = listening.clone();
    let answer = move |received| {
        let listening = shared.clone();
        async move { listening.answer(received).await }
    };
    receiver.serve(answer, stop).await;
    match listening.broken.send_replace(None) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

impl Listening {
    async fn answer(&self, received: Received) -> Reply {
        let (reply, note) = match &self.forward {
            None => (self.status.into(), None),
            Some(forwarder) => match forwarder.forward(&received).await {
                Ok(reply) => (reply, None),
                Err(detail) => (StatusCode::BAD_GATEWAY.into(), Some(detail)),
            },
        };
        let verdict = received.verdict(&self.secrets);
        let shown = show::Shown::new(&received, verdict, reply.status, note.as_deref());
        let printed = match self.json {
            true => print_json(&shown),
            false => print(&shown.readable()),
        };
        if let Err(failure) = printed {
            self.broken.send_replace(Some(failure));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn statuses_and_urls_are_checked() {
        assert_eq!(status("503"), Ok(StatusCode::SERVICE_UNAVAILABLE));
        for bad in ["", "99", "100", "101", "600", "OK"] {
            assert!(status(bad).is_err(), "{bad}");
        }
        assert!(url("http://localhost:3000/hook").is_ok());
        assert!(url("ftp://x/").is_err() && url("localhost").is_err());
    }
}
