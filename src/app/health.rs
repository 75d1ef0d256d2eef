//! How endpoints do: what lists and pages of endpoints show beside their definitions.

use super::endpoints::KnownEndpoint;
use super::error::Error;
use super::reader::Reader;
use crate::dispatch::{LaneView, Questions, Standing};
use crate::domain::counts::Counts;
use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::Tenant;
use crate::outbox::{Cursor, DeadCauses, Outbox, Page, StatsOf, Steps};

/// Endpoints that one hand-over to another thread looks at.
const AT_ONCE: usize = 1000;
/// How many of the newest dead deliveries of an endpoint are asked for their causes: each takes a
/// read of the log.
pub const CAUSES_OF: usize = 25;

/// An endpoint in a list.
#[derive(Debug)]
pub struct ListedEndpoint {
    pub known: KnownEndpoint,
    pub standing: Standing,
    /// Of each step.
    pub counts: Vec<Counts>,
}

/// The dead deliveries of an endpoint.
#[derive(Debug)]
pub struct DeadOfEndpoint {
    pub id: EndpointId,
    pub tenant: Tenant,
    pub dead: u64,
    pub causes: DeadCauses,
}

pub struct Health {
    outbox: Outbox,
    reader: Reader,
    questions: Questions,
}

impl Health {
    pub fn new(outbox: Outbox, reader: Reader, questions: Questions) -> Health {
        Health {
            outbox,
            reader,
            questions,
        }
    }

    /// A page of endpoints in order of their ids, past `after`, with their counts.
    pub async fn list(
        &self,
        tenant: Option<Tenant>,
        after: Option<EndpointId>,
        limit: usize,
        steps: Steps,
    ) -> Result<Page<ListedEndpoint>, Error> {
        let read = move |outbox: &Outbox| {
            let page = outbox.endpoints(tenant.as_ref(), after.as_ref(), limit);
            let mut items = Vec::with_capacity(page.items.len());
            for known in page.items {
                let of = StatsOf::Endpoint(known.0.id.clone());
                // It may have been deleted since.
                let counts = outbox.stats(&of, steps).unwrap_or_default();
                items.push((outbox.number_of(&known.0.id), known, counts));
            }
            Ok((items, page.next))
        };
        let (items, next) = self.reader.read(read).await?;
        let numbers = items
            .iter()
            .map(|(no, _, _)| no.unwrap_or(EndpointNo(u32::MAX)));
        let standings = self.questions.standings(numbers.collect()).await;
        let standings = standings.unwrap_or_default().into_iter();
        let standings = standings.chain(std::iter::repeat_with(Standing::default));
        let items = items.into_iter().zip(standings);
        let items = items.map(|((_, known, counts), standing)| ListedEndpoint {
            known,
            standing,
            counts,
        });
        Ok(Page {
            items: items.collect(),
            next,
        })
    }

    /// How an endpoint stands with the dispatcher; `None` if it has nothing to do there.
    pub async fn lane(&self, id: &EndpointId) -> Option<LaneView> {
        let no = self.outbox.number_of(id)?;
        self.questions.lane(no).await
    }

    /// The endpoints in force, of a tenant or of all, with the most dead deliveries, and whether there are more of them.
    pub async fn with_dead(
        &self,
        tenant: Option<Tenant>,
        most: usize,
    ) -> Result<(Vec<DeadOfEndpoint>, bool), Error> {
        let mut found: Vec<KnownEndpoint> = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let tenant = tenant.clone();
            let read = move |outbox: &Outbox| {
                let place = after.and_then(|Cursor(id)| EndpointId::new(&id).ok());
                Ok(outbox.endpoints(tenant.as_ref(), place.as_ref(), AT_ONCE))
            };
            let page = self.reader.read(read).await?;
            found.extend(page.items.into_iter().filter(|(_, state)| state.dead > 0));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        found.sort_by_key(|(_, state)| std::cmp::Reverse(state.dead));
        let more = found.len() > most;
        found.truncate(most);
        let read = move |outbox: &Outbox| {
            let mut all = Vec::with_capacity(found.len());
            for (endpoint, state) in found {
                all.push(DeadOfEndpoint {
                    causes: outbox.dead_causes(&endpoint.id, CAUSES_OF)?,
                    id: endpoint.id.clone(),
                    tenant: endpoint.tenant.clone(),
                    dead: state.dead,
                });
            }
            Ok(all)
        };
        Ok((self.reader.read(read).await?, more))
    }
}
