//! Gathers what is known about an event at an endpoint, and has it judged.
//!
//! What is gathered is of one moment or two: an attempt may start meanwhile.

use super::error::Error;
use super::reader::Reader;
use super::verdict::{Live, Stored, Verdict};
use crate::clock;
use crate::dispatch::Questions;
use crate::domain::delivery::Status;
use crate::domain::endpoint::EndpointId;
use crate::domain::event::{EventId, source_of_key};
use crate::outbox::{Outbox, ReadError};

pub struct Explainer {
    outbox: Outbox,
    reader: Reader,
    questions: Questions,
}

/// A verdict, and what it is based on.
#[derive(Debug)]
pub struct Explanation {
    pub stored: Stored,
    pub live: Live,
    pub verdict: Verdict,
}

impl Explainer {
    pub fn new(outbox: Outbox, reader: Reader, questions: Questions) -> Explainer {
        Explainer {
            outbox,
            reader,
            questions,
        }
    }

    pub async fn explain(&self, event: EventId, id: EndpointId) -> Result<Explanation, Error> {
        let named = id.clone();
        let gather = move |outbox: &Outbox| gather(outbox, event, &named);
        let stored = self.reader.read(gather).await?;
        let live = match (&stored.delivery, self.outbox.number_of(&id)) {
            (Some(delivery), Some(no)) if delivery.status == Status::Pending => Live {
                in_flight: self.questions.is_in_flight(no, event).await,
                lane: self.questions.lane(no).await,
                out_of_space: self.outbox.is_out_of_space(),
            },
            _ => Live::default(),
        };
        let verdict = stored.verdict(&live, clock::now());
        Ok(Explanation {
            stored,
            live,
            verdict,
        })
    }
}

fn gather(outbox: &Outbox, event: EventId, id: &EndpointId) -> Result<Stored, ReadError> {
    let delivery = match outbox.delivery(event, id) {
        Ok(delivery) => Some(delivery),
        Err(ReadError::NoSuchDelivery) => None,
        Err(error) => return Err(error),
    };
    let head = match outbox.number_of(id) {
        Some(no) if delivery.is_some() => outbox.ahead_of(no, event)?,
        _ => None,
    };
    let summary = outbox.summary(event)?;
    let key = summary.idempotency_key.as_ref();
    let is_of_source = key.is_some_and(|key| source_of_key(key.as_str()).is_some());
    let content = match delivery {
        Some(_) if !is_of_source => None,
        _ => outbox.content(event, 0).ok(),
    };
    Ok(Stored {
        event: summary,
        content,
        delivery,
        endpoint: outbox.endpoint(id),
        // It may be gone already.
        ahead: head.and_then(|head| outbox.delivery(head, id).ok()),
    })
}
