//! Counts over time, as charts and sums.

use std::time::Duration;

use crate::domain::attempt::ErrorKind;
use crate::domain::counts::Counts;
use crate::domain::time::Timestamp;
use crate::domain::when;
use crate::outbox::Steps;

/// Minutes in a day.
const DAY: u32 = 24 * 60;

/// The steps of the last day, each of this many minutes: a multiple of 15, of which a day is one.
pub fn last_day(now: Timestamp, step_min: u32) -> Steps {
    let until_min = minute(now).saturating_add(1).next_multiple_of(step_min);
    Steps {
        since_min: until_min.saturating_sub(DAY),
        until_min,
        step_min,
    }
}

/// The minutes of the last hour.
pub fn last_hour(now: Timestamp) -> Steps {
    let until_min = minute(now).saturating_add(1);
    Steps {
        since_min: until_min.saturating_sub(60),
        until_min,
        step_min: 1,
    }
}

fn minute(at: Timestamp) -> u32 {
    u32::try_from(at.as_millis() / 60_000).unwrap_or(u32::MAX)
}

/// When a step begins.
pub fn starts(steps: Steps) -> impl Iterator<Item = Timestamp> {
    let minutes = (steps.since_min..).step_by(steps.step_min.max(1) as usize);
    minutes.map(|minute| Timestamp::from_millis(u64::from(minute) * 60_000))
}

/// The sum of all steps.
pub fn sum(counts: &[Counts]) -> Counts {
    let mut all = Counts::default();
    counts.iter().for_each(|step| all.merge(step));
    all
}

/// Attempts that failed, whatever the kind.
pub fn failed(counts: &Counts) -> u64 {
    ErrorKind::ALL.iter().map(|kind| counts.failed(*kind)).sum()
}

/// How many of the attempts delivered: `99.2 %`; a dash without attempts.
pub fn success(counts: &Counts) -> String {
    let (good, bad) = (counts.delivered(), failed(counts));
    match good + bad {
        0 => "–".to_owned(),
        // Not before every one did.
        all if bad > 0 => format!("{:.1} %", (good as f64 / all as f64 * 100.0).min(99.9)),
        _ => "100 %".to_owned(),
    }
}

/// How long this many hundredths of the attempts took at most; a dash without attempts.
pub fn took(counts: &Counts, hundredths: u64) -> String {
    let took: Option<Duration> = counts.percentile(hundredths);
    took.map_or_else(|| "–".to_owned(), when::span)
}

/// A rate over a span: `12/s`, `3.5/min`.
pub fn rate(count: u64, over: Duration) -> String {
    let per_second = count as f64 / over.as_secs_f64().max(1.0);
    match count {
        0 => "0/s".to_owned(),
        _ if per_second >= 10.0 => format!("{per_second:.0}/s"),
        _ if per_second >= 1.0 => format!("{per_second:.1}/s"),
        _ => format!("{:.1}/min", per_second * 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_made_of_whole_steps() {
        let steps = last_day(Timestamp::from_millis(1_767_225_600_000 + 61_000), 30);
        assert_eq!(steps.count(), 48);
        assert!(steps.has_quarters() && steps.since_min.is_multiple_of(30));
        assert_eq!(starts(steps).next().unwrap().as_millis() % 1_800_000, 0);
    }

    #[test]
    fn success_is_whole_only_if_nothing_failed() {
        let mut counts = Counts::default();
        assert_eq!(success(&counts), "–");
        counts.attempt(None, 5);
        assert_eq!(success(&counts), "100 %");
        counts.attempt(Some(ErrorKind::Dns), 5);
        assert_eq!((success(&counts).as_str(), failed(&counts)), ("50.0 %", 1));
        assert_eq!(rate(3, Duration::from_secs(60)), "3.0/min");
        assert_eq!(rate(600, Duration::from_secs(60)), "10/s");
    }
}
