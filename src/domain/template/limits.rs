//! The limits of a rendering.

/// What a rendering may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub steps: u64,
    /// In bytes.
    pub output: usize,
}

impl Limits {
    /// The steps that docs/shaping.md promises.
    pub const STEPS: u64 = 50_000;
}
