use std::sync::Arc;

use super::*;
use crate::domain::json::Json;

const LIMITS: Limits = Limits {
    steps: Limits::STEPS,
    output: 1 << 20,
};

fn stars(text: &str, out: &mut String) {
    for c in text.chars() {
        if "*_.-".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

fn names(data: &str) -> Names {
    let event = EventFields {
        id: "evt_1",
        r#type: "order.paid",
        tenant: "acme",
        key: None,
        timestamp: "2026-11-26T00:00:00Z",
        channels: &["a", "b"],
        source: Some("stripe"),
    };
    let data = Arc::new(Json::parse(data.as_bytes()).unwrap());
    Names::of_event(event, Some(data)).with_endpoint("ep_1", "acme", None, &[("chat_id", "42")])
}

const DATA: &str = r#"{"name":"A \"b\" *c*","amount":12.50,"big":123456789012345678901234567890,
    "huge":1234567890123456789012345678901234567890123456,"exp":1e3,"zero":-0,"n":7,
    "items":[{"sku":"x","qty":2},{"sku":"y","qty":1.5}],"tags":["b","a","b"],"none":null,
    "yes":true,"text":"über","empty":[]}"#;

fn render_as(source: &str, output: Output) -> Result<String, RenderFault> {
    let template = Template::parse(source, output).unwrap_or_else(|bad| panic!("{source}: {bad}"));
    template.render(&names(DATA), LIMITS)
}

fn text(source: &str) -> String {
    render_as(source, Output::Text).unwrap_or_else(|fault| panic!("{source}: {fault}"))
}

fn fault(source: &str) -> RenderFault {
    render_as(source, Output::Text).expect_err(source)
}

fn bad(source: &str) -> BadTemplate {
    Template::parse(source, Output::Text).expect_err(source)
}

#[test]
fn names_of_the_event_and_the_endpoint() {
    assert_eq!(
        text("{{ event.id }} {{ event.type }} {{ event.key }} {{ event.channels|join(',') }}"),
        "evt_1 order.paid null a,b"
    );
    assert_eq!(text("{{ endpoint.id }} {{ endpoint.chat_id }}"), "ep_1 42");
    assert_eq!(text("{{ endpoint.description is none }}"), "true");
    let other = Names::new()
        .with_text("id", "msg_1")
        .with_list("signatures", &["v1,a".into(), "v1,b".into()]);
    let template = Template::parse("{{ id }} {{ signatures|join(' ') }}", Output::Text).unwrap();
    assert_eq!(template.render(&other, LIMITS).unwrap(), "msg_1 v1,a v1,b");
}

#[test]
fn numbers_print_as_they_were_written() {
    for name in ["amount", "big", "huge", "exp", "zero", "n"] {
        let written = names(DATA);
        let data = Json::parse(DATA.as_bytes()).unwrap();
        let number = data.get(name).unwrap().to_string();
        for source in [
            format!("{{{{ data.{name} }}}}"),
            format!("{{{{ data.{name}|string }}}}"),
            format!("{{{{ '' ~ data.{name} }}}}"),
            format!("{{{{ [data.{name}]|join }}}}"),
            format!("{{{{ '%s'|format(data.{name}) }}}}"),
            format!("{{{{ data.{name}|tojson }}}}"),
            format!("{{% set x = data.{name} %}}{{{{ x }}}}"),
        ] {
            for output in [Output::Text, Output::Json] {
                let template = Template::parse(&source, output).unwrap();
                let found = template.render(&written, LIMITS).unwrap();
                assert_eq!(found.trim_matches('"'), number, "{source}");
            }
        }
    }
    assert_eq!(
        text("{{ data }}"),
        Json::parse(DATA.as_bytes()).unwrap().to_string()
    );
}

#[test]
fn numbers_calculate() {
    for (source, found) in [
        ("{{ data.amount * 2 }}", "25.0"),
        ("{{ data.amount + data.n }}", "19.5"),
        ("{{ data.big + 1 }}", "123456789012345678901234567891"),
        (
            "{{ data.exp == 1000 and data.amount < 13 and data.huge > data.big }}",
            "true",
        ),
        (
            "{{ data.amount|round }} {{ data.amount|int }} {{ data.n|float }}",
            "12.0 12 7.0",
        ),
        (
            "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }}",
            "3 -4 2 3.5 1024",
        ),
        (
            "{{ 3.14159|round(2) }} {{ -data.n }} {{ -3|abs }}",
            "3.14 -7 3",
        ),
        (
            "{{ '%.2f'|format(data.amount) }} {{ '%05d'|format(42) }}",
            "12.50 00042",
        ),
        ("{{ data.items|sum(attribute='qty') }}", "3.5"),
        (
            "{{ '12'|int + 1 }} {{ 'x'|int(5) }} {{ 'x'|float(default=1.5) }}",
            "13 5 1.5",
        ),
        (
            "{{ data.n is odd }} {{ data.n is divisibleby(7) }} {{ data.huge is integer }}",
            "true true true",
        ),
    ] {
        assert_eq!(text(source), found, "{source}");
    }
    assert_eq!(fault("{{ data.huge + 1 }}").kind, FaultKind::Operation);
    for source in [
        "{{ 1 / 0 }}",
        "{{ 1 // 0 }}",
        "{{ 2 ** 1000 }}",
        "{{ 1e300 * 1e300 }}",
        "{{ 1 % 0 }}",
    ] {
        assert_eq!(fault(source).kind, FaultKind::Operation, "{source}");
    }
}

#[test]
fn json_output_quotes_what_is_printed() {
    let json = |source| render_as(source, Output::Json).unwrap();
    assert_eq!(
        json(r#"{"text": {{ data.name }}, "n": {{ data.amount }}, "x": {{ data.none }}}"#),
        r#"{"text": "A \"b\" *c*", "n": 12.50, "x": null}"#
    );
    assert_eq!(
        json("{{ data.tags|tojson }}{{ data.tags }}"),
        r#"["b","a","b"]["b","a","b"]"#
    );
    assert_eq!(
        json("{{ '{}'|safe }} {{ {'a': data.n, 'b': [1, 'c']} }}"),
        r#"{} {"a":7,"b":[1,"c"]}"#
    );
    assert_eq!(
        json("{{ data.yes }} {{ 'x' if false }} {{ data.name|upper }}"),
        r#"true null "A \"B\" *C*""#
    );
    assert_eq!(
        json("{{ data.tags|tojson(indent=2) }}"),
        "[\n  \"b\",\n  \"a\",\n  \"b\"\n]"
    );
}

#[test]
fn escaped_output_escapes_printed_values_only() {
    let escaped = |source| render_as(source, Output::Escaped(stars)).unwrap();
    assert_eq!(
        escaped("*{{ data.name }}* {{ data.amount }}"),
        "*A \"b\" \\*c\\** 12\\.50"
    );
    assert_eq!(escaped("{{ '*a*'|safe }}{{ '_'|e }}"), "*a*\\_");
    assert_eq!(escaped("{{ '*a*'|safe ~ '_' }}"), "*a*\\_");
    assert_eq!(
        escaped("{% set x %}*{{ '_' }}*{% endset %}{{ x }}"),
        "*\\_*"
    );
    assert_eq!(escaped("{{ ['a.b'] }}"), "[\"a\\.b\"]");
    assert_eq!(escaped("{{ ['a.b']|tojson }}"), "[\"a\\.b\"]");
    assert_eq!(
        text("{{ '<a href=\"x\">'|e }}"),
        "&lt;a href=&quot;x&quot;&gt;"
    );
}

#[test]
fn filters_and_statements() {
    for (source, found) in [
        (
            "{% for i in data['items'] %}{{ loop.index }}:{{ i.sku }}{% if not loop.last %},{% endif %}{% endfor %}",
            "1:x,2:y",
        ),
        (
            "{% for i in data['items'] if i.qty > 1.7 %}{{ i.sku }}{% else %}-{% endfor %}",
            "x",
        ),
        (
            "{% for k, v in {'a': 1, 'b': 2}|items %}{{ k }}={{ v }};{% endfor %}",
            "a=1;b=2;",
        ),
        ("{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}", "ba"),
        (
            "{% for i in range(3) %}{{ i }}{% endfor %}{{ range(5, 0, -2) }}",
            "012[5,3,1]",
        ),
        ("{% set a, b = [1, 2] %}{{ b }}{{ a }}", "21"),
        ("{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}", "3"),
        ("{% filter upper %}a{{ data.text }}{% endfilter %}", "AÜBER"),
        ("{% set x | upper %}ab{% endset %}{{ x }}", "AB"),
        ("{% raw %}{{ x }}{% endraw %}{# no #}", "{{ x }}"),
        (
            "{% if data.n == 1 %}a{% elif data.n == 7 %}b{% else %}c{% endif %}",
            "b",
        ),
        (
            "{{ data.tags|sort|join }} {{ data.tags|unique|join }} {{ data.tags|reverse|first }}",
            "abb ba b",
        ),
        ("{{ data.tags|sort(reverse=true) }}", r#"["b","b","a"]"#),
        ("{{ data['items']|map(attribute='sku')|join('+') }}", "x+y"),
        ("{{ data.tags|map('upper')|join }}", "BAB"),
        (
            "{{ [1, 2, 3]|select('odd')|list }} {{ [1, 2]|reject('eq', 1) }}",
            "[1,3] [2]",
        ),
        (
            "{{ data['items']|selectattr('sku', 'eq', 'y')|map(attribute='qty')|first }}",
            "1.5",
        ),
        (
            "{% for k, g in data['items']|groupby('sku') %}{{ k }}{{ g|length }}{% endfor %}",
            "x1y1",
        ),
        (
            "{{ [3, 1, 2]|min }} {{ [3, 1, 2]|max }} {{ [3, 1, 2]|last }}",
            "1 3 2",
        ),
        (
            "{{ [1, 2, 3]|batch(2) }} {{ [1, 2, 3]|batch(2, 0) }} {{ [1, 2, 3]|slice(2) }}",
            "[[1,2],[3]] [[1,2],[3,0]] [[1,2],[3]]",
        ),
        ("{{ {'b': 1, 'a': 2}|dictsort }}", r#"[["a",2],["b",1]]"#),
        (
            "{{ 'a-b c'|title }} {{ 'ABC'|capitalize }} {{ ' x '|trim }}",
            "A-B C Abc x",
        ),
        (
            "{{ 'a,b'|split(',') }} {{ 'a b'|split }} {{ 'a,b,c'|split(',', 1) }}",
            r#"["a","b"] ["a","b"] ["a","b,c"]"#,
        ),
        (
            "{{ 'hello world'|truncate(8) }} {{ 'hello'|truncate(4, true) }}",
            "hello... h...",
        ),
        ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
        (
            "{{ 'aXa'|replace('a', 'bb') }} {{ 'ä/ b'|urlencode }}",
            "bbXbb %C3%A4/%20b",
        ),
        ("{{ data.x|default('d') }} {{ ''|d('e', true) }}", "d e"),
        (
            "{{ 'abc'[1] }} {{ 'abc'[-1] }} {{ 'abcd'[1:3] }} {{ 'abc'[::-1] }} {{ [1, 2, 3][1:] }}",
            "b c bc cba [2,3]",
        ),
        (
            "{{ 'a' in data.tags }} {{ 'z' not in data.tags }} {{ 'be' in data.text }} {{ 'n' in data }}",
            "true true true true",
        ),
        (
            "{{ data.text is startingwith('ü') }} {{ data.x is defined }} {{ data.none is none }}",
            "true false true",
        ),
        (
            "{{ [1] + [2] }} {{ 'a' + 'b' }} {{ 'ab' * 2 }} {{ 1 ~ 'x' ~ none }}",
            "[1,2] ab abab 1xnull",
        ),
        (
            "{{ [1, [2]] == [1, [2.0]] }} {{ {'a': 1} != {'a': 2} }} {{ (1, 2) < (1, 3) }}",
            "true true true",
        ),
        (
            "{{ 'y' if data.yes else 'n' }} {{ data.tags[0] }} {{ data.tags.0 }}",
            "y b b",
        ),
        (
            "{{ data.zero is number }} {{ 'f' if not data.zero }} {{ 'e' if data.empty }}",
            "true f ",
        ),
    ] {
        assert_eq!(text(source), found, "{source}");
    }
}

#[test]
fn undefined_names_are_named() {
    for (source, line, name) in [
        ("{{ data.customer.name }}", 1, "data.customer"),
        ("a\n{{ data.nme|upper }}", 2, "data.nme"),
        ("{{ data['items'][5].sku }}", 1, "data[\"items\"][5]"),
        ("{{ data.n + data.m }}", 1, "data.m"),
        ("{{ foo }}", 1, "foo"),
        (
            "{% for i in data['items'] %}\n{{ i.price }}{% endfor %}",
            2,
            "i.price",
        ),
        ("{% if data.q %}{% endif %}", 1, "data.q"),
        ("{% if not data.q %}{% endif %}", 1, "data.q"),
        ("{% for i in data.q %}{% endfor %}", 1, "data.q"),
        ("{{ [data.q] }}", 1, "data.q"),
        ("{{ data.q == 1 }}", 1, "data.q"),
        ("{{ data.n and data.q }}", 1, "data.q"),
        ("{{ data.q is number }}", 1, "data.q"),
        ("{{ data.n|lower ~ data.q }}", 1, "data.q"),
    ] {
        let fault = fault(source);
        assert_eq!(fault.kind, FaultKind::Undefined, "{source}: {fault}");
        assert_eq!(fault.undefined.as_deref(), Some(name), "{source}: {fault}");
        assert_eq!(fault.line, Some(line), "{source}: {fault}");
    }
    let no_data = Names::of_event(EventFields::default(), None);
    let template = Template::parse("{{ data.x }}", Output::Text).unwrap();
    let fault = template.render(&no_data, LIMITS).unwrap_err();
    assert!(fault.message.contains("not JSON"), "{fault}");
    assert_eq!(fault.undefined.as_deref(), Some("data"));
}

#[test]
fn faults_hold_no_values() {
    let data = r#"{"s":"SECRET-1234567890","n":98765432123.5,"l":["SECRET-1"],"o":{"SECRET":1}}"#;
    for source in [
        "{{ data.s + 1 }}",
        "{{ data.s - 1 }}",
        "{{ data.n // 0 }}",
        "{{ data.n ** 999 }}",
        "{{ data.s|int }}",
        "{{ data.l|abs }}",
        "{{ data.s < 1 }}",
        "{{ data.o|dictsort(data.s) }}",
        "{{ data[data.s] }}",
        "{{ range(data.s) }}",
        "{% for a in data.s %}{% endfor %}",
        "{{ data.s|round }}",
        "{{ -data.s }}",
        "{{ data.l|map(data.s) }}",
        "{{ data.s|join(data.n) }}",
        "{{ data.l[data.s:] }}",
        "{{ data.l|select(data.s) }}",
        "{{ data.l|batch(data.s) }}",
        "{% set a, b = data.l %}",
        "{{ data.s is divisibleby(2) }}",
        "{{ data.s|format(1) }}",
    ] {
        let template = Template::parse(source, Output::Text).unwrap();
        let fault = template.render(&names(data), LIMITS).expect_err(source);
        let said = format!("{fault}{:?}", fault.undefined);
        assert!(
            !said.contains("SECRET") && !said.contains("98765"),
            "{source}: {said}"
        );
        assert!(fault.message.len() <= 300, "{source}: {said}");
        assert_eq!(fault.line, Some(1), "{source}: {said}");
    }
}

#[test]
fn bad_templates_say_where_and_how_to_fix() {
    for (source, line, part) in [
        ("{{", 1, "end of input"),
        ("a\n{{ x|nope }}", 2, "filter `nope`"),
        ("{{ x is nope }}", 1, "test `nope`"),
        ("{% macro f() %}{% endmacro %}", 1, "`macro`"),
        ("{% include 'x' %}", 1, "`include`"),
        ("{% import 'x' as y %}", 1, "`import`"),
        ("{% extends 'x' %}", 1, "`extends`"),
        ("{% block x %}{% endblock %}", 1, "`block`"),
        ("{% call x() %}{% endcall %}", 1, "`call`"),
        ("{% do x() %}", 1, "`do`"),
        (
            "{% autoescape false %}{% endautoescape %}",
            1,
            "`autoescape`",
        ),
        ("{{ dict(a=1) }}", 1, "function"),
        ("{{ namespace() }}", 1, "function"),
        ("{{ data.items() }}", 1, "method"),
        ("{{ loop.cycle(1) }}", 1, "method"),
        ("{{ range(*data) }}", 1, "named"),
        ("{{ x|join(*y) }}", 1, "spread"),
        ("{{ 1 < 2 < 3 }}", 1, "chained"),
        (
            "{% for a in b recursive %}{{ loop(a) }}{% endfor %}",
            1,
            "recursive",
        ),
        ("{% set a.b = 1 %}", 1, "part of a value"),
        ("{% for a, (b, c) in x %}{% endfor %}", 1, "nest"),
        ("{% if x %}", 1, "end of input"),
        ("{{ 'a }}", 1, "string"),
    ] {
        let bad = bad(source);
        assert_eq!(bad.line, line, "{source}: {bad}");
        assert!(bad.problem.contains(part), "{source}: {bad}");
        assert!(!bad.fix.is_empty());
    }
}

#[test]
fn limits_are_kept() {
    let long = format!(
        "{{% for i in range(1000) %}}{}{{% endfor %}}",
        "x".repeat(2000)
    );
    let template = Template::parse(&long, Output::Text).unwrap();
    let small = Limits {
        steps: u64::MAX / 64,
        output: 1000,
    };
    assert_eq!(
        template.render(&names("1"), small).unwrap_err().kind,
        FaultKind::Output
    );
    let none = Limits {
        steps: 3,
        output: 1000,
    };
    assert_eq!(
        template.render(&names("1"), none).unwrap_err().kind,
        FaultKind::Steps
    );
}

#[test]
fn a_document_of_a_mebibyte_prints_within_the_steps() {
    for data in [
        format!("[{}1]", "1,".repeat(524_000)),
        format!("\"{}\"", "x".repeat((1 << 20) - 2)),
        format!("[{}{{}}]", "{\"a\":[1.50]},".repeat(80_000)),
    ] {
        let names = names(&data);
        for source in ["{{ data }}", "{{ data|tojson }}"] {
            let template = Template::parse(source, Output::Json).unwrap();
            let limits = Limits {
                steps: Limits::STEPS,
                output: 2 << 20,
            };
            assert!(template.render(&names, limits).unwrap() == data, "{source}");
        }
    }
}

#[test]
fn recognizes_templates_and_json() {
    assert!(is_template("a {{ b") && is_template("{% x") && is_template("{# x"));
    assert!(!is_template("{ {} }"));
    assert!(check_json("{\"a\":[1,2.50e3]} ").is_ok());
    for text in ["", "{\"a\":}", "1 2", "[1,]", "\"a"] {
        assert!(check_json(text).is_err(), "{text}");
    }
    assert!(check_json(&("[".repeat(129) + &"]".repeat(129))).is_err());
    assert!(check_json(&("[".repeat(128) + &"]".repeat(128))).is_ok());
}

#[test]
fn the_names_of_the_filters_are_those_of_the_tables() {
    let of_tables: Vec<&str> = environment::filters().map(|(name, _)| name).collect();
    assert_eq!(of_tables, filter_names::FILTERS);
}
