//! A moment of wall time, as it is stored and shown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The text is not an RFC 3339 time, or one before 1970 or after 9999.
#[derive(Debug, thiserror::Error)]
#[error("not an RFC 3339 time such as 2030-01-01T00:00:00Z")]
pub struct BadTimestamp;

impl Timestamp {
    /// 9999-12-30T22:00:00.000Z, the last moment that can be written in any time zone.
    pub const MAX: Timestamp = Timestamp(253_402_207_200_000);

    pub fn from_millis(millis: u64) -> Self {
        Timestamp(millis.min(Self::MAX.0))
    }

    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds, as `webhook-timestamp` wants them.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub fn saturating_sub(self, span: Duration) -> Self {
        Timestamp(self.0.saturating_sub(millis(span)))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Stops at [`Timestamp::MAX`].
    fn add(self, span: Duration) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_add(millis(span)))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `from_millis` keeps the value inside what jiff can hold.
        let instant = jiff::Timestamp::from_millisecond(self.0 as i64).map_err(|_| fmt::Error)?;
        write!(f, "{instant:.3}")
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| BadTimestamp)?;
        let millis = u64::try_from(instant.as_millisecond()).map_err(|_| BadTimestamp)?;
        if millis > Self::MAX.0 {
            Err(BadTimestamp)
        } else {
            Ok(Timestamp(millis))
        }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_and_read_as_rfc_3339_with_milliseconds() {
        let at = Timestamp::from_millis(1_767_225_600_007);
        assert_eq!(at.to_string(), "2026-01-01T00:00:00.007Z");
        assert_eq!(
            "2026-01-01T01:00:00.007+01:00"
                .parse::<Timestamp>()
                .unwrap(),
            at
        );
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.000Z");
        for bad in ["", "yesterday", "2026-01-01", "1969-12-31T23:59:59Z"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_stops_at_its_bounds() {
        let at = Timestamp::from_millis(5);
        assert_eq!(at.since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(
            at.saturating_sub(Duration::from_secs(1)),
            Timestamp::default()
        );
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
    }
}
