//! What the store knows of one endpoint.

use crate::domain::endpoint::{EndpointId, EndpointNo};
use crate::domain::event::Tenant;
use crate::outbox::record::EndpointStateRow;

use super::bucket::Bucket;
use super::outcome::OutcomeBlock;
use super::rows::EndpointTotals;

/// An endpoint as the store knows it: also one that is gone from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEndpoint {
    pub id: EndpointId,
    pub tenant: Tenant,
    pub state: EndpointStateRow,
    /// When it was deleted through the API.
    pub deleted: Option<u64>,
    pub totals: EndpointTotals,
    /// No attempt of the endpoint has a later position. Not stored: unknown after a start.
    pub newest_attempt: u64,
    /// Of its attempts' blocks the one in use. Not stored with the endpoint.
    pub(super) outcomes: Option<Box<OutcomeBlock>>,
    /// The counts of the current minute.
    pub open_stats: Bucket,
}

impl StoredEndpoint {
    /// Whether its pending deliveries go out.
    pub fn is_taking(&self) -> bool {
        !self.state.is_holding() && self.deleted.is_none()
    }

    /// Whether deliveries are held for its backlog.
    pub fn is_backlogged(&self) -> bool {
        self.totals.held > self.totals.unrendered
    }

    /// An endpoint whose record was rewritten further on in the log, or lost: the number is
    /// all that is known of it yet.
    pub(super) fn nameless(no: EndpointNo) -> StoredEndpoint {
        let id = EndpointId::new(&format!("unknown-{}", no.0));
        StoredEndpoint {
            id: id.expect("letters, a dash and digits, within 64 bytes"),
            tenant: Tenant::default(),
            state: EndpointStateRow::default(),
            deleted: None,
            totals: EndpointTotals::default(),
            newest_attempt: u64::MAX,
            outcomes: None,
            open_stats: Bucket::default(),
        }
    }
}
