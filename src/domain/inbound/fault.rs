//! Why the definition of a source is refused.

/// A key of a definition is wrong. Never repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {fix}")]
pub struct BadSource {
    /// Such as `verify.content` or `secrets[1]`.
    pub key: String,
    pub problem: String,
    pub fix: String,
}

impl BadSource {
    pub(super) fn new(
        key: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> BadSource {
        BadSource {
            key: key.into(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}
