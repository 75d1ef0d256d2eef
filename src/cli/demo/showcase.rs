//! `demo --ui`: the pages over sample traffic, until somebody ends it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::super::client::{Client, Fault};
use super::super::keygen::new_secret;
use super::super::paint::{ACCENT, DIM, Paint};
use super::super::receiver::Receiver;
use super::super::{Failure, print, print_json};
use super::daemon::Daemon;
use super::traffic::{self, CUSTOMER, CUSTOMERS_ENDPOINTS, PAUSED, SOURCE};

/// The port that is tried first: the daemon's own.
const PORT: u16 = 7717;
/// Between two events.
const EVERY: Duration = Duration::from_millis(250);
/// One of so many events comes in through the source.
const CALL_EVERY: u64 = 12;
/// A signal to the whole process group reaches this process within.
const SIGNALLED_WITHIN: Duration = Duration::from_millis(500);

/// Where the pages are.
#[derive(Debug, Serialize)]
struct Ready {
    what: &'static str,
    /// The operator's pages.
    ui: String,
    /// A link to the customer's portal, which opens one session.
    portal: String,
}

#[derive(Debug, Serialize)]
struct Finished {
    what: &'static str,
    /// Sent by the demo.
    events: u64,
}

#[derive(Deserialize)]
struct Link {
    url: String,
}

/// Runs until `stop`, then ends the daemon.
pub async fn run(
    json: bool,
    daemon: &mut Daemon,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let receiver = Receiver::bind((Ipv4Addr::LOCALHOST, 0).into()).await;
    let receiver = receiver
        .map_err(|error| Failure::Failed(format!("cannot listen on 127.0.0.1: {error}")))?;
    let address = receiver.address();
    tokio::spawn(receiver.serve(traffic::answer, std::future::pending()));
    let base = format!("http://127.0.0.1:{}", free_port()?);
    let listen = format!(
        "http = \"{}\"\ninbound = \"127.0.0.1:0\"\npublic_url = \"{base}\"",
        base.trim_start_matches("http://"),
    );
    let secret = new_secret()?;
    daemon.configure(&listen, &traffic::config(address, &secret.reveal()))?;
    let client = daemon.start().await?;
    let ready = prepare(&client, address, &base).await?;
    tell(json, &ready)?;
    let mut events = 0;
    let mut stop = pin!(stop);
    let refused = tokio::select! {
        refused = send(&client, &mut events) => Some(refused),
        () = &mut stop => None,
    };
    // Ctrl-C reaches the daemon too, which may be the first to end.
    if let Some(fault) = refused
        && timeout(SIGNALLED_WITHIN, stop).await.is_err()
    {
        return Err(daemon.explain(&fault.to_string()));
    }
    daemon.stop().await?;
    let what = "finished";
    match json {
        true => print_json(&Finished { what, events }),
        false => print(&format!(
            "\n{events} events were sent; everything is removed.\n"
        )),
    }
}

/// The daemon's usual port, or one that is free. Another process may take it before the daemon does,
/// which then says so.
fn free_port() -> Result<u16, Failure> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = bind(PORT).or_else(|_| bind(0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| Failure::Failed(format!("no port of 127.0.0.1 is free: {error}")))
}

/// Makes the customer's endpoints and their link, and pauses an endpoint.
async fn prepare(client: &Client, address: SocketAddr, base: &str) -> Result<Ready, Failure> {
    for (description, path, types) in CUSTOMERS_ENDPOINTS {
        let endpoint = json!({
            "tenant": CUSTOMER,
            "url": format!("http://{address}/{path}"),
            "types": [types],
            "description": description,
        });
        client.post_json("/v1/endpoints", &endpoint).await?;
    }
    let disable = format!("/v1/endpoints/{PAUSED}/disable");
    client
        .post(&disable, HeaderMap::new(), Bytes::new())
        .await?;
    let link = json!({
        "tenant": CUSTOMER,
        "expires_in": "7d",
        "capabilities": ["view", "manage", "replay", "secrets"],
    });
    let link = client.post_json("/v1/portal/links", &link).await?;
    let link: Link = client.read(&link)?;
    Ok(Ready {
        what: "ready",
        ui: format!("{base}/ui/"),
        portal: link.url,
    })
}

fn tell(json: bool, ready: &Ready) -> Result<(), Failure> {
    if json {
        return print_json(ready);
    }
    let paint = Paint::for_stdout();
    let text = format!(
        "{}\n  your pages         {}\n  a customer's page  {}\n\n{}",
        paint.paint(
            DIM,
            "The real daemon, with the events of a shop and receivers that fail as real ones do.\n"
        ),
        paint.paint(ACCENT, &ready.ui),
        paint.paint(ACCENT, &ready.portal),
        paint.paint(
            DIM,
            "The second link opens one session. Ctrl-C ends all, and removes it.\n"
        ),
    );
    print(&text)
}

/// Posts events until one is refused.
async fn send(client: &Client, events: &mut u64) -> Fault {
    let mut ticks = interval(EVERY);
    // A laptop that slept does not make up for what it missed.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let call = format!("/v1/sources/{SOURCE}/test");
    loop {
        ticks.tick().await;
        let sent = match *events % CALL_EVERY {
            0 => client.post(&call, HeaderMap::new(), Bytes::new()).await,
            _ => {
                let event = traffic::event(*events);
                client.post_json("/v1/events", &event).await
            }
        };
        if let Err(fault) = sent {
            return fault;
        }
        *events = events.saturating_add(1);
    }
}
