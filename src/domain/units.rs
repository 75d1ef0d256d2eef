//! Durations, sizes and rates as people write them: `"5s"`, `"64KiB"`, `"50/s"`.
//!
//! One whole number and one unit. Fractions and sums (`"1.5h"`, `"1h30m"`) are refused
//! with the way to write them instead, so that what is shown is what was written. What
//! `show_*` writes, `parse_*` reads back as the same value. The API uses the same texts.

use std::fmt;
use std::time::Duration;

use crate::domain::rate::Rate;

/// The longest duration that is taken: ten years of 365 days. Sums of a few of them
/// stay far inside what clocks can count.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The highest rate that is taken, per second or per minute.
const MAX_RATE: u64 = 1_000_000_000;

/// What a text should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    Duration,
    Size,
    Rate,
}

/// The text is no such quantity. Says what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", self.problem(), self.fix())]
pub struct BadUnit {
    quantity: Quantity,
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    NoNumber,
    Negative,
    Fraction,
    Sum,
    NoUnit,
    UnknownUnit,
    /// `KB` and the like, which leaves open whether 1000 or 1024 is meant.
    DecimalUnit,
    Zero,
    TooLarge,
}

impl BadUnit {
    fn new(quantity: Quantity, flaw: Flaw) -> Self {
        BadUnit { quantity, flaw }
    }

    /// What is wrong with the text, without repeating it.
    pub fn problem(&self) -> String {
        let what = self.quantity;
        match self.flaw {
            Flaw::NoNumber => format!("not a {what}: it begins with no whole number"),
            Flaw::Negative => format!("a {what} cannot be negative"),
            Flaw::Fraction => format!("a {what} takes whole numbers only"),
            Flaw::Sum => format!("a {what} is one number and one unit, not a sum of several"),
            Flaw::NoUnit => format!("a {what} needs a unit"),
            Flaw::UnknownUnit => format!("a {what} knows no such unit"),
            Flaw::DecimalUnit => format!("a {what} counts in steps of 1024"),
            Flaw::Zero => format!("a {what} of 0 lets nothing through"),
            Flaw::TooLarge => format!("this {what} is too large"),
        }
    }

    /// What to write instead.
    pub fn fix(&self) -> &'static str {
        match (self.quantity, self.flaw) {
            (Quantity::Duration, Flaw::Fraction | Flaw::Sum) => {
                "take a smaller unit, such as \"90m\" for an hour and a half"
            }
            (Quantity::Duration, Flaw::TooLarge) => "write at most \"3650d\"",
            (Quantity::Duration, _) => "write ms, s, m, h or d after the number, such as \"5s\"",
            (Quantity::Size, Flaw::Fraction | Flaw::Sum) => {
                "take a smaller unit, such as \"1536MiB\" for one and a half GiB"
            }
            (Quantity::Size, Flaw::DecimalUnit) => "write KiB, MiB or GiB, such as \"64KiB\"",
            (Quantity::Size, _) => "write B, KiB, MiB or GiB after the number, such as \"64KiB\"",
            (Quantity::Rate, Flaw::Fraction) => {
                "count per minute, such as \"30/m\" for half of one a second"
            }
            (Quantity::Rate, Flaw::TooLarge) => "write at most \"1000000000/s\"",
            (Quantity::Rate, Flaw::Zero) => "write \"\" for no limit, or at least \"1/m\"",
            (Quantity::Rate, _) => "write /s or /m after the number, such as \"50/s\" or \"600/m\"",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Quantity::Duration => "duration",
            Quantity::Size => "size",
            Quantity::Rate => "rate",
        })
    }
}

/// The number that `text` begins with, and what follows it.
fn split(quantity: Quantity, text: &str) -> Result<(u64, &str), BadUnit> {
    let flawed = |flaw| Err(BadUnit::new(quantity, flaw));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return flawed(if text.starts_with('-') {
            Flaw::Negative
        } else {
            Flaw::NoNumber
        });
    }
    if unit.starts_with(['.', ',']) {
        return flawed(Flaw::Fraction);
    }
    if unit.contains(|c: char| c.is_ascii_digit()) {
        return flawed(Flaw::Sum);
    }
    match number.parse() {
        Ok(number) => Ok((number, unit)),
        Err(_) => flawed(Flaw::TooLarge),
    }
}

const DAY_MS: u64 = 86_400_000;
const DURATIONS: [(&str, u64); 5] = [
    ("d", DAY_MS),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads `"250ms"`, `"5s"`, `"10m"`, `"6h"` or `"7d"`; at most [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, BadUnit> {
    let flawed = |flaw| BadUnit::new(Quantity::Duration, flaw);
    let (number, unit) = split(Quantity::Duration, text)?;
    if unit.is_empty() {
        return Err(flawed(Flaw::NoUnit));
    }
    let (_, unit_ms) = DURATIONS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(flawed(Flaw::UnknownUnit))?;
    number
        .checked_mul(*unit_ms)
        .map(Duration::from_millis)
        .filter(|span| *span <= MAX_DURATION)
        .ok_or(flawed(Flaw::TooLarge))
}

/// Writes whole milliseconds in the largest unit that is exact; less than one is cut off.
/// One day is `"24h"`, as in `config.example.toml`.
pub fn show_duration(span: Duration) -> String {
    let millis = span.as_millis();
    let exact = |unit_ms: u64| {
        let day = unit_ms == DAY_MS && millis < 2 * u128::from(DAY_MS);
        millis != 0 && !day && millis.is_multiple_of(u128::from(unit_ms))
    };
    match DURATIONS.iter().find(|(_, unit_ms)| exact(*unit_ms)) {
        Some((name, unit_ms)) => format!("{}{name}", millis / u128::from(*unit_ms)),
        None => "0s".to_owned(),
    }
}

const SIZES: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads `"512B"`, `"64KiB"`, `"1MiB"` or `"10GiB"`, in bytes.
pub fn parse_size(text: &str) -> Result<u64, BadUnit> {
    let flawed = |flaw| BadUnit::new(Quantity::Size, flaw);
    let (number, unit) = split(Quantity::Size, text)?;
    if unit.is_empty() {
        return Err(flawed(Flaw::NoUnit));
    }
    let Some((_, bytes)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        let decimal = ["k", "m", "g", "kb", "mb", "gb"];
        let decimal = decimal.iter().any(|name| unit.eq_ignore_ascii_case(name));
        return Err(flawed(if decimal {
            Flaw::DecimalUnit
        } else {
            Flaw::UnknownUnit
        }));
    };
    number.checked_mul(*bytes).ok_or(flawed(Flaw::TooLarge))
}

/// Writes bytes in the largest unit that is exact.
pub fn show_size(bytes: u64) -> String {
    let exact = |unit: u64| bytes != 0 && bytes.is_multiple_of(unit);
    match SIZES.iter().find(|(_, unit)| exact(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => "0B".to_owned(),
    }
}

/// Reads `"50/s"` or `"600/m"`. `""`, which means no limit, is for the caller to see.
pub fn parse_rate(text: &str) -> Result<Rate, BadUnit> {
    let flawed = |flaw| BadUnit::new(Quantity::Rate, flaw);
    let (number, unit) = split(Quantity::Rate, text)?;
    let seconds = match unit {
        "/s" => 1.0,
        "/m" => 60.0,
        "" => return Err(flawed(Flaw::NoUnit)),
        _ => return Err(flawed(Flaw::UnknownUnit)),
    };
    match number {
        0 => Err(flawed(Flaw::Zero)),
        // Up to here every whole number is exact in an f64.
        1..=MAX_RATE => Ok(Rate {
            per_second: number as f64 / seconds,
        }),
        _ => Err(flawed(Flaw::TooLarge)),
    }
}

/// Writes a rate that [`parse_rate`] has read; any other is rounded to whole ones a minute.
pub fn show_rate(rate: Rate) -> String {
    // A cast from a float stops at the bounds of the integer and takes NaN as 0.
    let per_minute = ((rate.per_second * 60.0).round() as u64).max(1);
    if per_minute.is_multiple_of(60) {
        format!("{}/s", per_minute / 60)
    } else {
        format!("{per_minute}/m")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_documented_form() {
        let duration = |text| parse_duration(text).unwrap();
        assert_eq!(duration("250ms"), Duration::from_millis(250));
        assert_eq!(duration("5s"), Duration::from_secs(5));
        assert_eq!(duration("10m"), Duration::from_secs(600));
        assert_eq!(duration("6h"), Duration::from_secs(21_600));
        assert_eq!(duration("7d"), Duration::from_secs(604_800));
        assert_eq!(duration("0s"), Duration::ZERO);
        assert_eq!(duration("3650d"), MAX_DURATION);
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert_eq!(parse_size("10GiB"), Ok(10 << 30));
        assert_eq!(parse_rate("50/s").unwrap().per_second, 50.0);
        assert_eq!(parse_rate("600/m").unwrap().per_second, 10.0);
    }

    #[test]
    fn shows_every_documented_form() {
        for text in ["0s", "250ms", "5s", "10m", "6h", "24h", "3d", "7d"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0B", "512B", "64KiB", "1MiB", "10GiB"] {
            assert_eq!(show_size(parse_size(text).unwrap()), text);
        }
        for (text, shown) in [("50/s", "50/s"), ("600/m", "10/s"), ("90/m", "90/m")] {
            assert_eq!(show_rate(parse_rate(text).unwrap()), shown);
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        let says = |bad: BadUnit, part: &str| {
            let text = bad.to_string();
            assert!(text.contains(part), "{text:?} does not hold {part:?}");
        };
        let duration = |text| parse_duration(text).unwrap_err();
        says(duration("1h30m"), "not a sum");
        says(duration("1h30m"), "\"90m\"");
        says(duration("1.5h"), "whole numbers");
        says(duration("5"), "needs a unit");
        says(duration("5w"), "no such unit");
        says(duration("5 s"), "no such unit");
        says(duration("-5s"), "negative");
        says(duration(""), "no whole number");
        says(duration("٣s"), "no whole number");
        says(duration("3651d"), "\"3650d\"");
        says(duration("99999999999999999999s"), "too large");
        says(duration("18446744073709551615d"), "too large");
        let size = |text| parse_size(text).unwrap_err();
        for decimal in ["64KB", "64kb", "1MB", "1GB", "64k", "1M", "1G"] {
            says(size(decimal), "write KiB, MiB or GiB");
        }
        says(size("1024"), "needs a unit");
        says(size("1.5GiB"), "1536MiB");
        says(size("1 MiB"), "no such unit");
        says(size("17179869184GiB"), "too large");
        let rate = |text| parse_rate(text).unwrap_err();
        says(rate("50"), "needs a unit");
        says(rate("50/h"), "/s or /m");
        says(rate("0.5/s"), "30/m");
        says(rate("0/s"), "no limit");
        says(rate("1000000001/s"), "too large");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(
            ms in 0..=MAX_DURATION.as_millis() as u64,
            small in 0..100_000u64,
            bytes in any::<u64>(),
            rate in 1..=MAX_RATE,
        ) {
            for span in [ms, small, small * 1000, small * 60_000].map(Duration::from_millis) {
                prop_assert_eq!(parse_duration(&show_duration(span)), Ok(span));
            }
            for size in [bytes, small, small << 10, small << 20, small << 30] {
                prop_assert_eq!(parse_size(&show_size(size)), Ok(size));
            }
            for unit in ["/s", "/m"] {
                let read = parse_rate(&format!("{rate}{unit}")).unwrap();
                prop_assert_eq!(parse_rate(&show_rate(read)), Ok(read));
            }
        }

        #[test]
        fn no_text_panics(text in ".*", number in "[0-9]{0,22}", unit in "[a-zA-Z/.]{0,4}") {
            for text in [text, format!("{number}{unit}")] {
                let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text));
            }
        }

        #[test]
        fn no_value_panics(per_second in any::<f64>(), secs in any::<u64>()) {
            show_rate(Rate { per_second });
            show_duration(Duration::from_secs(secs));
        }
    }
}
