//! What a bench was asked for, and the table that it prints.

/// `--json`: one object a line instead of a table. `--smoke`: a fraction of the work, to
/// see that the bench runs; its figures mean little. `--large`: ten times the work, where a
/// bench has that.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    json: bool,
    pub smoke: bool,
    pub large: bool,
}

impl Asked {
    /// From the command line. Cargo adds `--bench`.
    pub fn read() -> Asked {
        let mut asked = Asked {
            json: false,
            smoke: false,
            large: false,
        };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--json" => asked.json = true,
                "--smoke" => asked.smoke = true,
                "--large" => asked.large = true,
                "--bench" => {}
                other => panic!("{other}: there are --json, --smoke and --large"),
            }
        }
        asked
    }

    /// How many rounds to go, of so many; a smoke run goes one.
    #[allow(dead_code, reason = "not every bench has rounds")]
    pub fn rounds(self, all: u64) -> u64 {
        if self.smoke { 1 } else { all }
    }
}

/// One measure beside the machine's limit for it, taken in the same run.
pub struct Row {
    pub measure: String,
    pub value: f64,
    pub unit: &'static str,
    /// What the limit is of, and its value in the same unit.
    pub limit: Option<(&'static str, f64)>,
}

/// Prints rows as they come.
pub struct Report {
    bench: &'static str,
    asked: Asked,
}

impl Report {
    pub fn new(bench: &'static str, asked: Asked) -> Report {
        if !asked.json {
            println!(
                "{:<44} {:>10}  {:<10} {:>10}  {:>6}  limit",
                bench, "measured", "", "limit", "ratio"
            );
        }
        Report { bench, asked }
    }

    pub fn row(&self, row: &Row) {
        let (name, limit) = row.limit.unzip();
        let ratio = limit.map(|limit| row.value / limit);
        if self.asked.json {
            let line = serde_json::json!({
                "bench": self.bench,
                "measure": row.measure,
                "value": row.value,
                "unit": row.unit,
                "limit": limit,
                "limit_of": name,
                "ratio": ratio,
            });
            println!("{line}");
            return;
        }
        let number = |value: Option<f64>| match value {
            None => String::new(),
            Some(value) if value >= 100.0 => format!("{value:.0}"),
            Some(value) => format!("{value:.2}"),
        };
        let line = format!(
            "{:<44} {:>10}  {:<10} {:>10}  {:>6}  {}",
            row.measure,
            number(Some(row.value)),
            row.unit,
            number(limit),
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            name.unwrap_or_default(),
        );
        println!("{}", line.trim_end());
    }
}
