//! Properties of templates over arbitrary sources and values, on a small stack.

use std::sync::Arc;

use outboxd::domain::json::{Json, write_string};
use outboxd::domain::template::{EventFields, Limits, Names, Output, Template, check_json};
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    steps: 5_000,
    output: 1 << 20,
};

fn escape(text: &str, out: &mut String) {
    out.push_str(&text.replace('*', "\\*"));
}

/// Runs on a stack of 512 KiB; an overflow ends the test process.
fn survives(source: String, data: Arc<Json>) {
    std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(move || {
            let names = Names::of_event(EventFields::default(), Some(data));
            for output in [Output::Text, Output::Json, Output::Escaped(escape)] {
                match Template::parse(&source, output) {
                    Err(bad) => assert!(bad.line > 0 && !bad.fix.is_empty()),
                    Ok(template) => {
                        if let Err(fault) = template.render(&names, LIMITS) {
                            assert!(fault.message.len() <= 300, "{fault}");
                        }
                    }
                }
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

fn sample() -> Arc<Json> {
    let text = r#"{"n":1.50,"s":"a*b","l":[1,[2,{"a":null}],"x"],"o":{"a":{"b":true}},"big":99999999999999999999}"#;
    Arc::new(Json::parse(text.as_bytes()).unwrap())
}

const FRAGMENTS: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    " ",
    "\n",
    "data",
    "data.n",
    "data.l",
    "data.o.a",
    "x",
    "event",
    "loop",
    "loop.index",
    "1",
    "2.5",
    "'s'",
    "\"t\"",
    "none",
    "true",
    "99999999999999999999999999999999999999999999",
    "+",
    "*",
    "**",
    "/",
    "//",
    "%",
    "~",
    "==",
    "!=",
    "<",
    ">=",
    "and",
    "or",
    "not",
    "in",
    "is",
    "is defined",
    "if",
    "else",
    "elif",
    "endif",
    "for",
    "for a in",
    "for a, b in",
    "endfor",
    "set",
    "set x =",
    "set x",
    "endset",
    "with",
    "endwith",
    "filter",
    "endfilter",
    "raw",
    "endraw",
    "recursive",
    "range(3)",
    "range",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    ".",
    "|",
    "=",
    "|join",
    "|sort",
    "|map('upper')",
    "|map(attribute='a')",
    "|tojson",
    "|safe",
    "|e",
    "|list",
    "|batch(2)",
    "|groupby('a')",
    "|select('odd')",
    "|default(1)",
    "|items",
    "|unique",
    "|sum",
    "|round",
    "|int",
    "|format(1)",
    "|indent",
    "|replace('a','b')",
    "|split",
    "|reverse",
    "|first",
    "[1:]",
    "[::-1]",
    "[0]",
    "['a']",
    "{{ data }}",
    "{{ data.l }}",
    "{% if data %}",
    "{% for a in data.l %}",
    "{% endfor %}",
    "{% endif %}",
    "{% set x = [x|d(1)] %}",
    "{% set x = data.l + data.l %}",
    "{{ x }}",
    "{{ x == data.l }}",
    "ü",
    "\u{0}",
];

fn json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?"
            .prop_map(|text| Json::Number(text.into())),
        any::<String>().prop_map(|text| Json::String(text.into())),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((any::<String>(), inner), 0..6).prop_map(|fields| {
                Json::Object(
                    fields
                        .into_iter()
                        .map(|(name, value)| (name.into(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_source_ends(source in any::<String>()) {
        survives(source.clone(), sample());
        survives(format!("{{{{{source}}}}}"), sample());
        survives(format!("{{%{source}%}}"), sample());
    }

    #[test]
    fn any_fragments_end(parts in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..60)) {
        survives(parts.join(" "), sample());
        survives(parts.concat(), sample());
    }

    #[test]
    fn any_expression_ends(parts in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..12)) {
        survives(format!("{{{{ data.l {} }}}}", parts.join(" ")), sample());
        survives(format!("{{% for a in data.l %}}{{{{ a {} }}}}{{% endfor %}}", parts.join("")), sample());
    }

    #[test]
    fn any_fragment_repeated_ends(part in prop::sample::select(FRAGMENTS), other in prop::sample::select(FRAGMENTS), n in 1usize..3000) {
        survives(format!("{{{{ data {}", format!("{part} {other} ").repeat(n)), sample());
        survives(format!("{{% {} %}}", format!("{part} {other} ").repeat(n)), sample());
    }

    #[test]
    fn printed_values_are_the_same_json(value in json()) {
        let limits = Limits { steps: Limits::STEPS, output: 1 << 20 };
        let names = Names::of_event(EventFields::default(), Some(Arc::new(value.clone())));
        for source in ["{{ data }}", "{{ data|tojson }}", "{{ data|tojson(indent=2) }}", "{% set x = [data] %}{{ x[0] }}"] {
            let text = Template::parse(source, Output::Json).unwrap().render(&names, limits).unwrap();
            prop_assert_eq!(&Json::parse(text.as_bytes()).unwrap(), &value, "{}", source);
            prop_assert!(check_json(&text).is_ok());
        }
        // Every value equals itself, and is printed the same after it went through lists and maps.
        let text = Template::parse("{{ {'a': [data]}.a|first == data }}", Output::Text).unwrap();
        prop_assert_eq!(text.render(&names, limits).unwrap(), "true");
    }

    #[test]
    fn numbers_stay_as_written(number in "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?") {
        let limits = Limits { steps: Limits::STEPS, output: 1 << 20 };
        let data = Json::Object([("n".into(), Json::Number(number.clone().into()))].into_iter().collect());
        let names = Names::of_event(EventFields::default(), Some(Arc::new(data)));
        for source in ["{{ data.n }}", "{{ '' ~ data.n }}", "{{ [data.n]|join }}", "{{ data.n|string }}", "{{ '%s'|format(data.n) }}"] {
            let text = Template::parse(source, Output::Text).unwrap().render(&names, limits).unwrap();
            prop_assert_eq!(&text, &number);
        }
    }

    #[test]
    fn json_check_agrees_with_the_parser(text in "[\\[\\]{}:,\" a0-9.e-]{0,30}") {
        prop_assert_eq!(check_json(&text).is_ok(), Json::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn strings_are_quoted(text in any::<String>()) {
        let names = Names::new().with_text("t", &text);
        let mut quoted = String::new();
        write_string(&text, &mut quoted);
        let found = Template::parse("{{ t }}", Output::Json).unwrap().render(&names, LIMITS).unwrap();
        prop_assert_eq!(found, quoted);
    }
}

/// The highest sources that pass the check, at parse, render, comparison, printing and drop.
#[test]
fn the_highest_sources_fit_a_small_stack() {
    let mut sources = Vec::new();
    for n in 1..=64usize {
        for (open, inner, close) in [
            ("(", "data", ")"),
            ("[", "data", "]"),
            ("{1:", "data", "}"),
            ("not ", "data", ""),
            ("-", "1", ""),
            ("", "data", ".a"),
            ("", "data", "[0]"),
            ("", "data", "|e"),
            ("", "data", " is defined"),
            ("1 if data else ", "2", ""),
            ("", "1", " if data"),
            ("1+", "1", ""),
            ("1**", "1", ""),
            ("data and ", "1", ""),
            ("", "data", "[0:]"),
            ("range(", "1", ")"),
            ("data|default(", "1", ")"),
            ("data is eq(", "1", ")"),
            ("data[", "0", "]"),
        ] {
            sources.push(format!(
                "{{{{ {}{inner}{} }}}}",
                open.repeat(n),
                close.repeat(n)
            ));
        }
        sources.push(format!(
            "{{{{ {}1{} }}}}",
            "(1 if not -".repeat(n),
            " else 2)".repeat(n)
        ));
        sources.push(format!("{{{{ {}1{} }}}}", "not [".repeat(n), "]".repeat(n)));
        let tall = format!("{{{{ {}data }}}}", "not ".repeat(60));
        let deepest = format!("{{{{ {}1{} }}}}", "not not [".repeat(16), "]".repeat(16));
        for inner in [tall, deepest] {
            sources.push(format!(
                "{}{inner}{}",
                "{% if 1 %}".repeat(n),
                "{% endif %}".repeat(n)
            ));
            sources.push(format!(
                "{{% if 0 %}}{}{inner}{{% endif %}}",
                "{% elif 1 %}".repeat(n)
            ));
            sources.push(format!(
                "{}{inner}{}",
                "{% for a in [1] %}".repeat(n),
                "{% endfor %}".repeat(n)
            ));
            sources.push(format!(
                "{}{inner}{}",
                "{% set a %}".repeat(n),
                "{% endset %}".repeat(n)
            ));
            sources.push(format!(
                "{}{inner}{}",
                "{% filter e %}".repeat(n),
                "{% endfilter %}".repeat(n)
            ));
            sources.push(format!(
                "{}{inner}{}",
                "{% with a = 1 %}".repeat(n),
                "{% endwith %}".repeat(n)
            ));
        }
        let sets = "{% set x = [x] %}".repeat(n);
        sources.push(format!("{{% set x = data %}}{{% set y = data %}}{sets}{}{{{{ x == y }}}}{{{{ x < y }}}}{{{{ x }}}}{{{{ x|tojson(indent=1) }}}}", sets.replace('x', "y")));
    }
    let deep = format!("{}1{}", "[".repeat(128), "]".repeat(128));
    let deep = Arc::new(Json::parse(deep.as_bytes()).unwrap());
    let passed = sources
        .iter()
        .filter(|source| Template::parse(source, Output::Text).is_ok())
        .count();
    assert!(passed > 800, "{passed} of {}", sources.len());
    for stack in [512, 256] {
        let (sources, deep) = (sources.clone(), deep.clone());
        std::thread::Builder::new()
            .stack_size(stack * 1024)
            .spawn(move || {
                let names = Names::of_event(EventFields::default(), Some(deep));
                for source in &sources {
                    if let Ok(template) = Template::parse(source, Output::Json) {
                        let _ = template.render(&names, LIMITS);
                    }
                }
            })
            .unwrap()
            .join()
            .unwrap();
    }
}
