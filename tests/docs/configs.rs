//! Every configuration and every JSON of the pages is one.

use std::path::Path;
use std::process::{Command, Output};

use crate::page::{Block, Page, pages, read};

/// A block as a whole file. One without a table is a part of an endpoint.
fn whole(text: &str) -> String {
    if text.lines().any(|line| line.starts_with('[')) {
        return text.to_owned();
    }
    let is_signed = text.lines().any(|line| line.starts_with("secret"));
    let secret = match is_signed {
        true => String::new(),
        false => format!("secret = {:?}\n", keygen(&[]).trim()),
    };
    format!("[[endpoint]]\nid = \"of-a-part\"\nurl = \"https://example.com/hook\"\n{secret}{text}")
}

/// Content for a file that `key` names.
fn content(key: &str, in_source: bool, number: usize) -> String {
    let certificate = || {
        let names = vec!["client.example".to_owned()];
        rcgen::generate_simple_self_signed(names).unwrap()
    };
    thread_local! {
        /// The two halves of a pair have to fit.
        static PAIR: (String, String) = {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
    }
    match key {
        "secret_file" | "secret_files" if !in_source => keygen(&[]),
        "signing_key_file" => keygen(&["--ed25519"]),
        "client_cert_file" | "inbound_cert_file" => PAIR.with(|pair| pair.0.clone()),
        "client_key_file" | "inbound_key_file" | "private_key_file" => {
            PAIR.with(|pair| pair.1.clone())
        }
        "ca_file" => certificate().cert.pem(),
        "logo_file" => "<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_owned(),
        "key_file" => "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n".to_owned(),
        _ => format!("a-secret-of-{key}-{number}-0123456789"),
    }
}

fn keygen(args: &[&str]) -> String {
    let made = outboxd(&[&["keygen"][..], args].concat());
    let text = String::from_utf8(made.stdout).unwrap();
    text.lines().next().unwrap().to_owned() + "\n"
}

fn outboxd(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.env_clear().args(args).output().unwrap()
}

/// The files that a value names, each with its key and whether it belongs to a source.
fn named(value: &toml::Value, in_source: bool, found: &mut Vec<(String, String, bool)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let in_source = in_source || key == "source";
                let texts = match value {
                    toml::Value::String(text) if key.ends_with("_file") => vec![text.clone()],
                    toml::Value::Array(list) if key.ends_with("_files") => {
                        let texts = list.iter().filter_map(toml::Value::as_str);
                        texts.map(str::to_owned).collect()
                    }
                    _ => Vec::new(),
                };
                let texts = texts.into_iter();
                found.extend(texts.map(|text| (key.clone(), text, in_source)));
                named(value, in_source, found);
            }
        }
        toml::Value::Array(list) => {
            for value in list {
                named(value, in_source, found);
            }
        }
        _ => {}
    }
}

/// A configuration with files of its own in the place of those that it names. Their paths begin with
/// `stem`.
///
/// # Panics
/// If it is no TOML.
pub fn with_files(text: &str, stem: &Path) -> String {
    let table: toml::Table = toml::from_str(text).unwrap();
    let mut files = Vec::new();
    named(&toml::Value::Table(table), false, &mut files);
    let mut text = text.to_owned();
    for (number, (key, name, in_source)) in files.iter().enumerate() {
        if name.is_empty() {
            continue;
        }
        let path = format!("{}-{number}", stem.display());
        std::fs::write(&path, content(key, *in_source, number)).unwrap();
        text = text.replace(&format!("{name:?}"), &format!("{path:?}"));
    }
    text
}

/// What `outboxd check` finds wrong with a block.
fn fault(block: &Block, dir: &Path) -> Option<String> {
    // An ellipsis stands for what a reader fills in.
    let text = whole(&block.text.replace('…', "x"));
    if let Err(error) = toml::from_str::<toml::Table>(&text) {
        return Some(error.to_string());
    }
    let text = with_files(&text, &dir.join(block.line.to_string()));
    let file = dir.join("outboxd.toml");
    std::fs::write(&file, &text).unwrap();
    let check = outboxd(&["check", "--config", file.to_str().unwrap()]);
    if check.status.success() {
        return None;
    }
    let faults = String::from_utf8_lossy(&check.stderr).into_owned();
    // Only a build with the feature takes the address of a collector.
    let is_only = faults.contains("this build of outboxd cannot export traces")
        && faults.matches("fix:").count() <= 1;
    (cfg!(feature = "otlp") || !is_only).then_some(faults)
}

#[test]
fn every_configuration_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let (mut faults, mut checked) = (Vec::new(), 0);
    let mut check = |page: &str, block: &Block| {
        checked += 1;
        if let Some(fault) = fault(block, dir.path()) {
            faults.push(format!("{page}:{}: {fault}\n{}", block.line, block.text));
        }
    };
    for page in pages() {
        for block in page.in_language("toml") {
            check(&page.name, &block);
        }
    }
    for name in ["order-to-slack", "stripe-in"] {
        let name = format!("docs/examples/{name}.toml");
        let block = Block {
            language: None,
            line: 1,
            text: read(&name),
        };
        check(&name, &block);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 20, "only {checked} configurations were found");
}

#[test]
fn every_json_is_json() {
    let mut checked = 0;
    for Page { name, text } in pages() {
        let page = Page { name, text };
        for block in page.in_language("json") {
            let text = block.text.replace('…', "x");
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            let fault = parsed.err().map(|error| error.to_string());
            assert_eq!(fault, None, "{}:{}\n{text}", page.name, block.line);
            checked += 1;
        }
    }
    assert!(checked > 10, "only {checked} blocks were found");
}
