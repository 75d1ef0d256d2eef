//! `outboxd login`: a link that logs a browser in at the operator's pages.

use serde::{Deserialize, Serialize};

use super::client::{Configured, Reach};
use super::paint::plain;
use super::target::Target;
use super::{Failure, print, print_json};

/// Print a link that logs a browser in at the operator's pages
///
/// The link works once, within two minutes, and opens a session of the token that asked for it. Over
/// the Unix socket no token is needed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Deserialize)]
struct Login {
    path: String,
    url: Option<String>,
    expires_at: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    url: &'a str,
    expires_at: &'a str,
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let answer = client
        .post_json("/v1/logins", &serde_json::json!({}))
        .await?;
    let login: Login = client.read(&answer)?;
    let url = match (client.target(), login.url) {
        // The address that reached the daemon from here does so from a browser here.
        (Target::Tcp { authority, prefix }, _) => {
            format!("http://{authority}{prefix}{}", login.path)
        }
        (Target::Unix(_), Some(url)) => url,
        (Target::Unix(_), None) => {
            return Err(Failure::Failed(format!(
                "outboxd does not listen on this machine's loopback, so a browser here cannot log in \
                 over plain HTTP; open {} at its HTTPS address within two minutes",
                plain(&login.path)
            )));
        }
    };
    if args.json {
        let shown = Shown {
            url: &url,
            expires_at: &login.expires_at,
        };
        return print_json(&shown);
    }
    print(&format!("{}\n", plain(&url)))
}
