//! Records for tests, whose fields each test sets as it needs them.

use super::EventHead;

/// An event with a body of one byte and nothing that is optional.
pub fn event(id: u128, accepted_at: u64) -> EventHead<'static> {
    EventHead {
        id,
        accepted_at,
        tenant: "t",
        event_type: "a",
        key: None,
        idempotency: None,
        deliver_at: None,
        content_type: None,
        data_at: 0,
        body_len: 1,
        body_lost: false,
    }
}
