//! What a delivery carries, before the official libraries of others. They come from PyPI; without
//! it these tests say so and are skipped.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::endpoint_api::{JSON, id_of, made};
use crate::harness::{Home, Receiver, endpoint};

/// The Python of an environment that has these packages, made once for all runs. `None` if it cannot
/// be made, which is told.
pub fn python(this: &str, name: &str, packages: &[&str]) -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{name}"));
    let (python, done) = (dir.join("bin/python"), dir.join("done"));
    if done.exists() {
        return Some(python);
    }
    let runs = |command: &mut Command| {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let made = runs(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&dir),
    );
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--timeout",
        "10",
        "--retries",
        "0",
    ])
    .args(packages);
    if made && runs(&mut pip) {
        std::fs::write(done, "").expect("it is writable");
        return Some(python);
    }
    // Not through the macros, whose output a passing test hides.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {this}: pip cannot install {packages:?} here"
    );
    None
}

#[test]
fn the_libraries_of_svix_and_standard_webhooks_verify_deliveries() {
    let this = "shaping::official::the_libraries_of_svix_and_standard_webhooks_verify_deliveries";
    let Some(python) = python(this, "signatures", &["svix", "standardwebhooks"]) else {
        return;
    };
    let receiver = Receiver::ok();
    let home = Home::new();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let of = |id: &str, more: &str| {
        endpoint(
            id,
            &receiver.url(&format!("/{id}")),
            &format!("secret = \"{secret}\"\nsignatures = [\"v1\", \"svix\"]\n{more}"),
        )
    };
    let config = of("plain", "")
        + &of("template", "template = '{\"n\": {{ data.n }}}'")
        + &of("bare", "format = \"bare\"");
    let daemon = home.start(&config);
    let rotated = made(
        &daemon,
        json!({"url": receiver.url("/rotated"), "signatures": ["svix", "v1"]}),
    );
    let path = format!("/v1/endpoints/{}/rotate", id_of(&rotated));
    let newest = daemon
        .tcp
        .request("POST", &path, &JSON, b"{\"overlap\": \"1h\"}")
        .expect(200);
    daemon.send("a", "{\"n\":  12.50, \"s\": \"\u{fc}\"}");
    let verifies = |headers: &serde_json::Value, body: &[u8], secret: &str| {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/blackbox/shaping/verify_signatures.py"
        );
        let mut child = Command::new(&python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let given = json!({"secret": secret, "headers": headers, "body": STANDARD.encode(body)});
        child
            .stdin
            .take()
            .unwrap()
            .write_all(given.to_string().as_bytes())
            .unwrap();
        let ran = child.wait_with_output().unwrap();
        (
            ran.status.success(),
            String::from_utf8_lossy(&ran.stderr).into_owned(),
        )
    };
    for seen in receiver.wait(4) {
        let headers: serde_json::Map<_, _> = seen
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let headers = serde_json::Value::Object(headers);
        let secrets = match seen.path.as_str() {
            "/rotated" => vec![
                newest["secret"].as_str().unwrap(),
                rotated["secret"].as_str().unwrap(),
            ],
            _ => vec![secret],
        };
        for secret in secrets {
            let (good, why) = verifies(&headers, &seen.body, secret);
            assert!(good, "{}: {why}", seen.path);
        }
        let forged = [&seen.body[..], b"x"].concat();
        assert!(!verifies(&headers, &forged, secret).0);
    }
}
