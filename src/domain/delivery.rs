//! A delivery's states and the one function that moves between them.

use super::time::Timestamp;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Pending,
    Held,
    Delivered,
    Dead,
}

impl Status {
    pub const ALL: [Status; 4] = [
        Status::Pending,
        Status::Held,
        Status::Delivered,
        Status::Dead,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Held => "held",
            Status::Delivered => "delivered",
            Status::Dead => "dead",
        }
    }
}

/// Why a delivery is held or dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Held: its endpoint is disabled.
    Disabled,
    /// Held: its endpoint is gone from the TOML file.
    EndpointMissing,
    /// Held: its endpoint's backlog is over `outbox.endpoint_share`.
    Backlog,
    /// Held: its request cannot be rendered until the endpoint is changed.
    Template,
    /// Dead: the retry budget is used up.
    Exhausted,
    /// Dead: the endpoint answered 410.
    Gone,
    /// Dead: the endpoint's answer rule says that trying again is of no use.
    Rejected,
    Cancelled,
    EndpointDeleted,
    HeldTooLong,
    /// Dead: it was held, and its space was needed.
    Space,
    /// Dead: the event's body was lost to damage of the disk, and can never be sent.
    Damaged,
}

impl Reason {
    pub const ALL: [Reason; 12] = [
        Reason::Disabled,
        Reason::EndpointMissing,
        Reason::Backlog,
        Reason::Template,
        Reason::Exhausted,
        Reason::Gone,
        Reason::Rejected,
        Reason::Cancelled,
        Reason::EndpointDeleted,
        Reason::HeldTooLong,
        Reason::Space,
        Reason::Damaged,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Disabled => "disabled",
            Reason::EndpointMissing => "endpoint_missing",
            Reason::Backlog => "backlog",
            Reason::Template => "template",
            Reason::Exhausted => "exhausted",
            Reason::Gone => "gone",
            Reason::Rejected => "rejected",
            Reason::Cancelled => "cancelled",
            Reason::EndpointDeleted => "endpoint_deleted",
            Reason::HeldTooLong => "held_too_long",
            Reason::Space => "space",
            Reason::Damaged => "damaged",
        }
    }
}

/// A delivery as it is stored. That its endpoint is disabled or missing is the
/// endpoint's state, not the delivery's: such a delivery is `Pending` here and shown
/// as held, so that holding and releasing a backlog of any size is one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub status: Status,
    pub reason: Option<Reason>,
    /// Of its whole life.
    pub attempt_count: u32,
    /// Since the retry budget began: what the backoff counts.
    pub tries: u32,
    /// The next attempt's due time, while `Pending`.
    pub due: Timestamp,
    /// The first due time of the present retry budget.
    pub budget_from: Timestamp,
    /// When it became `Delivered` or `Dead`.
    pub finished_at: Option<Timestamp>,
}

/// What happens to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// An attempt ended so.
    Attempted { at: Timestamp, next: Next },
    /// Tried again now, with a fresh budget (`retry`, replay).
    Retry { at: Timestamp },
    /// Set aside.
    Hold { reason: Reason },
    /// Pending again, due then, with a fresh budget.
    Release { at: Timestamp },
    /// Given up for another reason than the outcome of an attempt.
    Die { at: Timestamp, reason: Reason },
}

/// What an attempt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// `budget_from` and `tries` are those of the budget that the attempt was made under.
    Retry {
        due: Timestamp,
        budget_from: Timestamp,
        tries: u32,
    },
    Dead {
        reason: Reason,
    },
    /// Set aside: there was nothing that could be sent.
    Held {
        reason: Reason,
    },
}

/// The move is not possible from this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {} delivery cannot take the move {to:?}", from.as_str())]
pub struct IllegalMove {
    pub from: Status,
    pub to: Move,
}

impl Delivery {
    pub fn new(due: Timestamp) -> Self {
        Delivery {
            status: Status::Pending,
            reason: None,
            attempt_count: 0,
            tries: 0,
            due,
            budget_from: due,
            finished_at: None,
        }
    }

    /// The state after `step`. The only way in which a delivery ever changes.
    ///
    /// An attempt may end after its delivery was held, cancelled or retried meanwhile.
    /// A success then still counts (the receiver has the event); a failure is listed and
    /// changes nothing else.
    pub fn after(self, step: Move) -> Result<Delivery, IllegalMove> {
        use Status::{Dead, Delivered, Held, Pending};
        let illegal = Err(IllegalMove {
            from: self.status,
            to: step,
        });
        match (self.status, step) {
            (_, Move::Attempted { at, next }) => Ok(self.attempted(at, next)),
            (Pending | Delivered | Dead, Move::Retry { at }) => Ok(self.fresh(at)),
            (Held, Move::Retry { .. }) => illegal,
            (Pending, Move::Hold { reason }) => Ok(Delivery {
                status: Held,
                reason: Some(reason),
                ..self
            }),
            (_, Move::Hold { .. }) => illegal,
            (Held, Move::Release { at }) => Ok(self.fresh(at)),
            (_, Move::Release { .. }) => illegal,
            (Pending | Held, Move::Die { at, reason }) => Ok(self.dead(at, reason)),
            (_, Move::Die { .. }) => illegal,
        }
    }

    fn attempted(self, at: Timestamp, next: Next) -> Delivery {
        let counted = Delivery {
            attempt_count: self.attempt_count.saturating_add(1),
            ..self
        };
        match (self.status, next) {
            (Status::Delivered, _) => counted,
            (_, Next::Delivered) => Delivery {
                status: Status::Delivered,
                reason: None,
                finished_at: Some(at),
                ..counted
            },
            (
                Status::Pending,
                Next::Retry {
                    due,
                    budget_from,
                    tries,
                },
            ) => Delivery {
                due,
                budget_from,
                tries,
                ..counted
            },
            (Status::Pending, Next::Dead { reason }) => counted.dead(at, reason),
            (Status::Pending, Next::Held { reason }) => Delivery {
                status: Status::Held,
                reason: Some(reason),
                ..counted
            },
            (Status::Held | Status::Dead, _) => counted,
        }
    }

    fn fresh(self, at: Timestamp) -> Delivery {
        Delivery {
            status: Status::Pending,
            reason: None,
            tries: 0,
            due: at,
            budget_from: at,
            finished_at: None,
            ..self
        }
    }

    fn dead(self, at: Timestamp, reason: Reason) -> Delivery {
        Delivery {
            status: Status::Dead,
            reason: Some(reason),
            finished_at: Some(at),
            ..self
        }
    }
}
