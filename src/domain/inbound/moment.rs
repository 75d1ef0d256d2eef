//! The time that a provider signs.

use std::time::Duration;

use super::recipe::TimeUnit;
use crate::domain::time::Timestamp;

/// Checks that a time is within the tolerance of `now`, before and after it.
///
/// # Errors
/// What is wrong, for the operator.
pub(super) fn check(
    unit: TimeUnit,
    text: &str,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), String> {
    let sent = read(unit, text).ok_or("the timestamp is not one")?;
    let now = match unit {
        // What is written in seconds has lost the rest.
        TimeUnit::Seconds => Timestamp::from_millis(now.as_secs().saturating_mul(1000)),
        _ => now,
    };
    let (past, future) = (now.since(sent), sent.since(now));
    if past > tolerance {
        let by = past.as_secs();
        Err(format!("the timestamp is {by} s in the past"))
    } else if future > tolerance {
        let by = future.as_secs();
        Err(format!("the timestamp is {by} s in the future"))
    } else {
        Ok(())
    }
}

fn read(unit: TimeUnit, text: &str) -> Option<Timestamp> {
    let number = || {
        // `parse` alone would take a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| digits)
    };
    match unit {
        TimeUnit::Seconds => Some(Timestamp::from_millis(number()?.saturating_mul(1000))),
        TimeUnit::Milliseconds => number().map(Timestamp::from_millis),
        TimeUnit::Rfc3339 => text.parse().ok(),
    }
}

/// A time as a provider writes it.
pub(super) fn write(unit: TimeUnit, at: Timestamp) -> String {
    match unit {
        TimeUnit::Seconds => at.as_secs().to_string(),
        TimeUnit::Milliseconds => at.as_millis().to_string(),
        TimeUnit::Rfc3339 => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written_and_judged_both_ways() {
        let now = Timestamp::from_millis(1_700_000_000_900);
        let tolerance = Duration::from_secs(300);
        for unit in TimeUnit::NAMES.map(|(_, unit)| unit) {
            for (at, fits) in [
                (now, true),
                (now.saturating_sub(tolerance), true),
                (now + tolerance, true),
                (
                    now.saturating_sub(tolerance + Duration::from_secs(1)),
                    false,
                ),
                (now + tolerance + Duration::from_secs(1), false),
            ] {
                let judged = check(unit, &write(unit, at), now, tolerance);
                assert_eq!(judged.is_ok(), fits, "{unit:?} {at}");
            }
            for bad in [
                "",
                "-1",
                "+1700000000",
                "1e9",
                " 1700000000",
                "99999999999999999999999",
            ] {
                assert!(check(unit, bad, now, tolerance).is_err(), "{bad}");
            }
        }
    }
}
