//! The limits of a rendering.

/// What a rendering may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub steps: u64,
    /// In bytes.
    pub output: usize,
}

impl Limits {
    /// The steps of the contract.
    pub const STEPS: u64 = 50_000;
}
