//! Seeing that the wall clock jumped. Nothing depends on it: ids rise whatever the clock
//! does, and deadlines run on monotonic time. But a reader of the log wants to know why
//! times look odd.

use std::time::Duration;

use crate::domain::time::Timestamp;

/// A smaller jump is not worth a line: time servers make them.
const JUMP: Duration = Duration::from_secs(10);

/// How the wall clock stood to the monotonic one at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockWatch {
    looked: Option<(Timestamp, Duration)>,
}

/// The wall clock moved by so much against the monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    Ahead(Duration),
    Back(Duration),
}

impl ClockWatch {
    /// What the wall clock did since the last look, if it jumped.
    pub fn look(&mut self, wall: Timestamp, mono: Duration) -> Option<Jump> {
        let (then, looked_at) = self.looked.replace((wall, mono))?;
        let expected = then + mono.saturating_sub(looked_at);
        jump(expected, wall)
    }
}

/// Logs a jump of the clock while the daemon runs.
pub fn report(jump: Jump) {
    let (direction, by) = match jump {
        Jump::Ahead(by) => ("ahead", by),
        Jump::Back(by) => ("back", by),
    };
    tracing::warn!(
        seconds = by.as_secs(),
        "the machine's clock jumped {direction}: new events have the new time, and ids go on rising"
    );
}

/// Logs, at the start, that the newest id is of a time that is still to come.
pub fn report_behind(newest_id: Timestamp, now: Timestamp) {
    if let Some(Jump::Back(by)) = jump(newest_id, now) {
        tracing::warn!(
            seconds = by.as_secs(),
            newest_id = %newest_id,
            "the machine's clock is far behind the newest event id: the clock was ahead once, or is wrong now; new events have the clock's time, and ids go on rising"
        );
    }
}

fn jump(expected: Timestamp, wall: Timestamp) -> Option<Jump> {
    let (expected, wall) = (expected.as_millis(), wall.as_millis());
    let by = Duration::from_millis(expected.abs_diff(wall));
    match by > JUMP {
        true if wall > expected => Some(Jump::Ahead(by)),
        true => Some(Jump::Back(by)),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_either_way_is_seen_once() {
        let (wall, mono) = (Timestamp::from_millis, Duration::from_secs);
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(wall(1_000_000), mono(5)), None);
        // An hour later, by both clocks.
        assert_eq!(watch.look(wall(4_600_000), mono(3605)), None);
        // A time server's correction.
        assert_eq!(watch.look(wall(4_609_000), mono(3605)), None);
        let ahead = Some(Jump::Ahead(mono(86_400)));
        assert_eq!(watch.look(wall(91_009_000), mono(3605)), ahead);
        assert_eq!(watch.look(wall(91_010_000), mono(3606)), None);
        let back = Some(Jump::Back(mono(86_401)));
        assert_eq!(watch.look(wall(4_609_000), mono(3606)), back);
    }
}
