//! What is refused when a filter is saved, and where the message says that it is.

use crate::domain::filter::{
    BadFilter, Filter, MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_NODES, Problem,
};
use crate::domain::json::Json;

/// Filter, the path of the fault, a part of the message.
const REFUSED: [(&str, &str, &str); 58] = [
    // The root.
    ("1", "", "must be an object"),
    ("null", "", "must be an object"),
    ("\"a\"", "", "must be an object"),
    ("[]", "", "must be an object"),
    ("{\"$not\": 1}", "$not", "must be an object"),
    ("{\"$or\": [{}, \"a\"]}", "$or[1]", "must be an object"),
    ("{\"$gt\": 5}", "$gt", "put it under a field"),
    (
        "{\"$and\": [{\"$exist\": true}]}",
        "$and[0].$exist",
        "put it under a field",
    ),
    // Unknown operators.
    (
        "{\"data\": {\"amount\": {\"$gtt\": 1}}}",
        "data.amount.$gtt",
        "did you mean $gt",
    ),
    ("{\"a\": {\"$GTE\": 1}}", "a.$GTE", "did you mean $gte?"),
    ("{\"a\": {\"$ne\": 1}}", "a.$ne", "did you mean $neq?"),
    (
        "{\"a\": {\"$exists\": true}}",
        "a.$exists",
        "did you mean $exist?",
    ),
    (
        "{\"a\": {\"$startswith\": \"x\"}}",
        "a.$startswith",
        "did you mean $startsWith?",
    ),
    (
        "{\"a\": {\"$endWith\": \"x\"}}",
        "a.$endWith",
        "did you mean $endsWith?",
    ),
    ("{\"a\": {\"$notin\": []}}", "a.$notin", "did you mean"),
    (
        "{\"a\": {\"$regex\": \"x\"}}",
        "a.$regex",
        "the operators are $eq, $neq",
    ),
    ("{\"a\": {\"$ref\": \"x\"}}", "a.$ref", "the operators are"),
    ("{\"$nor\": []}", "$nor", "write {\"$not\": {\"$or\""),
    (
        "{\"a\": {\"$all\": []}}",
        "a.$all",
        "the list without an operator",
    ),
    ("{\"a\": {\"$\": 1}}", "a.$", "is not an operator"),
    (
        "{\"$or\": [{\"a\": {\"$x\": 1}}]}",
        "$or[0].a.$x",
        "is not an operator",
    ),
    (
        "{\"a\": [{\"$gte\": 1}, {\"$zzzzzz\": 1}]}",
        "a[1].$zzzzzz",
        "is not an operator",
    ),
    // Operators and fields in one object.
    (
        "{\"a\": {\"$gt\": 1, \"b\": 1}}",
        "a.b",
        "stand in one object",
    ),
    ("{\"a\": {\"b\": 1, \"$gt\": 1}}", "a.b", "$and"),
    (
        "{\"$or\": [], \"type\": \"a\"}",
        "type",
        "stand in one object",
    ),
    (
        "{\"a\": {\"$not\": {\"$gt\": 1, \"x\": 1}}}",
        "a.$not.x",
        "stand in one object",
    ),
    // Operands of a wrong type.
    (
        "{\"a\": {\"$gt\": null}}",
        "a.$gt",
        "is null; write a number or a string",
    ),
    ("{\"a\": {\"$gte\": true}}", "a.$gte", "a boolean"),
    ("{\"a\": {\"$lt\": [1]}}", "a.$lt", "an array"),
    ("{\"a\": {\"$lte\": {}}}", "a.$lte", "an object"),
    ("{\"a\": {\"$in\": {}}}", "a.$in", "a list of scalars"),
    ("{\"a\": {\"$in\": [1, [2]]}}", "a.$in[1]", "use $or"),
    (
        "{\"a\": {\"$nin\": [{}]}}",
        "a.$nin[0]",
        "a list of scalars",
    ),
    ("{\"a\": {\"$nin\": {\"b\": 1}}}", "a.$nin", "an object"),
    (
        "{\"a\": {\"$startsWith\": 1}}",
        "a.$startsWith",
        "a string or a list of strings",
    ),
    (
        "{\"a\": {\"$startsWith\": [\"x\", 1]}}",
        "a.$startsWith",
        "a list of strings",
    ),
    ("{\"a\": {\"$endsWith\": null}}", "a.$endsWith", "is null"),
    ("{\"a\": {\"$endsWith\": {}}}", "a.$endsWith", "an object"),
    ("{\"a\": {\"$exist\": 1}}", "a.$exist", "true or false"),
    ("{\"a\": {\"$exist\": \"true\"}}", "a.$exist", "a string"),
    ("{\"a\": {\"$exist\": null}}", "a.$exist", "is null"),
    ("{\"$or\": {}}", "$or", "a list of conditions"),
    ("{\"a\": {\"$or\": 1}}", "a.$or", "a list of conditions"),
    ("{\"$and\": {\"a\": 1}}", "$and", "a list of conditions"),
    (
        "{\"a\": {\"$and\": null}}",
        "a.$and",
        "a list of conditions",
    ),
    // Keys.
    ("{\"a.$gt\": 1}", "a.$gt", "write {\"a\": {\"$gt\": …}}"),
    (
        "{\"data\": {\"a.b.$in\": [1]}}",
        "data.a.b.$in",
        "write {\"a.b\": {\"$in\": …}}",
    ),
    ("{\"items.$.sku\": 1}", "items.$.sku", "wildcard"),
    ("{\"items.$\": 1}", "items.$", "wildcard"),
    // Not JSON.
    ("", "", "line 1 column 1"),
    ("{\"a\":}", "", "not JSON"),
    ("{\n\"a\": 01}", "", "line 2"),
    ("{\"a\": 1,}", "", "not JSON"),
    ("{'a': 1}", "", "not JSON"),
    ("{\"a\": NaN}", "", "not JSON"),
    ("{\"a\": +1}", "", "not JSON"),
    ("{\"a\": 1} x", "", "not JSON"),
    ("{\"a\": 1", "", "not JSON"),
];

#[test]
fn a_refusal_names_the_place_and_the_fix() {
    for (text, path, part) in REFUSED {
        let fault = Filter::parse_text(text).expect_err(text);
        assert_eq!(fault.path(), path, "{text}: {fault}");
        assert!(fault.to_string().contains(part), "{text}: {fault}");
    }
}

fn problem(text: &str) -> Option<Problem> {
    match Filter::parse_text(text) {
        Err(BadFilter::At { problem, .. }) => Some(problem),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

#[test]
fn depth_is_bounded_in_every_form() {
    let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
    assert_eq!(problem(&nested(MAX_DEPTH)), None);
    assert_eq!(problem(&nested(MAX_DEPTH + 1)), Some(Problem::TooDeep));
    let dotted = |parts: usize| format!("{{\"{}\": 1}}", vec!["a"; parts].join("."));
    assert_eq!(problem(&dotted(MAX_DEPTH)), None);
    assert_eq!(problem(&dotted(MAX_DEPTH + 1)), Some(Problem::TooDeep));
    let not = |levels: usize| "{\"$not\":".repeat(levels) + "{}" + &"}".repeat(levels);
    assert_eq!(problem(&not(MAX_DEPTH - 1)), None);
    assert_eq!(problem(&not(MAX_DEPTH)), Some(Problem::TooDeep));
    for operator in ["$eq", "$neq"] {
        let operand = |levels: usize| {
            format!(
                "{{\"a\":{{\"{operator}\":{}{}}}}}",
                "[".repeat(levels),
                "]".repeat(levels)
            )
        };
        assert_eq!(problem(&operand(MAX_DEPTH - 2)), None);
        assert_eq!(problem(&operand(MAX_DEPTH - 1)), Some(Problem::TooDeep));
    }
    let items = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(problem(&items(MAX_DEPTH - 1)), None);
    assert_eq!(problem(&items(MAX_DEPTH)), Some(Problem::TooDeep));
}

#[test]
fn values_are_bounded() {
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|n| format!("\"f{n}\": 1")).collect();
        format!("{{{}}}", fields.join(","))
    };
    assert_eq!(problem(&fields(MAX_NODES - 1)), None);
    assert_eq!(problem(&fields(MAX_NODES)), Some(Problem::TooManyNodes));
    let items = |count: usize| format!("{{\"a\": {{\"$eq\": [{}]}}}}", vec!["1"; count].join(","));
    assert_eq!(problem(&items(MAX_NODES - 3)), None);
    assert_eq!(problem(&items(MAX_NODES - 2)), Some(Problem::TooManyNodes));
}

#[test]
fn lists_are_bounded() {
    for (operator, entry) in [
        ("$in", "1"),
        ("$nin", "1"),
        ("$startsWith", "\"a\""),
        ("$endsWith", "\"a\""),
    ] {
        let list = |count: usize| {
            format!(
                "{{\"a\": {{\"{operator}\": [{}]}}}}",
                vec![entry; count].join(",")
            )
        };
        assert_eq!(problem(&list(MAX_ENTRIES)), None);
        let entries = MAX_ENTRIES + 1;
        assert_eq!(
            problem(&list(entries)),
            Some(Problem::TooManyEntries { entries })
        );
    }
}

#[test]
fn bytes_are_bounded_before_and_after_reading() {
    let padded = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    assert!(Filter::parse_text(&padded(MAX_BYTES)).is_ok());
    let bytes = MAX_BYTES + 1;
    assert_eq!(
        Filter::parse_text(&padded(bytes)).unwrap_err(),
        BadFilter::TooLong { bytes }
    );
    // Also of what does not come from a text.
    let long = Json::parse(format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_BYTES)).as_bytes()).unwrap();
    assert!(matches!(
        Filter::parse(&long),
        Err(BadFilter::TooLong { .. })
    ));
    // Written, this is longer than it was: what is accepted must be accepted when it is read again.
    let grows = format!("{{\"a\": \"{}\"}}", "\\b".repeat(MAX_BYTES / 3));
    assert!(matches!(
        Filter::parse_text(&grows),
        Err(BadFilter::TooLong { .. })
    ));
}

#[test]
fn a_number_that_is_none_is_refused() {
    for text in [
        "{\"a\": 1}",
        "{\"a\": {\"$gt\": 1}}",
        "{\"a\": {\"$in\": [1]}}",
    ] {
        fn spoil(json: &mut Json) {
            match json {
                Json::Number(text) => *text = "1x".into(),
                Json::Array(items) => items.iter_mut().for_each(spoil),
                Json::Object(fields) => fields.values_mut().for_each(spoil),
                _ => {}
            }
        }
        let mut json = Json::parse(text.as_bytes()).unwrap();
        spoil(&mut json);
        let fault = Filter::parse(&json).unwrap_err().to_string();
        assert!(fault.contains("1x is not a JSON number"), "{fault}");
    }
}
