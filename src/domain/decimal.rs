//! JSON numbers compared by value, exactly.
//!
//! A double would make equal what is not (ids over 2^53) and unequal what is (`0.1`, `1e-1`).
//! A number (RFC 8259, 6) is kept as its significant digits and the power of ten of the first
//! one, so that `1e999999999` costs as little as `1`: an exponent is never expanded, whatever
//! its length. Parsing and comparing are linear in the text, and neither allocates.

use std::borrow::Cow;
use std::cmp::Ordering;

/// This many digits of an exponent are counted in an `i128`; those before them stay text.
const LOW_DIGITS: usize = 30;
/// Ten to the power of [`LOW_DIGITS`].
const HIGH_UNIT: i128 = 10_i128.pow(30);

/// The text is not a number in the grammar of RFC 8259.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JSON number; write digits such as -12.50 or 1e3")]
pub struct NotANumber;

/// A number as sign, digits and power of ten. `1`, `1.0`, `10e-1` are equal, and so are `-0`, `0`.
#[derive(Clone, Debug)]
pub struct Decimal<'a> {
    /// False for zero.
    negative: bool,
    /// The significant digits: `whole`, then `fraction`. Without leading and trailing zeros;
    /// both are empty for zero.
    whole: Cow<'a, [u8]>,
    fraction: Cow<'a, [u8]>,
    power: Power<'a>,
}

/// The power of ten by which `0.DIGITS` is multiplied.
#[derive(Clone, Debug)]
struct Power<'a> {
    /// The sign of `high`.
    negative: bool,
    /// The digits of a written exponent but the last [`LOW_DIGITS`], almost always none.
    high: Cow<'a, [u8]>,
    /// The rest, with its sign and the place of the decimal point added.
    low: i128,
}

impl<'a> Decimal<'a> {
    /// Reads a JSON number that fills `text`.
    ///
    /// # Errors
    /// The text is not a JSON number.
    pub fn parse(text: &'a str) -> Result<Decimal<'a>, NotANumber> {
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (whole, rest) = digits(rest);
        if whole.is_empty() || matches!(whole, [b'0', _, ..]) {
            return Err(NotANumber);
        }
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => match digits(rest) {
                ([], _) => return Err(NotANumber),
                parts => parts,
            },
            rest => (<&[u8]>::default(), rest),
        };
        let (below, exponent) = match rest {
            [] => (false, <&[u8]>::default()),
            [b'e' | b'E', rest @ ..] => {
                let (below, rest) = match rest {
                    [b'-', rest @ ..] => (true, rest),
                    [b'+', rest @ ..] => (false, rest),
                    rest => (false, rest),
                };
                match digits(rest) {
                    (exponent @ [_, ..], []) => (below, exponent),
                    _ => return Err(NotANumber),
                }
            }
            _ => return Err(NotANumber),
        };
        Ok(Decimal::normal(negative, whole, fraction, below, exponent))
    }

    fn normal(
        negative: bool,
        whole: &'a [u8],
        fraction: &'a [u8],
        below: bool,
        exponent: &'a [u8],
    ) -> Decimal<'a> {
        let whole = without_leading_zeros(whole);
        let significant = if whole.is_empty() {
            without_leading_zeros(fraction)
        } else {
            fraction
        };
        // Where the decimal point stands, counted from the first significant digit.
        let point = length(whole) + length(significant) - length(fraction);
        let significant = without_trailing_zeros(significant);
        let whole = if significant.is_empty() {
            without_trailing_zeros(whole)
        } else {
            whole
        };
        if whole.is_empty() && significant.is_empty() {
            return Decimal {
                negative: false,
                whole: Cow::Borrowed(&[]),
                fraction: Cow::Borrowed(&[]),
                power: Power {
                    negative: false,
                    high: Cow::Borrowed(&[]),
                    low: 0,
                },
            };
        }
        let exponent = without_leading_zeros(exponent);
        let (high, low) = exponent
            .split_at_checked(exponent.len().saturating_sub(LOW_DIGITS))
            .unwrap_or((&[], exponent));
        let low = low
            .iter()
            .fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        Decimal {
            negative,
            whole: Cow::Borrowed(whole),
            fraction: Cow::Borrowed(significant),
            power: Power {
                negative: below,
                high: Cow::Borrowed(high),
                low: if below { point - low } else { point + low },
            },
        }
    }

    /// The same number with digits of its own.
    pub fn into_owned(self) -> Decimal<'static> {
        Decimal {
            negative: self.negative,
            whole: Cow::Owned(self.whole.into_owned()),
            fraction: Cow::Owned(self.fraction.into_owned()),
            power: Power {
                negative: self.power.negative,
                high: Cow::Owned(self.power.high.into_owned()),
                low: self.power.low,
            },
        }
    }

    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (
            self.whole.is_empty() && self.fraction.is_empty(),
            self.negative,
        ) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Decimal<'_>) -> Ordering {
        let by_sign = self.sign().cmp(&other.sign());
        if by_sign != Ordering::Equal || self.sign() == 0 {
            return by_sign;
        }
        // Digits end in no zero, so of two that begin alike the longer is the larger.
        let by_size = self.power.cmp(&other.power).then_with(|| {
            compare_joined(
                (&self.whole, &self.fraction),
                (&other.whole, &other.fraction),
            )
        });
        if self.negative {
            by_size.reverse()
        } else {
            by_size
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Decimal<'_>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Decimal<'_>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal<'_> {}

impl Power<'_> {
    fn cmp(&self, other: &Power<'_>) -> Ordering {
        let low = self.low - other.low;
        if self.high.is_empty() && other.high.is_empty() {
            return low.cmp(&0);
        }
        // The difference of the high parts, capped at 2: more than that no low parts undo,
        // because with equal signs they differ by little over one unit and with unequal signs
        // they point the same way as the high parts.
        let width = self.high.len().max(other.high.len());
        let mut high = 0;
        for place in (0..width).rev() {
            let step = digit_at(&self.high, self.negative, place)
                - digit_at(&other.high, other.negative, place);
            high = (high * 10 + step).clamp(-2, 2);
        }
        (high * HIGH_UNIT + low).cmp(&0)
    }
}

/// The digit that `place` others follow, with the sign of its number; 0 before the first one.
fn digit_at(digits: &[u8], negative: bool, place: usize) -> i128 {
    let digit = digits
        .iter()
        .rev()
        .nth(place)
        .map_or(0, |digit| i128::from(digit - b'0'));
    if negative { -digit } else { digit }
}

/// Compares two digit strings that are given in two parts each.
fn compare_joined(a: (&[u8], &[u8]), b: (&[u8], &[u8])) -> Ordering {
    let (first, a_rest, b_rest) = compare_heads(a.0, b.0);
    if first != Ordering::Equal {
        return first;
    }
    // At most one of the two rests is not empty; it stands against the other's second part.
    let (second, a_rest, b_rest) = if a_rest.is_empty() {
        let (order, tail, left) = compare_heads(a.1, b_rest);
        if left.is_empty() {
            (order, tail, b.1)
        } else {
            (order, tail, left)
        }
    } else {
        let (order, left, tail) = compare_heads(a_rest, b.1);
        if left.is_empty() {
            (order, a.1, tail)
        } else {
            (order, left, tail)
        }
    };
    second.then_with(|| a_rest.cmp(b_rest))
}

/// Compares as many bytes as the shorter has; with what is left of each.
fn compare_heads<'a, 'b>(a: &'a [u8], b: &'b [u8]) -> (Ordering, &'a [u8], &'b [u8]) {
    let length = a.len().min(b.len());
    let (a_head, a_rest) = a.split_at_checked(length).unwrap_or((a, &[]));
    let (b_head, b_rest) = b.split_at_checked(length).unwrap_or((b, &[]));
    (a_head.cmp(b_head), a_rest, b_rest)
}

/// The digits that `text` begins with, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

fn without_leading_zeros(digits: &[u8]) -> &[u8] {
    let start = digits
        .iter()
        .position(|digit| *digit != b'0')
        .unwrap_or(digits.len());
    digits.get(start..).unwrap_or_default()
}

fn without_trailing_zeros(digits: &[u8]) -> &[u8] {
    let end = digits
        .iter()
        .rposition(|digit| *digit != b'0')
        .map_or(0, |last| last + 1);
    digits.get(..end).unwrap_or_default()
}

fn length(digits: &[u8]) -> i128 {
    i128::try_from(digits.len()).unwrap_or(i128::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal<'_> {
        Decimal::parse(text).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let ascending = [
            "-1e99999999999999999999999999999999999999",
            "-1e999999999",
            "-18446744073709551617",
            "-18446744073709551616.5",
            "-2",
            "-1.01",
            "-1",
            "-1e-999999999",
            "0",
            "1e-99999999999999999999999999999999999999",
            "1e-999999999",
            "0.0999999999999999999999999999",
            "0.1",
            "0.10000000000000000000000001",
            "1",
            "1.0000000000000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "1e999999999",
            "1.1e999999999",
            "9e99999999999999999999999999999999999998",
            "1e99999999999999999999999999999999999999",
        ];
        for (n, a) in ascending.into_iter().enumerate() {
            for (m, b) in ascending.into_iter().enumerate() {
                assert_eq!(decimal(a).cmp(&decimal(b)), n.cmp(&m), "{a} and {b}");
            }
        }
    }

    #[test]
    fn the_place_of_the_point_does_not_outweigh_a_long_exponent() {
        let (a, b) = (
            "3e2000000000000000000000000000000",
            "33333e999999999999999999999999999999",
        );
        assert!(decimal(a) > decimal(b));
        let (a, b) = (
            "0.00003e-999999999999999999999999999999",
            "3e-2000000000000000000000000000000",
        );
        assert!(decimal(a) > decimal(b));
    }

    #[test]
    fn a_value_may_be_written_in_many_ways() {
        for (a, b) in [
            ("-0", "0"),
            ("0e5", "0"),
            ("-0.000e-7", "0e999999999999999999999999999999999999999999"),
            ("1", "1.0"),
            ("1", "1e0"),
            ("1", "0.1e1"),
            ("1", "10E-1"),
            ("100", "1e+2"),
            ("0.00120", "12e-4"),
            ("12.50", "125e-1"),
            ("1e0000000000000000000000000000000000000000000001", "10"),
            (
                "1e1000000000000000000000000000000",
                "10e999999999999999999999999999999",
            ),
            (
                "1e-1000000000000000000000000000000",
                "0.1e-999999999999999999999999999999",
            ),
            (
                "100e-1000000000000000000000000000000",
                "1e-999999999999999999999999999998",
            ),
        ] {
            assert_eq!(decimal(a), decimal(b), "{a} and {b}");
            assert_eq!(decimal(a).into_owned(), decimal(b), "{a} and {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "", "-", "+1", "01", "-01", ".5", "1.", "1.e1", "1e", "1e+", "1e1.5", "0x1", "1 ",
            " 1", "NaN", "Infinity", "1_000", "--1", "1e--1", "é",
        ] {
            assert_eq!(Decimal::parse(text).err(), Some(NotANumber), "{text}");
        }
    }

    #[test]
    fn long_digit_strings_take_linear_time() {
        let zeros = "0".repeat(4_000_000);
        let (a, b) = (format!("1{zeros}.{zeros}1"), format!("1{zeros}.{zeros}2"));
        assert!(decimal(&a) < decimal(&b));
        let (a, b) = (format!("1e{zeros}1"), format!("1e1{zeros}"));
        assert!(decimal(&a) < decimal(&b));
        let (a, b) = (format!("1e-1{zeros}"), format!("1e1{zeros}"));
        assert!(decimal(&a) < decimal(&b));
    }

    /// Digits, and the power of ten of the last one.
    fn scaled() -> impl Strategy<Value = (BigInt, i32)> {
        (prop_oneof![-1000..1000_i128, any::<i128>()], -40..40)
            .prop_map(|(n, power)| (n.into(), power))
    }

    fn integer((digits, power): &(BigInt, i32)) -> BigInt {
        digits * BigInt::from(10).pow((power + 100) as u32)
    }

    /// The same value with the decimal point `shift` digits further left.
    fn written((digits, power): &(BigInt, i32), shift: usize, offset: &BigInt) -> String {
        let (sign, digits) = match digits.to_string().strip_prefix('-') {
            Some(digits) => ("-", digits.to_owned()),
            None => ("", digits.to_string()),
        };
        let padded = format!(
            "{}{digits}",
            "0".repeat((shift + 1).saturating_sub(digits.len()))
        );
        let (whole, fraction) = padded.split_at(padded.len() - shift);
        let exponent = offset + power + shift;
        let dot = if shift == 0 { "" } else { "." };
        format!("{sign}{whole}{dot}{fraction}e{exponent}")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn order_agrees_with_big_integers(
            a in scaled(), b in scaled(), near in any::<bool>(), shifts in (0..45_usize, 0..45_usize),
            offset in "-?[1-9][0-9]{0,60}", with_offset in any::<bool>(),
        ) {
            let b = if near { (a.0.clone() * 10, a.1 - 1) } else { b };
            let offset: BigInt = if with_offset { offset.parse().unwrap() } else { BigInt::ZERO };
            let (x, y) = (written(&a, shifts.0, &offset), written(&b, shifts.1, &offset));
            prop_assert_eq!(decimal(&x).cmp(&decimal(&y)), integer(&a).cmp(&integer(&b)), "{} {}", x, y);
        }

        #[test]
        fn exponents_compare_by_value(e in "-?[1-9][0-9]{0,70}", f in "-?[1-9][0-9]{0,70}") {
            let (a, b): (BigInt, BigInt) = (e.parse().unwrap(), f.parse().unwrap());
            let (x, y) = (format!("3e{e}"), format!("3e{f}"));
            prop_assert_eq!(decimal(&x).cmp(&decimal(&y)), a.cmp(&b));
        }

        #[test]
        fn exponents_one_apart_across_the_cut(e in 25..40_usize, step in -3..3_i32, negative in any::<bool>()) {
            let base = BigInt::from(10).pow(e as u32) * if negative { -1 } else { 1 };
            let (x, y) = (format!("3e{base}"), format!("3e{}", &base + step));
            prop_assert_eq!(decimal(&x).cmp(&decimal(&y)), 0.cmp(&step));
        }

        #[test]
        fn parse_never_panics(text in "[-+0-9.eE]{0,12}") {
            let _ = Decimal::parse(&text);
        }
    }
}
