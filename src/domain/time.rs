//! A moment of wall time, as it is stored and shown.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

/// Milliseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Why a text is not a time that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTimestamp {
    #[error("not an RFC 3339 time such as 2030-01-01T00:00:00Z")]
    Malformed,
    #[error("a time before 1970")]
    TooEarly,
    #[error("a time after the year 9999, in UTC")]
    TooLate,
}

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z, the last moment that RFC 3339 can write.
    pub const MAX: Timestamp = Timestamp(253_402_300_799_999);

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
        // `from_millis` keeps the value inside what both can hold.
        let since = SignedDuration::from_millis(self.0 as i64);
        let moment = EPOCH.checked_add(since).map_err(|_| fmt::Error)?;
        write!(f, "{moment:.3}Z")
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let (local, offset) = rfc_3339(text).ok_or(BadTimestamp::Malformed)?;
        let millis = local.duration_since(EPOCH).as_millis() - offset.as_millis();
        match u64::try_from(millis) {
            Err(_) if millis < 0 => Err(BadTimestamp::TooEarly),
            Ok(millis) if millis <= Self::MAX.0 => Ok(Timestamp(millis)),
            _ => Err(BadTimestamp::TooLate),
        }
    }
}

/// The local time and its offset from UTC, of exactly the grammar of RFC 3339 section 5.6:
/// jiff alone takes much of ISO 8601 and RFC 9557 besides.
fn rfc_3339(text: &str) -> Option<(DateTime, SignedDuration)> {
    const SECONDS: usize = "2030-01-01T00:00:00".len();
    let (date_time, rest) = text.split_at_checked(SECONDS)?;
    let shape = date_time.bytes().zip("dddd-dd-ddTdd:dd:dd".bytes());
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        b'T' => byte.eq_ignore_ascii_case(&b'T'),
        exact => byte == exact,
    };
    if !shape.into_iter().all(fits) {
        return None;
    }
    let (fraction, offset) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (digits, offset) = rest.split_at(end);
            (digits.get(..1).and(Some(digits))?, offset)
        }
    };
    let local: DateTime = date_time.to_ascii_uppercase().parse().ok()?;
    // Milliseconds are what is stored.
    let millis = fraction.bytes().chain(*b"000").take(3);
    let millis = millis.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let local = local
        .checked_add(SignedDuration::from_millis(millis))
        .ok()?;
    Some((local, offset_of(offset)?))
}

/// `Z`, `+01:30` or `-01:30`.
fn offset_of(text: &str) -> Option<SignedDuration> {
    let sign = match text.bytes().next()? {
        b'Z' | b'z' if text.len() == 1 => return Some(SignedDuration::ZERO),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let two_digits = |text: &str, most: i64| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: i64 = text.parse().ok().filter(|_| digits)?;
        (number <= most).then_some(number)
    };
    let minutes = two_digits(hours, 23)? * 60 + two_digits(minutes, 59)?;
    Some(SignedDuration::from_mins(sign * minutes))
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
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
        for (text, millis) in [
            ("1970-01-01t00:00:00z", 0),
            ("1970-01-01T00:00:00.5Z", 500),
            ("1970-01-01T00:00:00.0079999999999Z", 7),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1970-01-01T23:59:00+23:59", 0),
            ("1970-01-01T00:00:00-00:00", 0),
            ("9999-12-31T23:59:59.999Z", Timestamp::MAX.as_millis()),
            ("9999-12-31T23:59:59.999+00:00", Timestamp::MAX.as_millis()),
        ] {
            let read: Timestamp = text.parse().unwrap();
            assert_eq!(read.as_millis(), millis, "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc_3339_is_refused_and_what_is_out_of_bounds_says_so() {
        use BadTimestamp::{Malformed, TooEarly, TooLate};
        for (text, why) in [
            ("", Malformed),
            ("yesterday", Malformed),
            ("2026-01-01", Malformed),
            ("2026-01-01T00:00:00", Malformed),
            ("2026-01-01T00:00Z", Malformed),
            ("2026-01-01T00Z", Malformed),
            ("2026-01-01 00:00:00Z", Malformed),
            ("20260101T000000Z", Malformed),
            ("2026-01-01T00:00:00,5Z", Malformed),
            ("2026-01-01T00:00:00.Z", Malformed),
            ("2026-01-01T00:00:00.5", Malformed),
            ("2026-01-01T00:00:00+01", Malformed),
            ("2026-01-01T00:00:00+0100", Malformed),
            ("2026-01-01T00:00:00+24:00", Malformed),
            ("2026-01-01T00:00:00+01:60", Malformed),
            ("2026-01-01T00:00:00+01:00:00", Malformed),
            ("2026-01-01T00:00:00+01:00[Europe/Paris]", Malformed),
            ("2026-01-01T00:00:00Z[UTC]", Malformed),
            ("2026-01-01T00:00:00ZZ", Malformed),
            ("2026-02-30T00:00:00Z", Malformed),
            ("2026-01-01T24:00:00Z", Malformed),
            ("+002026-01-01T00:00:00Z", Malformed),
            ("2026-01-01T00:00:0\u{e9}Z", Malformed),
            ("1969-12-31T23:59:59Z", TooEarly),
            ("1970-01-01T00:00:00+00:01", TooEarly),
            ("0000-01-01T00:00:00Z", TooEarly),
            ("9999-12-31T23:59:59-00:01", TooLate),
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(why), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(millis in 0..=Timestamp::MAX.as_millis()) {
            let at = Timestamp::from_millis(millis);
            proptest::prop_assert_eq!(at.to_string().parse(), Ok(at));
        }

        #[test]
        fn anything_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<Timestamp>();
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
