//! Secrets: each is used once, so that it is known whose it was wherever it is met. The definition
//! in force has the last one that was acknowledged, and in the end the disk has none that was
//! replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use outboxd::domain::endpoint::{EndpointId, SigningSecret};
use outboxd::domain::signature::Secret;
use outboxd::outbox::request::Request;
use outboxd::outbox::{Action, Outbox};
use tokio::sync::oneshot;

use super::{Acting, Violation, World};
use crate::store::disk::Fault;
use crate::store::machine::HOUR;

/// What stands before the number of a secret, and how long that is.
const MARK: &[u8] = b"<secret-";
const DIGITS: usize = 16;
/// So many looks of the cleaner do for everything to be overwritten: after a search that took long
/// it rests for ten minutes.
const LOOKS: u32 = 400;

/// The text of a secret.
pub(super) fn text(number: u64) -> String {
    format!("<secret-{number:0DIGITS$}>")
}

pub(super) fn signing(number: u64) -> SigningSecret {
    Secret::from_bytes(text(number).as_bytes()).unwrap().into()
}

/// The numbers of all secrets in these bytes.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == MARK[0]) {
        rest = &rest[at..];
        let digits = rest.strip_prefix(MARK).and_then(|rest| rest.get(..DIGITS));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        found.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        rest = &rest[1..];
    }
    found
}

impl World {
    pub(super) fn next_secret(&mut self) -> u64 {
        self.secrets += 1;
        self.secrets
    }

    /// The definition that is about to be replaced may find no room for its overwriting.
    pub(super) fn hinder_overwriting(&mut self, b: u32) {
        if b.is_multiple_of(4) && !self.without.has("room") {
            self.machine.disk.plan(Fault::Room, 1 + b / 4 % 3);
        }
    }

    /// An endpoint gets another secret.
    pub(super) fn rotate(&mut self, endpoint: EndpointId, b: u32) {
        let number = self.next_secret();
        self.hinder_overwriting(b / 4);
        let Some(process) = &mut self.process else {
            return;
        };
        let outbox = &process.store.outbox;
        let no = outbox.number_of(&endpoint);
        let Some(over) = no.and_then(|no| outbox.in_force(no)) else {
            return;
        };
        let overlaps = [Duration::ZERO, HOUR / 60, HOUR, 24 * HOUR];
        let action = Action::Rotate {
            endpoint,
            secret: signing(number).secret,
            overlap: overlaps[b as usize % overlaps.len()],
            shaping: None,
            over,
        };
        let (reply, answer) = oneshot::channel();
        process.acting.push(Acting {
            action: action.clone(),
            reply: answer,
        });
        process.store.writer.enqueue(Request::Act { action, reply });
    }

    /// The secret that an action gives an endpoint is in force from now on.
    pub(super) fn secret_changed(&mut self, action: &Action) {
        if let Some((endpoint, number)) = given(action) {
            self.newest.insert(endpoint, vec![number]);
            self.counts.secrets += 1;
        }
    }

    /// The secret that an action gives an endpoint may be in force from now on.
    pub(super) fn secret_may_have_changed(&mut self, action: &Action) {
        if let Some((endpoint, number)) = given(action) {
            self.newest.entry(endpoint).or_default().push(number);
        }
    }

    pub(super) fn check_secrets(&self, outbox: &Outbox) -> Result<(), Violation> {
        for (endpoint, possible) in &self.newest {
            let Ok(Some(spec)) = outbox.definition(endpoint) else {
                // It was deleted.
                continue;
            };
            let first = spec.secrets.first();
            let newest = first.map(|kept| numbers(&kept.secret.to_stored()));
            let newest = newest.and_then(|numbers| numbers.first().copied());
            ensure!(
                newest.is_some_and(|newest| possible.contains(&newest)),
                "{endpoint} signs with {newest:?}, and its secret is one of {possible:?}"
            );
        }
        Ok(())
    }

    /// Secrets that were replaced are overwritten, and those whose overlap is over are not kept.
    pub(super) fn forget_secrets(&mut self) -> Result<(), Violation> {
        self.pass(25 * HOUR.as_millis() as u64);
        for _ in 0..LOOKS {
            self.look_after(1)?;
            self.turn()?;
            if self.leftover()?.is_empty() {
                return Ok(());
            }
            self.pass(3000);
        }
        Err(format!(
            "the disk has secrets that were replaced: {:?}",
            self.leftover()?
        ))
    }

    /// The secrets on the disk that are in no definition, or are past their time.
    pub(super) fn leftover(&self) -> Result<BTreeSet<u64>, Violation> {
        let Some(process) = &self.process else {
            return Err("there is no process".to_owned());
        };
        let outbox = &process.store.outbox;
        let now = self.now().wall;
        let mut found = BTreeSet::new();
        self.machine
            .disk
            .each_file(|bytes| found.extend(numbers(bytes)));
        for endpoint in &self.endpoints {
            if let Ok(Some(spec)) = outbox.definition(endpoint) {
                let kept = spec.secrets.iter().filter(|kept| kept.signs(now));
                for number in kept.flat_map(|kept| numbers(&kept.secret.to_stored())) {
                    ensure!(found.remove(&number), "secret {number} is not on the disk");
                }
            }
        }
        let sources = self.sources.values();
        for definition in sources.filter_map(|source| source.definition.as_ref()) {
            for number in numbers(definition) {
                ensure!(found.remove(&number), "source {number} is not on the disk");
            }
        }
        Ok(found)
    }
}

/// The endpoint that gets a secret, and its number.
fn given(action: &Action) -> Option<(EndpointId, u64)> {
    let (endpoint, secret) = match action {
        Action::Create { endpoint, spec, .. } => (endpoint, &spec.secrets.first()?.secret),
        Action::Rotate {
            endpoint, secret, ..
        } => (endpoint, secret),
        _ => return None,
    };
    let number = numbers(&secret.to_stored()).first().copied()?;
    Some((endpoint.clone(), number))
}
