//! How large a filter may be, and what judging it may cost.

/// The longest text of a filter, in bytes; also without its whitespace.
pub const MAX_BYTES: usize = 16 * 1024;
/// The deepest nesting of objects and arrays in a filter; each part of a dotted key counts.
pub const MAX_DEPTH: usize = 32;
/// The most values in a filter, the root included, entries of lists excepted.
pub const MAX_NODES: usize = 256;
/// The most entries of the list of `$in`, `$nin`, `$startsWith` or `$endsWith`.
pub const MAX_ENTRIES: usize = 1000;
/// The most steps of one judgement. A step is one condition at one value, and more for long
/// ones; it takes some ten nanoseconds. A plain value or a comparison with each of 200,000 numbers
/// in an array always fits.
pub const MAX_STEPS: u32 = 500_000;
