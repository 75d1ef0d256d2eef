//! The steps that bring the daemon in line with a file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::difference::{Difference, differences};
use crate::cli::Failure;
use crate::cli::answers::List;
use crate::cli::client::{Client, Fault};
use crate::config::definitions::{Definitions, Written};
use crate::domain::inbound;
use crate::domain::json::Json;
use crate::domain::shaping;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Endpoint,
    Source,
}

impl Kind {
    pub fn path(self) -> &'static str {
        match self {
            Kind::Endpoint => "/v1/endpoints",
            Kind::Source => "/v1/sources",
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Endpoint => "endpoint",
            Kind::Source => "source",
        }
    }

    /// The fields that are their defaults where the file does not name them. The others are left as
    /// they are: secrets that the daemon made, what an attempt disabled, and what no file can say.
    fn declared(self) -> Vec<&'static str> {
        const ENDPOINT: [&str; 8] = [
            "types",
            "headers",
            "max_in_flight",
            "rate_limit",
            "ordering",
            "timeout",
            "http2",
            "retry",
        ];
        match self {
            Kind::Endpoint => {
                let shaping = shaping::KEYS.into_iter();
                let shaping = shaping.filter(|key| *key != "signing_key");
                ENDPOINT.into_iter().chain(shaping).collect()
            }
            Kind::Source => {
                let left = ["secrets", "enabled"];
                let keys = inbound::KEYS.into_iter();
                keys.filter(|key| !left.contains(key)).collect()
            }
        }
    }
}

/// One endpoint or source, and the step for it. Holds secrets.
pub struct Step {
    pub kind: Kind,
    /// Its id in the file.
    pub applied_as: String,
    /// Its id in the daemon; `None` while it is not made.
    pub id: Option<String>,
    pub change: Change,
}

pub enum Change {
    Nothing,
    Make {
        body: Box<RawValue>,
    },
    Alter {
        body: Box<RawValue>,
        /// The fields with their old and new values, as far as they may be shown.
        differences: Vec<Difference>,
    },
    Remove,
}

impl Step {
    pub fn name(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.applied_as)
    }

    pub fn path(&self) -> String {
        let id = self.id.as_deref().unwrap_or(&self.applied_as);
        format!("{}/{id}", self.kind.path())
    }

    pub fn does_something(&self) -> bool {
        !matches!(self.change, Change::Nothing)
    }
}

/// A definition that the daemon refuses.
#[derive(Debug)]
pub struct Refusal {
    pub name: String,
    pub why: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.why)
    }
}

/// An endpoint or source as the daemon shows it.
#[derive(Deserialize)]
pub struct Known {
    pub id: String,
    tenant: String,
    #[serde(default)]
    applied_as: Option<String>,
    #[serde(default)]
    applied: bool,
    #[serde(flatten)]
    shown: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Changes {
    changed: Vec<String>,
}

/// The steps in the order in which to take them, or the definitions that the daemon refuses.
///
/// # Errors
/// The daemon cannot be asked.
pub async fn plan(
    client: &Client,
    wanted: &Definitions,
    prune: bool,
) -> Result<(Vec<Step>, Vec<Refusal>), Failure> {
    let (mut steps, mut refused, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, written) in [
        (Kind::Endpoint, &wanted.endpoints),
        (Kind::Source, &wanted.sources),
    ] {
        let mut known = known(client, kind).await?;
        for one in written {
            match step(client, kind, one, known.remove(&one.id)).await {
                Ok(step) => steps.push(step),
                Err(Refused::Definition(why)) => refused.push(Refusal {
                    name: format!("{} {}", kind.as_str(), one.id),
                    why,
                }),
                Err(Refused::Daemon(fault)) => return Err(fault.into()),
            }
        }
        let gone = known.into_iter().filter(|(_, one)| one.is_applied());
        left.extend(gone.map(|(applied_as, one)| Step {
            kind,
            applied_as,
            id: Some(one.id),
            change: Change::Remove,
        }));
    }
    if prune {
        left.sort_by_key(Step::name);
        steps.extend(left);
    }
    Ok((steps, refused))
}

impl Known {
    fn is_applied(&self) -> bool {
        self.applied || self.applied_as.is_some()
    }
}

/// The existing objects by their ids in the file: only endpoints that were applied, but all
/// sources, because their ids are those of the file.
async fn known(client: &Client, kind: Kind) -> Result<HashMap<String, Known>, Fault> {
    let mut found = HashMap::new();
    let mut path = format!("{}?limit=1000", kind.path());
    loop {
        let page: List<Known> = client.read(&client.get(&path).await?)?;
        for one in page.data {
            let name = match kind {
                Kind::Endpoint => one.applied_as.clone(),
                Kind::Source => Some(one.id.clone()),
            };
            if let Some(name) = name {
                found.insert(name, one);
            }
        }
        match page.next {
            Some(cursor) => path = format!("{}?limit=1000&cursor={cursor}", kind.path()),
            None => return Ok(found),
        }
    }
}

enum Refused {
    /// Why this definition is refused.
    Definition(String),
    /// No further request can be sent.
    Daemon(Fault),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused {
                status: 400 | 404 | 409 | 413 | 415 | 422,
                ..
            } => Refused::Definition(fault.to_string()),
            fault => Refused::Daemon(fault),
        }
    }
}

async fn step(
    client: &Client,
    kind: Kind,
    wanted: &Written,
    known: Option<Known>,
) -> Result<Step, Refused> {
    let step = |id, change| Step {
        kind,
        applied_as: wanted.id.clone(),
        id,
        change,
    };
    let Some(known) = known else {
        let body = body(creation(kind, wanted));
        let path = format!("{}?dry_run=true", kind.path());
        client.post_json(&path, &body).await?;
        return Ok(step(None, Change::Make { body }));
    };
    if !known.is_applied() {
        let why = "a source of this id was made by other means, and is left alone; remove it, or \
                   give the one in the file another id";
        return Err(Refused::Definition(why.to_owned()));
    }
    let fields = declaration(kind, wanted, &known)?;
    let path = format!("{}/{}?dry_run=true", kind.path(), known.id);
    let answer = client.patch(&path, &body(fields.clone())).await?;
    let Changes { changed } = client.read(&answer)?;
    let id = Some(known.id.clone());
    if changed.is_empty() {
        return Ok(step(id, Change::Nothing));
    }
    let differs = |key: &str| changed.iter().any(|name| name == key);
    let differences = differences(&changed, &known.shown, &fields);
    let fields = fields.into_iter().filter(|(key, _)| differs(key));
    let body = body(fields.collect());
    Ok(step(id, Change::Alter { body, differences }))
}

/// The request that creates it.
fn creation(kind: Kind, wanted: &Written) -> inbound::Given {
    let mut fields = wanted.fields.clone();
    let id = Json::from(&*wanted.id);
    match kind {
        Kind::Endpoint => drop(fields.insert("applied_as".into(), id)),
        Kind::Source => {
            fields.insert("id".into(), id);
            fields.insert("applied".into(), Json::Bool(true));
        }
    }
    fields
}

/// All keys of the file, and `null` for absent keys that are set to their default.
fn declaration(kind: Kind, wanted: &Written, known: &Known) -> Result<inbound::Given, Refused> {
    let mut fields = wanted.fields.clone();
    if kind == Kind::Endpoint {
        let tenant = fields.shift_remove("tenant");
        let tenant = tenant.as_ref().and_then(Json::as_str).unwrap_or("default");
        if tenant != known.tenant {
            let why = format!(
                "it has the tenant {}, and an endpoint's tenant never changes; give it another id",
                known.tenant
            );
            return Err(Refused::Definition(why));
        }
    }
    for key in kind.declared() {
        if !fields.contains_key(key) {
            fields.insert(key.into(), Json::Null);
        }
    }
    Ok(fields)
}

fn body(fields: inbound::Given) -> Box<RawValue> {
    let text = Json::Object(fields).to_string();
    // A JSON value can always be written as JSON.
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
