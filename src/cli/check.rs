//! `outboxd check`: validates the configuration and prints it in effect.
//!
//! Reads what the daemon would read and changes nothing: it opens no port, no socket and
//! no data directory.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::{Failure, unprinted};
use crate::config::{self, Environment, Loaded, show};

/// Check the configuration and print what is in effect, secrets masked.
///
/// Exit status: 0 if it is good, 2 if it has faults; `check` reports all of them at once.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// The file; else $OUTBOXD_CONFIG, else /etc/outboxd/outboxd.toml if it is there.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON on stdout, faults too.
    #[arg(long)]
    pub json: bool,
}

const GOOD: u8 = 0;
const FAILED: u8 = 1;
const FAULTY: u8 = 2;

/// Runs the command over the environment, stdout and stderr of this process.
pub fn check(args: &CheckArgs) -> ExitCode {
    let environment = Environment::of_process();
    let (out, err) = (&mut io::stdout().lock(), &mut io::stderr());
    ExitCode::from(run(args, &environment, out, err))
}

fn run(
    args: &CheckArgs,
    environment: &Environment,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let judged = config::load(args.config.as_deref(), environment);
    let status = if judged.is_ok() { GOOD } else { FAULTY };
    if let (Ok(loaded), false) = (&judged, args.json) {
        for warning in loaded.config.backup.warnings() {
            // Best effort: the configuration is good all the same.
            let _ = writeln!(err, "warning: {warning}");
        }
    }
    let printed = match (judged, args.json) {
        (Ok(loaded), false) => print_toml(&loaded, out),
        (Ok(loaded), true) => print_json(&loaded, out),
        (Err(faults), false) => {
            // The status says that there are faults, whatever becomes of their list.
            let _ = writeln!(err, "{faults}");
            Ok(())
        }
        (Err(faults), true) => writeln!(out, "{}", json!({"ok": false, "faults": faults.list})),
    };
    match printed.and_then(|()| out.flush()).map_err(unprinted) {
        // A reader that went away (`outboxd check | head`) changes nothing.
        Ok(()) | Err(Failure::OutputClosed) => status,
        Err(failure) => {
            // Best effort, as above.
            let _ = writeln!(err, "outboxd: {failure}");
            status.max(FAILED)
        }
    }
}

fn print_toml(loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    match &loaded.path {
        Some(path) => writeln!(out, "# in effect with {:?}", path)?,
        None => writeln!(out, "# in effect without a file: the defaults")?,
    }
    if !loaded.variables.is_empty() {
        let names = loaded.variables.join(", ");
        writeln!(out, "# from the environment: {names}")?;
    }
    write!(out, "{}", show::to_toml(&loaded.config))?;
    Ok(())
}

fn print_json(loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    let config = show::to_json(&loaded.config);
    let warnings = loaded.config.backup.warnings();
    let shown = json!({"ok": true, "config": config, "warnings": warnings});
    writeln!(out, "{shown}")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CheckArgs,
    }

    /// Status, stdout and stderr of `check` over a file with this text, or none.
    fn checked(text: Option<&str>, flags: &[&str]) -> (u8, String, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outboxd.toml");
        let mut line = vec!["check"];
        line.extend(flags);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
            line.extend(["--config", path.to_str().unwrap()]);
        }
        let args = Line::parse_from(line).args;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(&args, &Environment::default(), &mut out, &mut err);
        let read = |bytes| String::from_utf8(bytes).unwrap();
        (status, read(out), read(err))
    }

    const GOOD: &str = "[[endpoint]]\nid = \"orders\"\nurl = \"https://example.com/hook\"\n\
        secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nordering = \"key\"\n";

    #[test]
    fn a_good_file_is_shown_as_toml() {
        let (status, out, err) = checked(Some(GOOD), &[]);
        assert_eq!((status, &*err), (0, ""));
        assert!(out.starts_with("# in effect with \"/"), "{out}");
        assert!(
            out.contains("\n# secret = (set, not shown)\n") && !out.contains("MfKQ"),
            "{out}"
        );
        let table: toml::Table = toml::from_str(&out).unwrap();
        assert_eq!(table["endpoint"][0]["ordering"].as_str(), Some("key"));
        // What is printed is itself a good file.
        assert_eq!(checked(Some(&out), &[]).0, 0);
    }

    #[test]
    fn no_file_shows_the_defaults() {
        let (status, out, err) = checked(None, &[]);
        assert_eq!((status, &*err), (0, ""));
        assert!(out.starts_with("# in effect without a file"), "{out}");
        let table: toml::Table = toml::from_str(&out).unwrap();
        assert_eq!(table["listen"]["http"].as_str(), Some("127.0.0.1:7717"));
    }

    #[test]
    fn faults_go_to_stderr_all_of_them() {
        let text = "dta_dir = \"x\"\n[delivery]\ntimeout = 5\n";
        let (status, out, err) = checked(Some(text), &[]);
        assert_eq!((status, &*out), (2, ""));
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 2, "{err}");
        assert!(lines[0].contains("outboxd.toml:1:1: dta_dir: unknown key; fix: did you mean"));
        assert!(
            lines[1].contains("outboxd.toml:3:11: delivery.timeout: "),
            "{err}"
        );
    }

    #[test]
    fn json_tells_both() {
        let (status, out, err) = checked(Some(GOOD), &["--json"]);
        assert_eq!((status, &*err), (0, ""));
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["ok"], true);
        assert_eq!(json["config"]["endpoint"][0]["id"], "orders");
        assert!(!out.contains("MfKQ"), "{out}");

        let (status, out, err) = checked(Some("[retry]\nfrist = \"5s\""), &["--json"]);
        assert_eq!((status, &*err), (2, ""));
        let json: Value = serde_json::from_str(&out).unwrap();
        let fault = json!({"line": 2, "column": 1, "key": "retry.frist", "problem": "unknown key",
            "fix": "did you mean \"first\"?"});
        assert_eq!(json, json!({"ok": false, "faults": [fault]}));
    }

    #[test]
    fn variables_are_named_in_place_of_lines() {
        let judged = |name: &str, value: &str, json| {
            let variables = [(name.into(), value.into())];
            let environment = Environment {
                system_config: None,
                ..Environment::from_variables(variables)
            };
            let args = CheckArgs { config: None, json };
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let status = run(&args, &environment, &mut out, &mut err);
            let read = |bytes| String::from_utf8(bytes).unwrap();
            (status, read(out), read(err))
        };
        let (status, out, err) = judged("OUTBOXD_LISTEN__HTTP", "[::1]:1", false);
        assert_eq!((status, &*err), (0, ""));
        assert!(out.contains("\n# from the environment: OUTBOXD_LISTEN__HTTP\n"));
        assert!(out.contains("\nhttp = \"[::1]:1\"\n"), "{out}");

        let (status, out, err) = judged("OUTBOXD_DELIVERY__THREADS", "65", false);
        assert_eq!((status, &*out), (2, ""));
        assert_eq!(
            err,
            "OUTBOXD_DELIVERY__THREADS: delivery.threads: 65 is out of bounds; \
             fix: write 0 to 64\n"
        );
        let (status, out, err) = judged("OUTBOXD_LISEN__HTTP", "x", false);
        assert_eq!((status, &*out), (2, ""));
        assert_eq!(
            err,
            "OUTBOXD_LISEN__HTTP: this variable names no key; \
             fix: did you mean OUTBOXD_LISTEN__HTTP?\n"
        );
        let (status, out, _) = judged("OUTBOXD_DELIVERY__THREADS", "65", true);
        let json: Value = serde_json::from_str(&out).unwrap();
        let fault = json!({"line": null, "column": null, "variable": "OUTBOXD_DELIVERY__THREADS",
            "key": "delivery.threads", "problem": "65 is out of bounds",
            "fix": "write 0 to 64"});
        assert_eq!(status, 2);
        assert_eq!(json, json!({"ok": false, "faults": [fault]}));
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault() {
        let args = CheckArgs {
            config: Some("/nowhere/outboxd.toml".into()),
            json: false,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(&args, &Environment::default(), &mut out, &mut err);
        assert_eq!((status, out.len()), (2, 0));
        let err = String::from_utf8(err).unwrap();
        assert!(
            err.starts_with("/nowhere/outboxd.toml: cannot read the configuration"),
            "{err}"
        );
    }
}
