//! What filters mean, as tables that are written from the reference and not from the code.

use crate::domain::filter::Filter;
use crate::domain::json::Json;

pub(super) fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

pub(super) fn filter(text: &str) -> Filter {
    Filter::parse_text(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

/// The values of `data.x` in the columns of [`MATRIX`].
const VALUES: [&str; 12] = [
    "", // missing
    "null",
    "true",
    "18446744073709551617",
    "12.50",
    "\"paid\"",
    "[]",
    "[1, 12.5, \"paid\", null]",
    "{\"k\": \"v\"}",
    "[{\"k\": \"v\"}, {\"k\": \"w\", \"q\": 5}]",
    "[[\"paid\"], [18446744073709551617]]",
    "-0",
];

/// A condition on `data.x`, and for which of [`VALUES`] it holds (`T`).
const MATRIX: [(&str, &str); 74] = [
    // Plain values.
    ("null", ".T.....T...."),
    ("true", "..T........."),
    ("false", "............"),
    ("18446744073709551617", "...T......T."),
    ("18446744073709551616", "............"),
    ("12.5", "....T..T...."),
    ("1e0", ".......T...."),
    ("0", "...........T"),
    ("\"paid\"", ".....T.T..T."),
    ("\"0\"", "............"),
    // Arrays without operator.
    ("[]", "......TT.TT."),
    ("[\"paid\"]", ".......T..T."),
    ("[\"paid\", 1]", ".......T...."),
    ("[{\"k\": \"w\"}, {\"q\": {\"$gt\": 4}}]", ".........T.."),
    // Plain objects.
    ("{}", ".TTTTTTTTTTT"),
    ("{\"k\": \"v\"}", "........TT.."),
    ("{\"k\": \"w\", \"q\": 5}", ".........T.."),
    ("{\"k\": \"v\", \"q\": 5}", "............"),
    ("{\"k\": {\"$neq\": \"v\"}}", ".........T.."),
    ("{\"k\": {\"$exist\": false}}", "TTTTTTTT..TT"),
    ("{\"q\": {\"$exist\": false}}", "TTTTTTTTTTTT"),
    // $eq
    ("{\"$eq\": null}", ".T.....T...."),
    ("{\"$eq\": 12.500}", "....T..T...."),
    ("{\"$eq\": []}", "......T....."),
    ("{\"$eq\": {\"k\": \"v\"}}", "........TT.."),
    ("{\"$eq\": [\"paid\"]}", "..........T."),
    // $neq
    ("{\"$neq\": \"paid\"}", ".TTTT.T.TT.T"),
    ("{\"$neq\": 0}", ".TTTTTTTTTT."),
    ("{\"$neq\": null}", "..TTTTT.TTTT"),
    ("{\"$neq\": [\"paid\"]}", ".TTTTTTTTT.T"),
    // $gt, $gte, $lt, $lte
    ("{\"$gt\": 12.5}", "...T......T."),
    ("{\"$gte\": 12.5}", "...TT..T..T."),
    ("{\"$lt\": 12.5}", ".......T...T"),
    ("{\"$lte\": 12.5}", "....T..T...T"),
    ("{\"$gt\": 18446744073709551616}", "...T......T."),
    ("{\"$lt\": 18446744073709551618}", "...TT..T..TT"),
    ("{\"$gt\": 1e999999999}", "............"),
    ("{\"$gt\": \"paic\"}", ".....T.T..T."),
    ("{\"$lt\": \"paid\"}", "............"),
    ("{\"$lte\": \"paid\"}", ".....T.T..T."),
    ("{\"$gte\": \"paid!\"}", "............"),
    // $in
    ("{\"$in\": [\"paid\", 0]}", ".....T.T..TT"),
    ("{\"$in\": [null, true]}", ".TT....T...."),
    ("{\"$in\": [18446744073709551617, 1.0]}", "...T...T..T."),
    ("{\"$in\": []}", "............"),
    ("{\"$in\": \"ai\"}", ".....T.T..T."),
    ("{\"$in\": 12.5}", "....T..T...."),
    // $nin
    ("{\"$nin\": [\"paid\", 0]}", ".TTTT.T.TT.."),
    ("{\"$nin\": []}", ".TTTTTTTTTTT"),
    ("{\"$nin\": \"ai\"}", ".TTTT.T.TT.T"),
    // $startsWith, $endsWith
    ("{\"$startsWith\": \"pa\"}", ".....T.T..T."),
    ("{\"$startsWith\": [\"x\", \"p\"]}", ".....T.T..T."),
    ("{\"$startsWith\": []}", "............"),
    ("{\"$endsWith\": \"id\"}", ".....T.T..T."),
    ("{\"$endsWith\": [\"pa\"]}", "............"),
    // $exist
    ("{\"$exist\": true}", ".TTTTTTTTTTT"),
    ("{\"$exist\": false}", "T..........."),
    // $not
    ("{\"$not\": \"paid\"}", "TTTTT.T.TT.T"),
    ("{\"$not\": {}}", "T..........."),
    ("{\"$not\": {\"$exist\": false}}", ".TTTTTTTTTTT"),
    ("{\"$not\": {\"$gt\": 12.5}}", "TTT.TTTTTT.T"),
    ("{\"$not\": {\"$neq\": \"paid\"}}", "T....T.T..T."),
    ("{\"$not\": [\"paid\"]}", "TTTTTTT.TT.T"),
    ("{\"$not\": {\"k\": \"v\"}}", "TTTTTTTT..TT"),
    // $or
    ("{\"$or\": [\"paid\", 0]}", ".....T.T..TT"),
    ("{\"$or\": [{\"$exist\": false}, null]}", "TT.....T...."),
    (
        "{\"$or\": [{\"k\": \"w\"}, {\"k\": \"v\"}]}",
        "........TT..",
    ),
    ("{\"$or\": [[\"paid\"], {\"$eq\": 0}]}", ".......T..TT"),
    ("{\"$or\": []}", "............"),
    // $and, and several operators
    ("{\"$and\": []}", "TTTTTTTTTTTT"),
    ("{\"$and\": [{\"$gt\": 1}, {\"$lt\": 13}]}", "....T..T...."),
    ("{\"$gt\": 0, \"$lt\": 10}", ".......T...."),
    ("{\"$gt\": 1, \"$lt\": 12}", "............"),
    ("{\"$gt\": 1, \"$neq\": \"paid\"}", "...TT......."),
];

#[test]
fn every_operator_against_every_type() {
    let mut wrong = Vec::new();
    for (condition, expected) in MATRIX {
        assert_eq!(expected.len(), VALUES.len(), "{condition}");
        for (value, expected) in VALUES.into_iter().zip(expected.chars()) {
            let event = match value {
                "" => "{\"data\": {\"y\": 1}}".to_owned(),
                value => format!("{{\"data\": {{\"x\": {value}}}}}"),
            };
            for filter_text in [
                format!("{{\"data\": {{\"x\": {condition}}}}}"),
                format!("{{\"data.x\": {condition}}}"),
            ] {
                if filter(&filter_text).matches(&json(&event)) != (expected == 'T') {
                    wrong.push(format!("{filter_text} on {event}: expected {expected}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_missing_parent_is_a_missing_path() {
    for (condition, expected) in MATRIX {
        let filter = filter(&format!("{{\"data.x\": {condition}}}"));
        for event in ["{}", "{\"data\": null}", "{\"data\": 5}", "{\"data\": []}"] {
            assert_eq!(
                filter.matches(&json(event)),
                expected.starts_with('T'),
                "{condition}: {event}"
            );
        }
    }
}

/// Filter, event, whether it matches.
const EVENTS: [(&str, &str, bool); 68] = [
    ("{}", "{}", true),
    ("{}", "{\"type\": \"a\"}", true),
    (
        "{\"type\": \"a\"}",
        "{\"type\": \"a\", \"id\": \"e\"}",
        true,
    ),
    ("{\"type\": \"a\"}", "{\"type\": \"A\"}", false),
    ("{\"a\": 1, \"b\": 2}", "{\"a\": 1}", false),
    ("{\"a\": 1, \"b\": 2}", "{\"b\": 2, \"a\": 1}", true),
    ("{\"data\": {}}", "{\"data\": null}", true),
    ("{\"data\": {}}", "{}", false),
    ("{\"data\": 5}", "{\"data\": 5.0}", true),
    (
        "{\"channels\": \"eu\"}",
        "{\"channels\": [\"us\", \"eu\"]}",
        true,
    ),
    (
        "{\"channels\": [\"eu\", \"us\"]}",
        "{\"channels\": [\"us\", \"eu\"]}",
        true,
    ),
    (
        "{\"channels\": [\"eu\", \"us\"]}",
        "{\"channels\": [\"eu\"]}",
        false,
    ),
    ("{\"channels\": [\"eu\"]}", "{\"channels\": \"eu\"}", false),
    // Decimals.
    (
        "{\"n\": 9007199254740993}",
        "{\"n\": 9007199254740992}",
        false,
    ),
    (
        "{\"n\": 9007199254740993}",
        "{\"n\": 9007199254740993.0}",
        true,
    ),
    ("{\"n\": 0.1}", "{\"n\": 1e-1}", true),
    ("{\"n\": 1e999999999}", "{\"n\": 10e999999998}", true),
    (
        "{\"n\": {\"$gt\": 1e999999999}}",
        "{\"n\": 1e1000000000}",
        true,
    ),
    ("{\"n\": {\"$lt\": 1e-999999999}}", "{\"n\": 0}", true),
    ("{\"n\": {\"$lt\": -1}}", "{\"n\": -1e999999999}", true),
    ("{\"n\": 1}", "{\"n\": \"1\"}", false),
    ("{\"n\": \"1\"}", "{\"n\": 1}", false),
    ("{\"n\": true}", "{\"n\": 1}", false),
    ("{\"n\": {\"$gt\": \"0\"}}", "{\"n\": 1}", false),
    ("{\"n\": {\"$lt\": 2}}", "{\"n\": \"1\"}", false),
    ("{\"n\": {\"$gt\": 0}}", "{\"n\": true}", false),
    ("{\"n\": {\"$lte\": 0}}", "{\"n\": null}", false),
    // Strings by bytes.
    (
        "{\"t\": {\"$gte\": \"2026-01-01T00:00:00Z\"}}",
        "{\"t\": \"2026-11-26T03:00:00Z\"}",
        true,
    ),
    ("{\"t\": {\"$gt\": \"Z\"}}", "{\"t\": \"a\"}", true),
    ("{\"t\": {\"$gt\": \"z\"}}", "{\"t\": \"ä\"}", true),
    ("{\"t\": {\"$in\": \"\"}}", "{\"t\": \"\"}", true),
    ("{\"t\": {\"$startsWith\": \"\"}}", "{\"t\": 5}", false),
    ("{\"t\": \"\\u0061\"}", "{\"t\": \"a\"}", true),
    // Dotted keys.
    ("{\"a.b\": 1}", "{\"a\": {\"b\": 1}}", true),
    ("{\"a.b\": 1}", "{\"a.b\": 1}", true),
    ("{\"a.b\": 1}", "{\"a.b\": 2, \"a\": {\"b\": 1}}", false),
    ("{\"a.b\": 1}", "{\"a.b\": 1, \"a\": {\"b\": 2}}", true),
    (
        "{\"a.b\": null}",
        "{\"a.b\": null, \"a\": {\"b\": 2}}",
        true,
    ),
    ("{\"a.b.c\": 1}", "{\"a.b\": {\"c\": 1}}", true),
    ("{\"a.b.c\": 1}", "{\"a\": {\"b.c\": 1}}", true),
    ("{\"a.b.c\": 1}", "{\"a\": {\"b\": {\"c\": 1}}}", true),
    (
        "{\"a.b.c\": 1}",
        "{\"a.b\": {}, \"a\": {\"b\": {\"c\": 1}}}",
        false,
    ),
    (
        "{\"a\": {\"b.c\": 1}}",
        "{\"a\": {\"b\": {\"c\": 1}}}",
        true,
    ),
    (
        "{\"a.b\": {\"$exist\": false}}",
        "{\"a\": {\"c\": 1}}",
        true,
    ),
    ("{\"a.b\": {\"$exist\": false}}", "{\"a.b\": null}", false),
    (
        "{\"a.k\": \"v\"}",
        "{\"a\": [{\"k\": \"u\"}, {\"k\": \"v\"}]}",
        true,
    ),
    (
        "{\"a.k\": \"v\", \"a.q\": 1}",
        "{\"a\": [{\"k\": \"v\"}, {\"q\": 1}]}",
        true,
    ),
    (
        "{\"a\": {\"k\": \"v\", \"q\": 1}}",
        "{\"a\": [{\"k\": \"v\"}, {\"q\": 1}]}",
        false,
    ),
    ("{\"data.$type\": 1}", "{\"data\": {\"$type\": 1}}", true),
    (
        "{\"a.b\": {\"c.d\": {\"$gt\": 1}}}",
        "{\"a\": {\"b\": {\"c\": {\"d\": 2}}}}",
        true,
    ),
    (
        "{\"a\": {\"$in\": [\"c\", \"a\", \"b\"]}}",
        "{\"a\": \"a\"}",
        true,
    ),
    (
        "{\"a\": {\"$in\": [\"c\", \"a\", \"b\"]}}",
        "{\"a\": \"c\"}",
        true,
    ),
    ("{\"a\": {\"$in\": [3, 1, 2]}}", "{\"a\": 1.0}", true),
    ("{\"a\": {\"$in\": [3, 1, 2]}}", "{\"a\": 30e-1}", true),
    ("{\"a\": {\"$not\": 1, \"$neq\": 2}}", "{\"a\": [2]}", false),
    (
        "{\"a\": {\"$or\": [{\"$not\": 2}, {\"$neq\": 1}]}}",
        "{\"a\": [2]}",
        true,
    ),
    // Logic at the root.
    ("{\"$or\": [{\"a\": 1}, {\"b\": 1}]}", "{\"b\": 1}", true),
    ("{\"$or\": [{\"a\": 1}, {\"b\": 1}]}", "{\"c\": 1}", false),
    ("{\"$and\": [{\"a\": 1}, {\"b\": 1}]}", "{\"b\": 1}", false),
    (
        "{\"$and\": [{\"a\": 1}, {\"$or\": [{\"b\": 1}, {}]}]}",
        "{\"a\": 1}",
        true,
    ),
    ("{\"$not\": {\"a\": 1}}", "{}", true),
    ("{\"$not\": {\"$not\": {\"a\": 1}}}", "{\"a\": 1}", true),
    ("{\"$not\": {}}", "{}", false),
    (
        "{\"$or\": [{\"a\": 1}], \"$not\": {\"b\": 1}}",
        "{\"a\": 1, \"b\": 1}",
        false,
    ),
    // Arrays: one element satisfies all; what is about the whole stays so inside of $or.
    (
        "{\"a\": {\"$gt\": 1, \"$lt\": 5}}",
        "{\"a\": [0, 9]}",
        false,
    ),
    (
        "{\"a\": {\"$and\": [{\"$gt\": 1}, {\"$lt\": 5}]}}",
        "{\"a\": [0, 9]}",
        false,
    ),
    (
        "{\"a\": {\"$or\": [{\"$neq\": 1}]}}",
        "{\"a\": [1, 2]}",
        false,
    ),
    (
        "{\"a\": {\"$or\": [{\"$not\": 1}, {\"$gt\": 8}]}}",
        "{\"a\": [1, 9]}",
        true,
    ),
];

#[test]
fn events_match_as_the_reference_says() {
    for (text, event, expected) in EVENTS {
        assert_eq!(
            filter(text).matches(&json(event)),
            expected,
            "{text} on {event}"
        );
    }
}
