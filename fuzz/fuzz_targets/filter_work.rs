//! Filters that a grammar makes, over a large event: none takes more time or memory than it may,
//! and both ways of judging agree.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use outboxd::domain::filter::Filter;
use outboxd::domain::json::Json;
use outboxd_fuzz::Bound;

const KEYS: [&str; 14] = [
    "data",
    "text",
    "number",
    "fraction",
    "list",
    "rows",
    "map",
    "deep",
    "n",
    "s",
    "t",
    "k7",
    "data.rows.n",
    "a.a.a.a.a.a.a.a.a.a.a.a",
];
const VALUES: [&str; 14] = [
    "0",
    "7",
    "1.50",
    "-0.0",
    "1e999999999",
    "1e-999999999",
    "99999999999999999999999.5",
    "null",
    "true",
    "\"x\"",
    "\"row 7\"",
    "\"\"",
    "[]",
    "{}",
];
const COMPARISONS: [&str; 6] = ["$eq", "$neq", "$gt", "$gte", "$lt", "$lte"];
const LISTS: [&str; 4] = ["$in", "$nin", "$startsWith", "$endsWith"];
const DEEPEST: usize = 6;

static LARGE: LazyLock<Json> = LazyLock::new(|| {
    let list: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
    let row = |n: usize| format!(r#"{{"n":{n}.50,"s":"row {n}","t":[{n},"x",[{n}]]}}"#);
    let rows: Vec<String> = (0..8_000).map(row).collect();
    let map: Vec<String> = (0..2_000).map(|n| format!(r#""k{n}":{n}"#)).collect();
    let event = format!(
        r#"{{"data":{{"text":"{}","number":{},"fraction":0.{}1,"list":[{}],"rows":[{}],
        "map":{{{}}},"deep":{}{}}}}}"#,
        "ab c".repeat(20_000),
        "9".repeat(100_000),
        "0".repeat(100_000),
        list.join(","),
        rows.join(","),
        map.join(","),
        "[".repeat(100),
        "]".repeat(100),
    );
    Json::parse(event.as_bytes()).expect("it is JSON")
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

    fn key(&mut self, words: &[&'static str]) -> Result<()> {
        self.out.push('"');
        self.pick(words)?;
        self.out.push_str("\":");
        Ok(())
    }

    /// An object of plain keys or of operators, a value, or an array.
    fn condition(&mut self, depth: usize) -> Result<()> {
        let kind = self
            .from
            .int_in_range(0..=if depth < DEEPEST { 6 } else { 0 })?;
        match kind {
            0 => self.pick(&VALUES),
            1 => self.list(depth),
            2..=4 => self.object(depth, Self::operator),
            _ => self.object(depth, Self::field),
        }
    }

    fn object(&mut self, depth: usize, part: fn(&mut Self, usize) -> Result<()>) -> Result<()> {
        self.out.push('{');
        let count = self.from.int_in_range(0..=3)?;
        for n in 0..count {
            if n > 0 {
                self.out.push(',');
            }
            part(self, depth)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn field(&mut self, depth: usize) -> Result<()> {
        self.key(&KEYS)?;
        self.condition(depth + 1)
    }

    fn operator(&mut self, depth: usize) -> Result<()> {
        match self.from.int_in_range(0..=5)? {
            0 | 1 => {
                self.key(&COMPARISONS)?;
                self.pick(&VALUES)
            }
            2 => {
                self.key(&LISTS)?;
                self.out.push('[');
                let count = self.from.int_in_range(1..=500)?;
                for n in 0..count {
                    if n > 0 {
                        self.out.push(',');
                    }
                    self.pick(&["\"ab\"", "\"row 7\"", "\"\"", "\"zz\""])?;
                }
                self.out.push(']');
                Ok(())
            }
            3 => {
                self.key(&["$or", "$and"])?;
                self.list(depth)
            }
            4 => {
                self.key(&["$not"])?;
                self.condition(depth + 1)
            }
            _ => {
                self.key(&["$exist"])?;
                self.pick(&["true", "false"])
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<()> {
        self.out.push('[');
        let count = self.from.int_in_range(1..=4)?;
        for n in 0..count {
            if n > 0 {
                self.out.push(',');
            }
            self.condition(depth + 1)?;
        }
        self.out.push(']');
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
    if writer.object(0, Writer::field).is_err() {
        return;
    }
    let bound = Bound::new();
    let Ok(filter) = bound.hold("reading", || Filter::parse_text(&writer.out)) else {
        return;
    };
    let matches = bound.hold(&writer.out, || filter.matches(large));
    let judged = bound.hold(&writer.out, || filter.judge(large));
    assert_eq!(matches, judged.is_ok());
});
