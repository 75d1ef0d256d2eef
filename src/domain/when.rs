//! Times, durations and sizes in a form for people, and the times that options take.

use std::time::Duration;

use super::time::{BadTimestamp, Timestamp};

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// `3s ago`, `in 12m`, `now`.
pub fn relative(at: Timestamp, now: Timestamp) -> String {
    let (ahead, behind) = (at.since(now), now.since(at));
    if ahead.as_secs() > 0 {
        format!("in {}", rough(ahead))
    } else if behind.as_secs() > 0 {
        format!("{} ago", rough(behind))
    } else {
        "now".to_owned()
    }
}

/// The largest unit only, rounded down: `3s`, `12m`, `5h`, `9d`.
pub fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Two units at most: `41ms`, `1.2s`, `3m 4s`, `2h 5m`, `9d 3h`.
pub fn span(span: Duration) -> String {
    let (millis, seconds) = (span.as_millis(), span.as_secs());
    let two = |large: u64, small: u64, names: (&str, &str)| match (seconds % large) / small {
        0 => format!("{}{}", seconds / large, names.0),
        rest => format!("{}{} {rest}{}", seconds / large, names.0, names.1),
    };
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{:.1}s", span.as_secs_f64()),
        60..3600 => two(60, 1, ("m", "s")),
        3600..86_400 => two(3600, 60, ("h", "m")),
        _ => two(86_400, 3600, ("d", "h")),
    }
}

/// `2026-01-01 12:00:00.007Z`
pub fn moment(at: Timestamp) -> String {
    at.to_string().replacen('T', " ", 1)
}

/// `512 B`, `1.5 KiB`, `64.0 MiB`.
pub fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = count as f64;
    let mut name = "B";
    for unit in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        name = unit;
    }
    if name == "B" {
        format!("{count} B")
    } else {
        format!("{size:.1} {name}")
    }
}

/// `10m`, `2h`, `7d`: a whole number and a unit.
pub fn parse_span(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// A time before now (`1h`), or an RFC 3339 one.
pub fn parse_past(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match parse_span(text) {
        Some(span) => Ok(now.saturating_sub(span)),
        None => parse_moment(text),
    }
}

/// A time from now (`10m`, `+10m`), or an RFC 3339 one.
pub fn parse_future(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match parse_span(text.strip_prefix('+').unwrap_or(text)) {
        Some(span) => Ok(now + span),
        None => parse_moment(text),
    }
}

fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let fault = "neither a span such as 10m, 2h or 7d, nor an RFC 3339 time \
                 such as 2030-01-01T00:00:00Z";
    text.parse().map_err(|error| match error {
        BadTimestamp::Malformed => fault.to_owned(),
        beyond => beyond.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_from_here() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let ago = |s| relative(now.saturating_sub(Duration::from_secs(s)), now);
        let ahead = |s| relative(now + Duration::from_secs(s), now);
        assert_eq!((ago(0).as_str(), ago(3).as_str()), ("now", "3s ago"));
        assert_eq!(
            (ago(3600).as_str(), ago(200_000).as_str()),
            ("1h ago", "2d ago")
        );
        assert_eq!(ahead(750), "in 12m");
    }

    #[test]
    fn spans_have_two_units_at_most() {
        let of = |millis| span(Duration::from_millis(millis));
        assert_eq!((of(0).as_str(), of(41).as_str()), ("0ms", "41ms"));
        assert_eq!((of(1234).as_str(), of(184_000).as_str()), ("1.2s", "3m 4s"));
        assert_eq!(
            (of(3_600_000).as_str(), of(7_500_000).as_str()),
            ("1h", "2h 5m")
        );
        assert_eq!(of(9 * 86_400_000 + 3 * 3_600_000), "9d 3h");
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn spans_and_moments_are_read() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let hour = Duration::from_secs(3600);
        assert_eq!(parse_past("1h", now), Ok(now.saturating_sub(hour)));
        assert_eq!(parse_future("+60m", now), Ok(now + hour));
        assert_eq!(parse_past("2026-01-01T00:00:00Z", now), Ok(now));
        for bad in [
            "",
            "h",
            "1",
            "1x",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_past(bad, now).is_err(), "{bad}");
        }
    }
}
