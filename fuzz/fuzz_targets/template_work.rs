//! Templates that a grammar makes, over a large event: none takes more time or memory than it may.

#![no_main]

use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use outboxd::domain::json::Json;
use outboxd::domain::template::{EventFields, FILTERS, Names, Output};
use outboxd_fuzz::{escape, render_within_bounds};

const BINARY: [&str; 16] = [
    "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", ">=", "in", "not in", "and", "or",
];
const TESTS: [&str; 26] = [
    "defined",
    "undefined",
    "none",
    "boolean",
    "true",
    "false",
    "number",
    "integer",
    "float",
    "string",
    "mapping",
    "sequence",
    "iterable",
    "odd",
    "even",
    "divisibleby",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "in",
    "containing",
    "startingwith",
    "endingwith",
];
const NAMES: [&str; 14] = [
    "a",
    "b",
    "c",
    "data.text",
    "data.wide",
    "data.blank",
    "data.number",
    "data.fraction",
    "data.zeros",
    "data.list",
    "data.rows",
    "data.map",
    "data.deep",
    "data.one",
];
const LITERALS: [&str; 18] = [
    "0", "1", "2", "7", "100", "1000", "9999", "-1", "1.5", "1e300", "''", "'a'", "' '", "','",
    "'n'", "'%s'", "none", "true",
];
const NAMED: [&str; 12] = [
    "attribute='n'",
    "reverse=true",
    "indent=2",
    "width=100",
    "first=true",
    "default=1",
    "start=0",
    "by='value'",
    "boolean=true",
    "'upper'",
    "'n'",
    "'even'",
];
/// How deeply expressions nest.
const DEEPEST: usize = 4;

static LARGE: LazyLock<Names> = LazyLock::new(|| {
    let list: Vec<String> = (0..8_000).map(|n| n.to_string()).collect();
    let rows = |n: usize| format!(r#"{{"n":{n}.50,"s":"row {n}","t":[{n},"x"]}}"#);
    let rows: Vec<String> = (0..1_000).map(rows).collect();
    let map: Vec<String> = (0..2_000).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let data = format!(
        r#"{{"text":"{}","wide":"{}","blank":"{}","number":{},"fraction":0.{},"zeros":0.{}1,
        "list":[{}],"rows":[{}],"map":{{{}}},"deep":{}{},"one":[{}]}}"#,
        "ab c\\n".repeat(40_000),
        "ßé,İ".repeat(20_000),
        " ".repeat(200_000),
        "9".repeat(200_000),
        "37".repeat(100_000),
        "0".repeat(200_000),
        list.join(","),
        rows.join(","),
        map.join(","),
        "[".repeat(100),
        "]".repeat(100),
        "1".repeat(200_000),
    );
    let data = Json::parse(data.as_bytes()).expect("it is JSON");
    Names::of_event(EventFields::default(), Some(Arc::new(data)))
});

struct Writer<'a> {
    from: Unstructured<'a>,
    out: String,
}

impl Writer<'_> {
    fn pick(&mut self, words: &[&'static str]) -> Result<()> {
        let word = *self.from.choose(words)?;
        self.out.push_str(word);
        Ok(())
    }

    fn template(&mut self) -> Result<()> {
        for name in ["a", "b", "c"] {
            let _ = write!(self.out, "{{% set {name} = ");
            self.expression(0)?;
            self.out.push_str(" %}");
        }
        while !self.from.is_empty() {
            self.statement(0)?;
        }
        Ok(())
    }

    fn statement(&mut self, depth: usize) -> Result<()> {
        let kind = self.from.int_in_range(0..=if depth < 3 { 7 } else { 2 })?;
        match kind {
            0 | 1 => {
                self.out.push_str("{{ ");
                self.expression(0)?;
                self.out.push_str(" }}");
            }
            2 => {
                self.out.push_str("{% set ");
                self.pick(&NAMES[..3])?;
                self.out.push_str(" = ");
                self.expression(0)?;
                self.out.push_str(" %}");
            }
            3 | 4 => {
                self.out.push_str("{% for i in ");
                match kind {
                    3 => self.out.push_str("range(9999)"),
                    _ => self.expression(1)?,
                }
                self.out.push_str(" %}");
                self.statement(depth + 1)?;
                self.out.push_str("{% endfor %}");
            }
            5 => {
                self.out.push_str("{% if ");
                self.expression(0)?;
                self.out.push_str(" %}");
                self.statement(depth + 1)?;
                self.out.push_str("{% endif %}");
            }
            6 => {
                self.out.push_str("{% set ");
                self.pick(&NAMES[..3])?;
                self.out.push_str(" %}");
                self.statement(depth + 1)?;
                self.out.push_str("{% endset %}");
            }
            _ => {
                self.out.push_str("{% filter ");
                self.pick(&FILTERS)?;
                self.out.push_str(" %}");
                self.statement(depth + 1)?;
                self.out.push_str("{% endfilter %}");
            }
        }
        Ok(())
    }

    fn expression(&mut self, depth: usize) -> Result<()> {
        let kind = self
            .from
            .int_in_range(0..=if depth < DEEPEST { 13 } else { 2 })?;
        match kind {
            0 | 1 => self.pick(&NAMES)?,
            2 => self.pick(&LITERALS)?,
            3 | 4 => {
                self.out.push('(');
                self.expression(depth + 1)?;
                self.out.push(' ');
                self.pick(&BINARY)?;
                self.out.push(' ');
                self.expression(depth + 1)?;
                self.out.push(')');
            }
            5..=8 => {
                self.expression(depth + 1)?;
                self.out.push('|');
                self.pick(&FILTERS)?;
                self.arguments(depth)?;
            }
            9 => {
                self.out.push('(');
                self.expression(depth + 1)?;
                self.out.push_str(" is ");
                self.pick(&TESTS)?;
                self.arguments(depth)?;
                self.out.push(')');
            }
            10 => {
                self.expression(depth + 1)?;
                self.out.push('[');
                self.expression(depth + 1)?;
                if self.from.ratio(1, 2)? {
                    self.out.push(':');
                    self.expression(depth + 1)?;
                }
                self.out.push(']');
            }
            11 => {
                self.out.push('[');
                for _ in 0..self.from.int_in_range(0..=4)? {
                    self.expression(depth + 1)?;
                    self.out.push(',');
                }
                self.out.push(']');
            }
            12 => {
                self.out.push_str("{'x': ");
                self.expression(depth + 1)?;
                self.out.push_str(", 'n': ");
                self.expression(depth + 1)?;
                self.out.push('}');
            }
            _ => {
                self.out.push_str("range(");
                self.pick(&["9999", "500", "data.list|length", "7, 0, -1"])?;
                self.out.push(')');
            }
        }
        Ok(())
    }

    fn arguments(&mut self, depth: usize) -> Result<()> {
        let count = self.from.int_in_range(0..=3)?;
        if count == 0 {
            return Ok(());
        }
        self.out.push('(');
        for n in 0..count {
            if n > 0 {
                self.out.push_str(", ");
            }
            match self.from.ratio(1, 4)? {
                true => self.pick(&NAMED)?,
                false => self.expression(depth.max(DEEPEST - 1) + 1)?,
            }
        }
        self.out.push(')');
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    // Made outside of what is bounded.
    let large = &*LARGE;
    let mut writer = Writer {
        from: Unstructured::new(bytes),
        out: String::new(),
    };
    // When the bytes are used up, so is the template.
    let _ = writer.template();
    let source = writer.out;
    if std::env::var_os("OUTBOXD_FUZZ_SHOW").is_some() {
        eprintln!("{source}");
    }
    render_within_bounds(&source, large, &[Output::Text, Output::Escaped(escape)]);
});
