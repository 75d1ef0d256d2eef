//! Why a source is no template, where, and how to fix it.

/// A source that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line}{}; {fix}", column_text(.column))]
pub struct BadTemplate {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: Option<usize>,
    pub problem: String,
    pub fix: String,
}

fn column_text(column: &Option<usize>) -> String {
    column
        .map(|column| format!(" column {column}"))
        .unwrap_or_default()
}
