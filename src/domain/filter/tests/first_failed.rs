//! Which condition is named when a filter does not match, as a table.

use super::cases::{filter, json};

/// Filter, event, then path, operator, operand and type of the first condition that failed.
const FAILED: [(&str, &str, [&str; 4]); 31] = [
    (
        "{\"data\": {\"amount\": {\"$gte\": 100}}}",
        "{\"data\": {\"amount\": 5}}",
        ["data.amount", "$gte", "100", "number"],
    ),
    (
        "{\"data.amount\": {\"$gte\": 100}}",
        "{\"data\": {}}",
        ["data.amount", "$gte", "100", "missing"],
    ),
    (
        "{\"data.amount\": {\"$gte\": 100}}",
        "{}",
        ["data.amount", "$gte", "100", "missing"],
    ),
    (
        "{\"data.amount\": 1.50}",
        "{\"data\": {\"amount\": \"x\"}}",
        ["data.amount", "$eq", "1.50", "string"],
    ),
    (
        "{\"type\": \"a\", \"id\": \"b\"}",
        "{\"type\": \"a\", \"id\": null}",
        ["id", "$eq", "\"b\"", "null"],
    ),
    (
        "{\"a\": {\"$exist\": false}}",
        "{\"a\": true}",
        ["a", "$exist", "false", "boolean"],
    ),
    (
        "{\"a\": {\"$exist\": true}}",
        "{}",
        ["a", "$exist", "true", "missing"],
    ),
    ("{\"a\": {}}", "{}", ["a", "$exist", "true", "missing"]),
    (
        "{\"a\": {\"$neq\": 1}}",
        "{\"a\": [1]}",
        ["a", "$neq", "1", "array"],
    ),
    (
        "{\"a\": {\"$neq\": 1}}",
        "{}",
        ["a", "$neq", "1", "missing"],
    ),
    (
        "{\"a\": {\"$nin\": [1]}}",
        "{\"a\": 1}",
        ["a", "$nin", "[1]", "number"],
    ),
    (
        "{\"a\": {\"$in\": [1, 2]}}",
        "{\"a\": {}}",
        ["a", "$in", "[1,2]", "object"],
    ),
    (
        "{\"a\": {\"$not\": {\"b\": 1}}}",
        "{\"a\": {\"b\": 1}}",
        ["a", "$not", "{\"b\":1}", "object"],
    ),
    ("{\"$not\": {}}", "{}", ["", "$not", "{}", "object"]),
    (
        "{\"$or\": [{\"a\": 1}, {\"b\": 1}]}",
        "{}",
        ["", "$or", "[{\"a\":1},{\"b\":1}]", "object"],
    ),
    (
        "{\"a\": {\"$or\": [1, 2]}}",
        "{\"a\": 3}",
        ["a", "$or", "[1,2]", "number"],
    ),
    (
        "{\"$and\": [{\"a\": 1}, {\"b\": {\"$lt\": 1}}]}",
        "{\"a\": 1, \"b\": 2}",
        ["b", "$lt", "1", "number"],
    ),
    (
        "{\"a\": {\"$and\": [{\"$gt\": 1}, {\"$lt\": 5}]}}",
        "{\"a\": [0, 9]}",
        ["a", "$and", "[{\"$gt\":1},{\"$lt\":5}]", "array"],
    ),
    (
        "{\"a\": {\"$gt\": 1, \"$lt\": 5}}",
        "{\"a\": [0, 9]}",
        ["a", "$lt", "5", "array"],
    ),
    (
        "{\"a\": {\"$gt\": 1, \"$lt\": 5}}",
        "{\"a\": [0, 1]}",
        ["a", "$gt", "1", "array"],
    ),
    (
        "{\"a\": [1, 2]}",
        "{\"a\": [1]}",
        ["a", "$eq", "2", "array"],
    ),
    (
        "{\"a\": [1, 2]}",
        "{\"a\": 1}",
        ["a", "$eq", "[1,2]", "number"],
    ),
    (
        "{\"a\": {\"k\": 1}}",
        "{\"a\": [{\"k\": 2}, {\"k\": 3}]}",
        ["a.k", "$eq", "1", "number"],
    ),
    (
        "{\"a.k\": 1}",
        "{\"a\": [{\"k\": \"x\"}]}",
        ["a.k", "$eq", "1", "string"],
    ),
    (
        "{\"a.k\": 1}",
        "{\"a\": []}",
        ["a.k", "$eq", "1", "missing"],
    ),
    (
        "{\"a.k\": 1}",
        "{\"a.k\": [], \"a\": {\"k\": 1}}",
        ["a.k", "$eq", "1", "array"],
    ),
    (
        "{\"a\": {\"b\": {\"c\": {\"$startsWith\": \"x\"}}}}",
        "{\"a\": {\"b\": 1}}",
        ["a.b.c", "$startsWith", "\"x\"", "missing"],
    ),
    (
        "{\"a\": {\"$endsWith\": [\"x\"]}}",
        "{\"a\": \"y\"}",
        ["a", "$endsWith", "[\"x\"]", "string"],
    ),
    (
        "{\"$and\": [{\"$or\": []}]}",
        "{}",
        ["", "$or", "[]", "object"],
    ),
    (
        "{\"a\": {\"$in\": \"x\"}}",
        "{\"a\": []}",
        ["a", "$in", "\"x\"", "array"],
    ),
    (
        "{\"a\": {\"$gt\": 1, \"$lt\": 5, \"$exist\": true}}",
        "{\"a\": [0, 9]}",
        ["a", "$lt", "5", "array"],
    ),
];

#[test]
fn the_first_condition_that_failed_is_named_without_the_value() {
    for (text, event, expected) in FAILED {
        let failed = filter(text).judge(&json(event)).expect_err(text);
        let expected_json = failed.expected.to_string();
        let told = [
            failed.path.as_str(),
            &failed.operator,
            &expected_json,
            failed.found,
        ];
        assert_eq!(told, expected, "{text} on {event}");
    }
}
