//! `listen`: a receiver for development. Prints each request, checks its signature, and
//! answers with the status of `--status` or with the response of the URL of `--forward`.
//!
//! It listens on 127.0.0.1 only. What it prints came from outside, so control sequences are
//! escaped.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, StatusCode, header};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::receiver::{MAX_BODY, Received, Receiver, Reply};
use super::secrets::SecretArgs;
use super::{Failure, print, print_json, show};
use crate::domain::signature::Secret;
use crate::transport::tls;

/// For what `--forward` answers.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
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
pub fn run(args: &Listen) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    runtime.block_on(listen(args))
}

/// What every request needs.
struct Listening {
    secrets: Vec<Secret>,
    status: StatusCode,
    forward: Option<(Client, Url)>,
    json: bool,
    /// Set once there is no point in going on.
    broken: watch::Sender<Option<Failure>>,
}

async fn listen(args: &Listen) -> Result<(), Failure> {
    let (broken, mut breaks) = watch::channel(None);
    let listening = Arc::new(Listening {
        secrets: args.secrets.read()?,
        status: args.status,
        forward: args.forward.clone().map(forwarder).transpose()?,
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

/// Ends with SIGINT or SIGTERM.
fn asked_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let on = |kind| {
        signal(kind).map_err(|error| Failure::Failed(format!("cannot handle signals: {error}")))
    };
    let (mut interrupt, mut terminate) =
        (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

impl Listening {
    async fn answer(&self, received: Received) -> Reply {
        let (reply, note) = match &self.forward {
            None => (self.status.into(), None),
            Some((client, url)) => match forward(client, url, &received).await {
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

fn forwarder(url: Url) -> Result<(Client, Url), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("--forward: {error}"));
    let tls = tls::client_config(None).map_err(|error| failed(&error))?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .timeout(FORWARD_TIMEOUT)
        .build();
    Ok((client.map_err(|error| failed(&error))?, url))
}

/// Headers that belong to one connection, not to the message (RFC 9110, 7.6.1), and those
/// that the next one gets anew.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in OF_THE_CONNECTION {
        passed.remove(name);
    }
    passed.remove("keep-alive");
    passed
}

/// Sends the same on and brings back what came; an error is a sentence without the URL.
async fn forward(client: &Client, url: &Url, received: &Received) -> Result<Reply, String> {
    let broke = |error: reqwest::Error| {
        let error = error.without_url();
        let cause = std::error::Error::source(&error);
        cause.map_or(error.to_string(), |cause| cause.to_string())
    };
    let request = client
        .request(received.method.clone(), url.clone())
        .headers(passed_on(&received.headers))
        .body(received.body.clone());
    let mut response = request.send().await.map_err(broke)?;
    let (status, headers) = (response.status(), passed_on(response.headers()));
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(broke)? {
        if body.len().saturating_add(chunk.len()) > MAX_BODY {
            return Err("the answer is too large".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Reply {
        status,
        headers,
        body: Bytes::from(body),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, Method};
    use tokio::sync::oneshot;

    fn received() -> Received {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("elsewhere.example"));
        headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
        headers.insert("connection", HeaderValue::from_static("close"));
        Received {
            at: crate::clock::now(),
            method: Method::POST,
            path: "/in".to_owned(),
            headers,
            body: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn a_forwarded_request_is_the_same_and_so_is_its_answer() {
        let behind = Receiver::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let url: Url = format!("http://{}/app?x=1", behind.address())
            .parse()
            .unwrap();
        let host = behind.address().to_string();
        let answer = move |received: Received| {
            assert_eq!(received.header("webhook-id"), Some("evt_1"));
            assert_eq!(received.header("host"), Some(host.as_str()));
            assert_eq!(
                (received.path.as_str(), &received.body[..]),
                ("/app?x=1", &b"{}"[..])
            );
            let mut reply = Reply::from(StatusCode::IM_A_TEAPOT);
            reply
                .headers
                .insert("x-kind", HeaderValue::from_static("tea"));
            reply.body = Bytes::from_static(b"short");
            std::future::ready(reply)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(behind.serve(answer, async {
            let _ = stopped.await;
        }));
        let (client, url) = forwarder(url).unwrap();
        let reply = forward(&client, &url, &received()).await.unwrap();
        assert_eq!(reply.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(
            (reply.headers["x-kind"].as_bytes(), &reply.body[..]),
            (&b"tea"[..], &b"short"[..])
        );
        assert!(!reply.headers.contains_key("content-length"));
        drop(stop);
        serving.await.unwrap();
        let gone = forward(&client, &url, &received()).await.unwrap_err();
        assert!(!gone.contains("x=1"), "{gone}");
    }

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
