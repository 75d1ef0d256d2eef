//! The laws of filters on arbitrary events, and the bound of their work.

use proptest::prelude::*;

use crate::domain::filter::{Filter, TOO_MUCH_WORK};
use crate::domain::json::Json;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn matches(filter: &str, event: &str) -> bool {
    let filter = Filter::parse_text(filter).unwrap_or_else(|fault| panic!("{filter}: {fault}"));
    let event = json(event);
    let matches = filter.matches(&event);
    assert_eq!(
        filter.judge(&event).is_ok(),
        matches,
        "{} on {event}",
        filter.source()
    );
    if let Err(failed) = filter.judge(&event) {
        assert_ne!(
            failed.operator,
            TOO_MUCH_WORK,
            "{} on {event}",
            filter.source()
        );
    }
    matches
}

/// Few values, so that they are often equal.
fn scalar() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-0.0",
        "1",
        "1.0",
        "2",
        "1e999999999",
        "\"\"",
        "\"a\"",
        "\"ab\"",
        "\"b\"",
    ])
    .prop_map(str::to_owned)
}

fn list(parts: &[String]) -> String {
    format!("[{}]", parts.join(","))
}

/// JSON with fields a, b and c.
fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| list(&items)),
            object(inner),
        ]
    })
}

fn object(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec((name, inner), 0..3).prop_map(|fields| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// A condition on a field: values, objects, lists and operators.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        scalar(),
        value().prop_map(|value| format!("{{\"$eq\":{value}}}")),
        value().prop_map(|value| format!("{{\"$neq\":{value}}}")),
        (
            prop::sample::select(vec!["$gt", "$gte", "$lt", "$lte"]),
            prop::sample::select(vec!["0", "1", "\"a\"", "1e9"])
        )
            .prop_map(|(operator, bound)| format!("{{\"{operator}\":{bound}}}")),
        (
            prop::sample::select(vec!["$in", "$nin"]),
            prop::collection::vec(scalar(), 0..3)
        )
            .prop_map(|(operator, entries)| format!("{{\"{operator}\":{}}}", list(&entries))),
        (prop::sample::select(vec!["$in", "$nin"]), scalar())
            .prop_map(|(operator, entry)| format!("{{\"{operator}\":{entry}}}")),
        prop::sample::select(vec!["$startsWith", "$endsWith"])
            .prop_map(|name| format!("{{\"{name}\":[\"a\"]}}")),
        any::<bool>().prop_map(|wanted| format!("{{\"$exist\":{wanted}}}")),
        Just("{\"$gte\":0,\"$neq\":1}".to_owned()),
        Just("{\"$gt\":0,\"$lt\":2,\"$exist\":true}".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            (
                prop::sample::select(vec!["$or", "$and"]),
                prop::collection::vec(inner.clone(), 0..3)
            )
                .prop_map(|(operator, parts)| format!("{{\"{operator}\":{}}}", list(&parts))),
            inner
                .clone()
                .prop_map(|part| format!("{{\"$not\":{part}}}")),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|parts| list(&parts)),
            object(inner),
        ]
    })
}

fn at_a(condition: &str) -> String {
    format!("{{\"a\":{condition}}}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_empty_filter_matches_everything(event in value()) {
        let matches = matches("{}", &event);
        prop_assert!(matches);
    }

    #[test]
    fn not_inverts(c in condition(), event in object(value())) {
        let plain = matches(&at_a(&c), &event);
        prop_assert_eq!(matches(&format!("{{\"$not\":{}}}", at_a(&c)), &event), !plain);
        prop_assert_eq!(matches(&at_a(&format!("{{\"$not\":{c}}}")), &event), !plain);
    }

    #[test]
    fn or_and_and_of_one_are_that_one(c in condition(), event in object(value())) {
        let plain = matches(&at_a(&c), &event);
        for operator in ["$or", "$and"] {
            prop_assert_eq!(matches(&at_a(&format!("{{\"{operator}\":[{c}]}}")), &event), plain);
        }
    }

    #[test]
    fn or_and_and_combine(c in condition(), d in condition(), event in object(value())) {
        let (left, right) = (matches(&at_a(&c), &event), matches(&at_a(&d), &event));
        let (a, b) = (at_a(&c), at_a(&d));
        prop_assert_eq!(matches(&format!("{{\"$or\":[{a},{b}]}}"), &event), left || right);
        prop_assert_eq!(matches(&at_a(&format!("{{\"$or\":[{c},{d}]}}")), &event), left || right);
        prop_assert_eq!(matches(&format!("{{\"$and\":[{a},{b}]}}"), &event), left && right);
        // De Morgan.
        let neither = format!("{{\"$and\":[{{\"$not\":{a}}},{{\"$not\":{b}}}]}}");
        prop_assert_eq!(matches(&neither, &event), !(left || right));
    }

    #[test]
    fn neq_and_nin_are_present_and_not(v in value(), entries in prop::collection::vec(scalar(), 0..4), event in object(value())) {
        let present = matches("{\"a\":{\"$exist\":true}}", &event);
        let equal = matches(&at_a(&format!("{{\"$eq\":{v}}}")), &event);
        prop_assert_eq!(matches(&at_a(&format!("{{\"$neq\":{v}}}")), &event), present && !equal);
        let entries = list(&entries);
        let within = matches(&at_a(&format!("{{\"$in\":{entries}}}")), &event);
        prop_assert_eq!(matches(&at_a(&format!("{{\"$nin\":{entries}}}")), &event), present && !within);
        prop_assert_eq!(matches(&at_a(&format!("{{\"$or\":{entries}}}")), &event), within);
    }

    #[test]
    fn exist_tells_presence(event in object(value())) {
        let present = json(&event).get("a").is_some();
        prop_assert_eq!(matches("{\"a\":{\"$exist\":true}}", &event), present);
        prop_assert_eq!(matches("{\"a\":{\"$exist\":false}}", &event), !present);
        prop_assert_eq!(matches("{\"a\":{}}", &event), present);
    }

    #[test]
    fn order_is_total_within_a_type(bound in prop::sample::select(vec!["0", "1", "\"a\"", "\"ab\""]), event in scalar()) {
        let event = at_a(&event);
        let holds = |operator| matches(&at_a(&format!("{{\"{operator}\":{bound}}}")), &event);
        prop_assert_eq!(holds("$gte"), holds("$gt") || holds("$eq"));
        prop_assert_eq!(holds("$lte"), holds("$lt") || holds("$eq"));
        prop_assert!(!(holds("$gt") && holds("$lt")));
        let same_type = json(bound).kind() == json(&event).get("a").unwrap().kind();
        prop_assert_eq!(holds("$gt") || holds("$lte"), same_type);
    }

    #[test]
    fn dots_are_sugar(c in condition(), event in object(value())) {
        let nested = matches(&at_a(&format!("{{\"b\":{{\"c\":{c}}}}}")), &event);
        for path in ["{\"a.b.c\":C}", "{\"a\":{\"b.c\":C}}", "{\"a.b\":{\"c\":C}}"] {
            prop_assert_eq!(matches(&path.replace('C', &c), &event), nested);
        }
    }

    #[test]
    fn an_event_matches_itself(event in object(value())) {
        // Plain objects and lists are conditions; `$eq` compares.
        prop_assert!(matches(&event, &event));
        let equal = matches(&at_a(&format!("{{\"$eq\":{event}}}")), &at_a(&event));
        prop_assert!(equal);
    }

    #[test]
    fn what_is_accepted_is_accepted_again(c in condition()) {
        let filter = Filter::parse_text(&at_a(&c)).unwrap();
        let again = Filter::parse_text(&filter.source().to_string()).unwrap();
        prop_assert_eq!(filter.source(), again.source());
    }

    #[test]
    fn parse_and_judge_never_panic(filter in wild(), event in wild()) {
        let event = json(&event);
        if let Ok(filter) = Filter::parse_text(&filter) {
            prop_assert_eq!(filter.judge(&event).is_ok(), filter.matches(&event));
        }
        let _ = Filter::parse(&event).map_err(|fault| fault.to_string());
    }

    #[test]
    fn text_never_panics(text in any::<String>()) {
        let _ = Filter::parse_text(&text);
    }
}

/// JSON with keys that mean something in filters, in any place.
fn wild() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a",
        "",
        ".",
        "a.b",
        "a..b",
        "$",
        "$eq",
        "$neq",
        "$gt",
        "$in",
        "$nin",
        "$startsWith",
        "$exist",
        "$or",
        "$and",
        "$not",
        "$nope",
        "a.$gt",
        "b.$",
        "ä.\u{1F600}",
    ]);
    scalar().prop_recursive(5, 32, 4, move |inner| {
        let fields = prop::collection::vec((key.clone(), inner.clone()), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| list(&items)),
            fields.prop_map(|fields| {
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(key, value)| format!("\"{key}\":{value}"))
                    .collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}

#[test]
fn a_filter_tells_which_fields_it_looks_at() {
    for (text, data) in [
        ("{}", false),
        ("{\"type\": \"data\"}", false),
        ("{\"database\": 1}", false),
        ("{\"type\": {\"data\": 1}}", false),
        ("{\"data\": {}}", true),
        ("{\"data.a\": 1}", true),
        ("{\"$not\": {\"data\": 1}}", true),
        (
            "{\"$or\": [{\"type\": 1}, {\"$and\": [{\"data.x\": {\"$exist\": false}}]}]}",
            true,
        ),
    ] {
        assert_eq!(
            Filter::parse_text(text).unwrap().looks_at("data"),
            data,
            "{text}"
        );
    }
}

const MIB: usize = 1024 * 1024;

fn repeated(item: &str) -> String {
    let count = MIB / (item.len() + 1);
    format!("[{}]", vec![item; count].join(","))
}

#[test]
fn too_much_work_does_not_match() {
    let filter = format!("[{}]", vec!["{\"$neq\":0}"; 100].join(","));
    let event = json(&at_a(&repeated("0")));
    let filter = Filter::parse_text(&at_a(&filter)).unwrap();
    assert!(!filter.matches(&event));
    // Nor does its opposite.
    let heavy = format!("{{\"$or\":[{}]}}", vec!["1"; 200].join(","));
    for text in [at_a(&heavy), format!("{{\"$not\":{}}}", at_a(&heavy))] {
        let filter = Filter::parse_text(&text).unwrap();
        assert!(!filter.matches(&event));
        assert_eq!(filter.judge(&event).unwrap_err().operator, TOO_MUCH_WORK);
    }
}

#[test]
fn one_condition_over_a_large_event_always_fits() {
    for (condition, element, expected) in [
        ("0", "0", true),
        ("1", "1234", false),
        ("{\"$gt\":5e9}", "1234", false),
        ("{\"$lt\":\"a\"}", "\"\"", true),
        ("{\"$neq\":1}", "1234", true),
        ("{\"$in\":[\"a\",\"b\"]}", "\"abcdef\"", false),
    ] {
        let filter = Filter::parse_text(&at_a(condition)).unwrap();
        let event = json(&at_a(&repeated(element)));
        assert_eq!(filter.matches(&event), expected, "{condition}");
        if let Err(failed) = filter.judge(&event) {
            assert_ne!(failed.operator, TOO_MUCH_WORK, "{condition}");
        }
    }
}
