//! `outboxd sources`: list, show, make, change, test and remove sources; rotate their secrets.
//!
//! Only `rotate` prints a secret, and only one that the daemon made.

mod fields;
mod view;

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::client::{Client, Configured, Reach};
use super::filter::{Part, QueryString};
use super::paint::{Paint, plain};
use super::shape::text_or_file;
use super::{Failure, answered, print, print_json};
use crate::clock;
use fields::{Fields, secret};
use view::{Source, Tested, details, table};

/// List sources of incoming webhooks; create, change, test or remove one; rotate its secret
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print the response as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub reach: Reach,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List sources by id
    List {
        /// Only sources of this tenant
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        part: Part,
    },
    /// Show a source: its URL, what came in, and the last calls that were refused
    Show { source: String },
    /// Create a source and print the URL for the provider
    Add {
        /// github, stripe, shopify, slack, …; not needed with --verify
        preset: Option<String>,
        /// Its id, which ends its URL [default: one that cannot be guessed]
        #[arg(long)]
        id: Option<String>,
        /// The tenant whose events its calls are [default: default]
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Change the given fields, and no others
    Set {
        source: String,
        /// Another provider
        #[arg(long)]
        preset: Option<String>,
        /// true or false
        #[arg(long, value_name = "BOOL")]
        enabled: Option<bool>,
        /// Back to the default: type, tolerance, rate_limit, …; may be given again
        #[arg(long = "default", value_name = "FIELD", value_delimiter = ',')]
        defaults: Vec<String>,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Set a new secret; the previous ones stay valid for the overlap
    Rotate {
        source: String,
        /// The file with the new secret, `-` for stdin; else one is made and printed
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// How long the old ones count too, such as 1h [default: 24h]
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
    },
    /// Sign a sample as the provider does, and send it to the source
    Test {
        source: String,
        /// The body of the sample, or @FILE [default: one of the provider's kind]
        #[arg(long, value_name = "TEXT")]
        body: Option<String>,
    },
    /// Remove a source; the events that it received stay
    Remove { source: String },
}

pub async fn run(args: Args, configured: Configured) -> Result<(), Failure> {
    let client = args.reach.client(configured)?;
    let json = args.json;
    match args.command {
        Command::List { tenant, part } => {
            let mut query = QueryString::default();
            query.add("tenant", tenant.as_deref());
            part.add_to(&mut query);
            let path = format!("/v1/sources{}", query.as_str());
            let answer = client.get(&path).await?;
            let paint = Paint::for_stdout();
            answered(json, &answer, || Ok(table(&client.read(&answer)?, paint)))
        }
        Command::Show { source } => {
            let answer = client.get(&path_of(&source)?).await?;
            answered(json, &answer, || readable(&client, &answer))
        }
        Command::Add {
            preset,
            id,
            tenant,
            fields,
        } => {
            let definition = definition(
                &fields,
                [("preset", preset), ("id", id), ("tenant", tenant)],
            )?;
            let answer = client.post_json("/v1/sources", &definition).await?;
            answered(json, &answer, || readable(&client, &answer))
        }
        Command::Set {
            source,
            preset,
            enabled,
            defaults,
            fields,
        } => {
            let change = change(&fields, preset, enabled, defaults)?;
            let answer = client.patch(&path_of(&source)?, &change).await?;
            answered(json, &answer, || readable(&client, &answer))
        }
        Command::Rotate {
            source,
            secret_file,
            overlap,
        } => {
            let mut body = Map::new();
            if let Some(overlap) = overlap {
                body.insert("overlap".to_owned(), overlap.into());
            }
            if let Some(file) = &secret_file {
                body.insert("secret".to_owned(), secret("--secret-file", file)?.into());
            }
            let path = format!("{}/rotate", path_of(&source)?);
            let answer = client.post_json(&path, &body).await?;
            answered(json, &answer, || {
                rotated(&client, &answer, secret_file.is_none())
            })
        }
        Command::Test { source, body } => test(&client, &source, body.as_deref(), json).await,
        Command::Remove { source } => {
            client.delete(&path_of(&source)?).await?;
            match json {
                true => print_json(&json!({"id": source, "deleted": true})),
                false => print(&format!("{} is removed\n", plain(&source))),
            }
        }
    }
}

async fn test(
    client: &Client,
    source: &str,
    body: Option<&str>,
    json: bool,
) -> Result<(), Failure> {
    let mut fields = Map::new();
    if let Some(body) = body {
        fields.insert("body".to_owned(), text_or_file("--body", body)?.into());
    }
    let path = format!("{}/test", path_of(source)?);
    let answer = client.post_json(&path, &fields).await?;
    let tested: Tested = client.read(&answer)?;
    if json {
        print(&format!("{}\n", String::from_utf8_lossy(&answer)))?;
    } else if tested.reason.is_none() {
        let events = match tested.events.is_empty() {
            true => "no event".to_owned(),
            false => tested.events.join(" "),
        };
        print(&format!("answered {}  {}\n", tested.status, plain(&events)))?;
    }
    match (tested.reason, tested.detail) {
        (None, _) => Ok(()),
        (Some(reason), detail) => Err(Failure::Failed(format!(
            "the sample was refused with {}: {}: {}",
            tested.status,
            plain(&reason),
            plain(&detail.unwrap_or_default())
        ))),
    }
}

/// The body that makes a source.
fn definition(
    fields: &Fields,
    texts: [(&str, Option<String>); 3],
) -> Result<Map<String, Value>, Failure> {
    let mut definition = fields.object()?;
    for (name, text) in texts {
        if let Some(text) = text {
            definition.insert(name.to_owned(), text.into());
        }
    }
    Ok(definition)
}

/// The body of a change: what was given, and `null` for what goes back to its default.
fn change(
    fields: &Fields,
    preset: Option<String>,
    enabled: Option<bool>,
    defaults: Vec<String>,
) -> Result<Map<String, Value>, Failure> {
    let mut change = fields.object()?;
    if let Some(preset) = preset {
        change.insert("preset".to_owned(), preset.into());
    }
    if let Some(enabled) = enabled {
        change.insert("enabled".to_owned(), enabled.into());
    }
    for field in defaults {
        let field = field.replace('-', "_");
        if change.insert(field.clone(), Value::Null).is_some() {
            return Err(Failure::Usage(format!(
                "--default {field} and a value for it"
            )));
        }
    }
    match change.is_empty() {
        true => Err(Failure::Usage("say what to change, see --help".to_owned())),
        false => Ok(change),
    }
}

/// The path of a source; what could lead elsewhere is no id.
pub fn path_of(source: &str) -> Result<String, Failure> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match !source.is_empty() && source.bytes().all(fits) {
        true => Ok(format!("/v1/sources/{source}")),
        false => Err(Failure::Usage(format!(
            "{source:?} is not the id of a source: ids have letters, digits, _ and -"
        ))),
    }
}

fn readable(client: &Client, answer: &[u8]) -> Result<String, Failure> {
    let source: Source = client.read(answer)?;
    Ok(details(&source, clock::now(), Paint::for_stdout()))
}

fn rotated(client: &Client, answer: &[u8], made: bool) -> Result<String, Failure> {
    let source: Source = client.read(answer)?;
    Ok(match source.secret.filter(|_| made) {
        Some(secret) => format!("{}\n", plain(&secret)),
        None => format!("{} has a new secret\n", plain(&source.id)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        assert_eq!(path_of("gh-1").unwrap(), "/v1/sources/gh-1");
        for bad in ["", "../events", "a/b", "a?x", "ä"] {
            assert!(path_of(bad).is_err(), "{bad}");
        }
    }
}
