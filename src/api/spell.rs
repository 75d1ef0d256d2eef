//! Values spelled as the configuration spells them: `"250ms"`, `"50/s"`.

use std::time::Duration;

use crate::domain::endpoint::{Ordering, Rate, Source};

/// The largest unit that divides the span: `"6h"`, `"90s"`, `"250ms"`.
pub fn duration(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
    ];
    for (unit, name) in units {
        if millis >= unit && millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}

/// Per second if that is a whole number, else per minute.
pub fn rate(rate: Rate) -> String {
    let per_minute = rate.per_second * 60.0;
    if rate.per_second.fract() == 0.0 {
        format!("{}/s", rate.per_second)
    } else if (per_minute - per_minute.round()).abs() < 1e-6 {
        format!("{}/m", per_minute.round())
    } else {
        format!("{}/s", rate.per_second)
    }
}

pub fn ordering(ordering: Ordering) -> &'static str {
    match ordering {
        Ordering::None => "none",
        Ordering::Key => "key",
        Ordering::Strict => "strict",
    }
}

pub fn source(source: Source) -> &'static str {
    match source {
        Source::Toml => "toml",
        Source::Api => "api",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_largest_unit_that_divides() {
        let spelled = |millis| duration(Duration::from_millis(millis));
        assert_eq!(spelled(0), "0ms");
        assert_eq!(spelled(250), "250ms");
        assert_eq!(spelled(20_000), "20s");
        assert_eq!(spelled(90_000), "90s");
        assert_eq!(spelled(6 * 3_600_000), "6h");
        assert_eq!(spelled(3 * 86_400_000), "3d");
    }

    #[test]
    fn rates_are_whole_numbers_where_they_can_be() {
        let spelled = |per_second| rate(Rate { per_second });
        assert_eq!(spelled(50.0), "50/s");
        assert_eq!(spelled(600.0 / 60.0), "10/s");
        assert_eq!(spelled(7.0 / 60.0), "7/m");
        assert_eq!(spelled(0.001), "0.001/s");
    }
}
