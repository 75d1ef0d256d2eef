//! Why a source is no template, where, and how to fix it.

/// A source that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; {fix}", self.what())]
pub struct BadTemplate {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: Option<usize>,
    pub problem: String,
    pub fix: String,
}

impl BadTemplate {
    /// What is wrong and where, without the fix.
    pub fn what(&self) -> String {
        let BadTemplate { problem, line, .. } = self;
        format!("{problem} at line {line}{}", column_text(&self.column))
    }
}

fn column_text(column: &Option<usize>) -> String {
    column
        .map(|column| format!(" column {column}"))
        .unwrap_or_default()
}
