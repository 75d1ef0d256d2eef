//! The names of the filters. They stand apart from the functions because `map` takes a filter by
//! its name, and is one itself.

/// All filters, in the order of the tables of `filters_text` and `filters_list`.
pub const FILTERS: [&str; 46] = [
    "lower",
    "upper",
    "title",
    "capitalize",
    "trim",
    "replace",
    "truncate",
    "indent",
    "format",
    "string",
    "urlencode",
    "safe",
    "escape",
    "e",
    "tojson",
    "default",
    "d",
    "abs",
    "round",
    "int",
    "float",
    "length",
    "count",
    "join",
    "split",
    "lines",
    "list",
    "items",
    "dictsort",
    "first",
    "last",
    "min",
    "max",
    "sum",
    "sort",
    "unique",
    "reverse",
    "map",
    "select",
    "reject",
    "selectattr",
    "rejectattr",
    "groupby",
    "batch",
    "slice",
    "attr",
];

pub(super) fn is_filter(name: &str) -> bool {
    FILTERS.contains(&name)
}

/// All filters, for messages.
pub(super) fn filter_names() -> String {
    FILTERS.join(", ")
}

/// Whether a filter gives text, so that there is no list or map to print.
pub(super) fn gives_text(name: &str) -> bool {
    matches!(
        name,
        "lower"
            | "upper"
            | "title"
            | "capitalize"
            | "trim"
            | "replace"
            | "truncate"
            | "indent"
            | "format"
            | "string"
            | "urlencode"
            | "safe"
            | "escape"
            | "e"
            | "tojson"
            | "join"
    )
}
