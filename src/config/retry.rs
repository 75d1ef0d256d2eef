//! `[retry]`, and an endpoint's overrides of it.

use super::policy::{BadRetry, check_retry};
use super::reader::{Flaw, Reader, Section, Value};
use super::values::{ANY_DURATION, duration};
use crate::domain::retry::RetryPolicy;

/// Reads a table of retry keys; what it leaves out is as in `base`.
pub(super) fn read_retry(
    reader: &Reader<'_>,
    mut retry: Section<'_>,
    base: &RetryPolicy,
) -> RetryPolicy {
    let before = reader.count();
    let any = || duration(ANY_DURATION);
    let read = RetryPolicy {
        first: retry.take("first", any()).unwrap_or(base.first),
        factor: retry.take("factor", Value::decimal).unwrap_or(base.factor),
        max: retry.take("max", any()).unwrap_or(base.max),
        jitter: retry.take("jitter", Value::decimal).unwrap_or(base.jitter),
        give_up_after: retry
            .take("give_up_after", any())
            .unwrap_or(base.give_up_after),
        schedule: retry
            .each("schedule", any())
            .unwrap_or_else(|| base.schedule.clone()),
    };
    let sound = reader.count() == before;
    for bad in check_retry(&read) {
        // With a default in place of a faulty value the comparison would mislead.
        if bad == BadRetry::Max && !sound {
            continue;
        }
        // What was inherited is reported where it was written.
        let key = if bad == BadRetry::Max && !retry.has("max") {
            "first"
        } else {
            bad.key()
        };
        if retry.has(key) {
            retry.fault(key, &Flaw::new(bad.to_string(), bad.fix()));
        }
    }
    retry.finish();
    read
}
