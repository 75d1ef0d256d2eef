//! Tests and benches run daemons, and these call no host but this machine: the URLs of their endpoints
//! have names that never resolve (RFC 2606) or addresses.

use std::path::{Path, PathBuf};

/// URLs that no daemon of a test calls: a daemon gives them to providers, vectors sign them, or they
/// name a schema.
const NEVER_CALLED: [&str; 7] = [
    "hooks.example.com",
    "example.com/webhook",
    "mycompany.com",
    "hooks.slack.com/services/T00000000/B00000000/",
    "schemas.xmlsoap.org",
    "soap.sforce.com",
    "www.w3.org",
];

/// URLs of a line of code whose host is a public name.
fn public_urls(line: &str) -> Vec<&str> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    let urls = line.split("://").skip(1);
    let public = urls.filter(|url| {
        let authority = url.split(['/', '"', '\\', '\'', ' ', '`', ',']).next();
        let host = authority.unwrap_or_default().rsplit('@').next();
        let name = host
            .unwrap_or_default()
            .split(':')
            .next()
            .unwrap_or_default();
        let (_, domain) = name.rsplit_once('.').unwrap_or_default();
        ["com", "org", "net", "io", "dev"].contains(&domain)
            && !NEVER_CALLED.iter().any(|known| url.starts_with(known))
    });
    public.collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "js")
        {
            found.push(path);
        }
    }
}

#[test]
fn no_daemon_of_a_test_calls_a_public_host() {
    assert_eq!(
        public_urls("url = \"https://u:p@a.example.com:1/b\""),
        ["u:p@a.example.com:1/b\""]
    );
    assert_eq!(public_urls("// https://a.com"), [""; 0]);
    assert_eq!(
        public_urls("\"http://a.invalid\" + \"http://127.0.0.1/\""),
        [""; 0]
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [
        "tests/blackbox",
        "tests/crash",
        "tests/backup",
        "tests/harness",
        "tests/browser/journeys",
        "benches",
    ] {
        files(&root.join(folder), &mut found);
    }
    assert!(found.len() > 100);
    let mut faults = Vec::new();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            for url in public_urls(line) {
                faults.push(format!("{}:{}: {url}", path.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
