//! A test that runs itself in network and mount namespaces of its own, where it may lay down
//! what leads where.

use std::io::Write;
use std::process::Command;

/// Says to the test that it runs inside.
const INSIDE: &str = "OUTBOXD_TEST_INSIDE";

/// Whether the test is inside. If not, this has run the test `this` (its full name) there, after
/// the shell commands of `prepare`, which see the variables of `env`; or has skipped it aloud,
/// where that is not possible (it takes `unshare`, `ip` and user namespaces).
///
/// # Panics
/// When the test fails inside.
pub fn is_inside(this: &str, prepare: &str, env: &[(&str, &str)]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let in_namespaces = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["-rnm", "sh", "-c", script])
            .env(INSIDE, "1")
            .envs(env.iter().copied());
        command.output()
    };
    let possible = in_namespaces(prepare).is_ok_and(|tried| tried.status.success());
    if !possible {
        // Not through the macros, whose output a passing test hides.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {this}: no network namespace can be made here"
        );
        return false;
    }
    let test = std::env::current_exe().expect("the test has a file");
    let script = format!("{prepare} && exec {test:?} --exact {this} --nocapture");
    let ran = in_namespaces(&script).expect("it ran before");
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    false
}
