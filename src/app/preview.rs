//! Trying things out: what a filter says of an event, and what an endpoint would be sent. Nothing is
//! stored or sent.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use rand::TryRng;
use rand::rngs::SysRng;

use super::error::Error;
use super::reader::Reader;
use crate::clock;
use crate::config::DeliveryLimits;
use crate::domain::content::Content;
use crate::domain::endpoint::{Endpoint, EndpointId};
use crate::domain::event::{EventId, NewEvent};
use crate::domain::filter::{Failed, Filter};
use crate::domain::shaping::Root;
use crate::outbox::{Outbox, ReadError, content_of};
use crate::transport::{Outgoing, described};

/// An event to try things with.
#[derive(Clone, Debug)]
pub enum Sample {
    /// One that was accepted.
    Stored(EventId),
    New(Box<NewEvent>),
}

/// What an endpoint would be sent.
#[derive(Debug)]
pub struct Preview {
    pub endpoint: Arc<Endpoint>,
    pub outgoing: Outgoing,
    /// Those of the connection excepted.
    pub headers: HeaderMap,
}

pub struct Previews {
    reader: Reader,
    settings: ArcSwap<Settings>,
}

/// The settings that affect a preview.
struct Settings {
    longest_body: usize,
    user_agent: String,
}

impl Settings {
    fn new(limits: &DeliveryLimits) -> Settings {
        Settings {
            longest_body: usize::try_from(limits.longest_body).unwrap_or(usize::MAX),
            user_agent: limits.user_agent.clone(),
        }
    }
}

impl Previews {
    pub fn new(reader: Reader, limits: &DeliveryLimits) -> Previews {
        Previews {
            reader,
            settings: ArcSwap::from_pointee(Settings::new(limits)),
        }
    }

    /// Puts other limits in force.
    pub fn set_limits(&self, limits: &DeliveryLimits) {
        self.settings.store(Arc::new(Settings::new(limits)));
    }

    /// Whether the filter lets the event through, and if not, which condition does not hold.
    pub async fn judge(&self, filter: Filter, sample: Sample) -> Result<Option<Failed>, Error> {
        let judge = move |outbox: &Outbox| {
            let (id, content) = content(outbox, sample)?;
            Ok(filter.judge(Root::of(id, &content).json()).err())
        };
        self.reader.read(judge).await
    }

    /// What the endpoint would be sent now.
    ///
    /// # Errors
    /// There is no such event in the endpoint's tenant, or it cannot be rendered.
    pub async fn render(&self, id: EndpointId, sample: Sample) -> Result<Preview, Error> {
        let settings = self.settings.load_full();
        let render = move |outbox: &Outbox| {
            let (endpoint, _) = outbox.endpoint(&id).ok_or(ReadError::NoSuchEndpoint)?;
            let is_stored = matches!(sample, Sample::Stored(_));
            let (event, mut content) = content(outbox, sample)?;
            if is_stored && content.tenant != endpoint.tenant {
                return Err(ReadError::NoSuchEvent);
            }
            content.tenant = endpoint.tenant.clone();
            Ok(preview(endpoint, event, &content, &settings))
        };
        self.reader.read(render).await?
    }
}

fn preview(
    endpoint: Arc<Endpoint>,
    event: EventId,
    content: &Content,
    settings: &Settings,
) -> Result<Preview, Error> {
    let outgoing = Outgoing::new(&endpoint, event, content, settings.longest_body)?;
    let headers = described(&endpoint, &outgoing, clock::now(), &settings.user_agent)?;
    Ok(Preview {
        endpoint,
        outgoing,
        headers,
    })
}

/// The event's content; one that is new has it as if it were accepted now.
fn content(outbox: &Outbox, sample: Sample) -> Result<(EventId, Content), ReadError> {
    match sample {
        Sample::Stored(id) => Ok((id, outbox.content(id, 0)?)),
        Sample::New(event) => {
            let now = clock::now();
            let mut random = [0; 16];
            // An id that nobody keeps: should there be no randomness, zeros do as well.
            let _ = SysRng.try_fill_bytes(&mut random);
            let ulid = ulid::Ulid::from_parts(now.as_millis(), u128::from_be_bytes(random));
            Ok((EventId(ulid.0), content_of(&event, now)))
        }
    }
}
