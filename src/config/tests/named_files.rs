//! Files that the configuration names.

use super::*;

#[test]
fn secrets_and_tokens_are_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (app, _) = (file("app", "tok3n\n"), file("ops", " other-tok3n \n"));
    let secret = file("hook", &format!("{SECRET}\n"));
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = format!(
        "listen.http = \"0.0.0.0:7717\"\n[auth]\ntokens = [\n\
         {{ name = \"app\", token_file = \"{app}\", scope = \"ingest\" }},\n\
         {{ name = \"ops\", token_file = \"ops\", scope = \"admin\" }}]\n{}{}",
        endpoint(&format!("secret_file = \"{secret}\"")),
        endpoint("secret_file = \"hook\"").replace("orders", "bare"),
    );
    let config = parse(&text, &env).unwrap().config;
    let [app, ops] = &*config.auth.tokens else {
        panic!("two tokens")
    };
    assert_eq!(
        (app.scope, ops.scope, &*ops.name),
        (Scope::Ingest, Scope::Admin, "ops")
    );
    // sha256sum of "tok3n"
    let digest: String = app
        .sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(
        digest,
        "9e795c29a8c362acadaed8c6148e060d33e3cdf04bc6ab99da0efdca0160f556"
    );
    for endpoint in &config.endpoints {
        assert_eq!(endpoint.secrets[0].secret.reveal(), SECRET);
    }
    // Without the directory a bare name is one of the working directory.
    let faults = parse(&text, &bare()).unwrap_err();
    let keys: Vec<_> = faults.list.iter().map(|fault| &*fault.key).collect();
    assert_eq!(
        keys,
        ["auth.tokens[1].token_file", "endpoint[1].secret_file"]
    );
}

#[test]
fn a_byte_order_mark_belongs_to_no_secret_and_no_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for (name, content) in [("plain", "tok3n\n"), ("marked", "\u{feff}tok3n\r\n")] {
        std::fs::write(path(name), content).unwrap();
    }
    std::fs::write(path("hook"), format!("\u{feff}{SECRET}\r\n")).unwrap();
    let token = |name| files::read_token(&path(name)).unwrap();
    assert_eq!(token("marked"), token("plain"));
    let secret = files::read_secret(&path("hook")).unwrap();
    assert_eq!(secret.reveal(), SECRET);
}

#[test]
fn faulty_tokens_and_secret_files_are_told_without_their_content() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("empty", "\n"),
        ("two", "s3cret-a s3cret-b"),
        ("good", "s3cret"),
        ("bad-secret", "whsec_!s3cret!"),
        ("short", "whsec_c2hvcnQ="),
        ("hook", SECRET),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    std::fs::write(dir.path().join("binary"), [0xff, b's']).unwrap();
    std::fs::write(dir.path().join("utf16"), b"\xff\xfes\x003\x00").unwrap();
    std::fs::write(dir.path().join("huge"), vec![b'a'; 70_000]).unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let one = |text: &str, key: &str, problem: &str| {
        let faults = parse(text, &env).unwrap_err();
        let [fault] = &*faults.list else {
            panic!("one fault in\n{text}\n{faults}")
        };
        assert_eq!(fault.key, key, "{text}");
        assert!(fault.problem.contains(problem), "{text}\n{fault:?}");
        let all = format!("{faults}{faults:?}");
        assert!(!all.contains("s3cret") && !all.contains("MfKQ"), "{all}");
    };
    let token = |file: &str| {
        format!("[[auth.tokens]]\nname = \"a\"\nscope = \"admin\"\ntoken_file = \"{file}\"\n")
    };
    let key = "auth.tokens[0].token_file";
    one(&token("empty"), key, "is empty");
    one(&token("utf16"), key, "is UTF-16 text");
    one(&token("two"), key, "more than one token");
    one(&token("binary"), key, "not UTF-8");
    one(&token("huge"), key, "larger than 65536 bytes");
    one(&token("missing"), key, "missing: No such file");
    one(&token(""), key, "names no file");
    one(
        &token("good").replace("admin", "amdin"),
        "auth.tokens[0].scope",
        "\"amdin\"",
    );
    one(
        "[[auth.tokens]]\nname = \"a\"\nscope = \"admin\"\n",
        key,
        "missing",
    );
    let missing = parse("auth.tokens = [{ nam = 1 }]", &env).unwrap_err();
    let keys: BTreeSet<_> = missing.list.iter().map(|fault| fault.key.clone()).collect();
    let names = ["name", "token_file", "scope", "nam"];
    assert_eq!(
        keys,
        BTreeSet::from(names.map(|name| format!("auth.tokens[0].{name}")))
    );
    one(
        "[[auth.tokens]]\nname = \"a b\"\nscope = \"admin\"\ntoken_file = \"good\"\n",
        "auth.tokens[0].name",
        "not a name",
    );
    one(
        "[[auth.tokens]]\nname = \"a\"\nscope = \"admin\"\ntoken = \"s3cret\"\ntoken_file = \"good\"\n",
        "auth.tokens[0].token",
        "unknown",
    );
    one(
        &(token("good") + &token("hook")),
        "auth.tokens[1]",
        "this name",
    );
    one(
        &(token("good") + &token("good").replace("\"a\"", "\"b\"")),
        "auth.tokens[1]",
        "this content",
    );
    // One fault, not two: a faulty token is not also a missing one.
    one(
        &("listen.http = \"0.0.0.0:1\"\n".to_owned() + &token("empty")),
        key,
        "is empty",
    );

    let key = "endpoint[0].secret_file";
    one(&endpoint("secret_file = \"bad-secret\""), key, "base64");
    one(&endpoint("secret_file = \"short\""), key, "24 to 64");
    one(
        &endpoint("secret_file = \"missing\""),
        key,
        "missing: No such file",
    );
    one(
        &endpoint(&format!("secret_file = \"{SECRET}\"")),
        key,
        "not the name of a file",
    );
    let both = endpoint(&format!("secret = \"{SECRET}\"\nsecret_file = \"hook\""));
    one(&both, key, "both there");
    one(
        &endpoint(&format!("\"{SECRET}\" = 1")),
        "endpoint[0].whsec_…",
        "unknown",
    );
    one(
        &endpoint("headers = { authorization = \"s3cret\\u0001\" }"),
        "endpoint[0].headers.authorization",
        "visible ASCII",
    );
    one(
        &endpoint("").replace("https://", "https://s3cret@"),
        "endpoint[0].url",
        "user name",
    );
}

#[test]
fn roots_must_be_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let text = format!("delivery.ca_file = \"{}\"", path.display());
    let problem = |content: &str| {
        std::fs::write(&path, content).unwrap();
        faults(&text)[0].problem.clone()
    };
    assert!(problem("").contains("no certificate"));
    assert!(problem("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").contains("PEM"));
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(problem(hollow).contains("cannot be used as a root"));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    std::fs::write(&path, certificate.pem()).unwrap();
    assert_eq!(good(&text).config.delivery.ca_file, Some(path));
}

#[test]
fn files_are_found_where_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outboxd.toml");
    let env = Environment {
        config: Some(path.clone()),
        ..bare()
    };
    let faults = load(None, &env).unwrap_err();
    assert_eq!((faults.list.len(), faults.list[0].line), (1, None));
    assert!(
        faults
            .to_string()
            .starts_with(&format!("{}: cannot read", path.display()))
    );
    // The system's file may be missing, one that is named may not.
    let system = Environment {
        system_config: Some(path.clone()),
        ..bare()
    };
    assert_eq!(load(None, &system).unwrap().path, None);
    assert!(load(Some(&path), &system).is_err());

    std::fs::write(&path, "data_dir = \"there\"").unwrap();
    for (named, env) in [(None, &env), (None, &system), (Some(&*path), &bare())] {
        let loaded = load(named, env).unwrap();
        assert_eq!(loaded.config.data_dir, Path::new("there"));
        assert_eq!(loaded.path.as_ref(), Some(&path));
    }
    std::fs::write(&path, "data_dir = \"\u{fc}\"\nlog = 1").unwrap();
    let text = load(Some(&path), &bare()).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("{}:2:7: log: ", path.display())),
        "{text}"
    );
    std::fs::write(&path, b"a = 1\nb = \"\xff\"").unwrap();
    let fault = load(Some(&path), &bare()).unwrap_err().list.remove(0);
    assert_eq!((fault.line, fault.column), (Some(2), Some(6)));
    assert!(load(Some(dir.path()), &bare()).is_err());
}
