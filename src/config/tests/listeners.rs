//! The public listener, and where clients find the daemon.

use super::*;

#[test]
fn faults_of_the_public_listener_are_told_with_place_and_fix() {
    check_cases(&[
        (
            "[listen]\ninbound = \":8443\"",
            2,
            11,
            "listen.inbound",
            "\":8443\" is not an IP address and a port",
            "127.0.0.1:7717",
        ),
        (
            "[listen]\ninbound = \"127.0.0.1:7717\"",
            2,
            11,
            "listen.inbound",
            "127.0.0.1:7717 cannot be listened on beside http",
            "another port",
        ),
        (
            "[listen]\ninbound = \"0.0.0.0:7717\"",
            2,
            11,
            "listen.inbound",
            "beside http at 127.0.0.1:7717",
            "another port",
        ),
        (
            "[listen]\ninbound = \"[::ffff:127.0.0.1]:7717\"",
            2,
            11,
            "listen.inbound",
            "beside http",
            "another port",
        ),
        (
            "[listen]\ninbound_cert_file = \"a.pem\"",
            2,
            21,
            "listen.inbound_cert_file",
            "without inbound_key_file",
            "set inbound_key_file too",
        ),
        (
            "[listen]\ninbound_key_file = \"a.key\"\ninbound_cert_file = \"\"",
            2,
            20,
            "listen.inbound_key_file",
            "without inbound_cert_file",
            "set inbound_cert_file too",
        ),
        (
            "[listen]\ninbound_cert_file = \"/nowhere/a\"\ninbound_key_file = \"/nowhere/b\"",
            2,
            21,
            "listen.inbound_cert_file",
            "cannot read /nowhere/a",
            "LoadCredential=",
        ),
        (
            "[listen]\npublic_url = \"hooks.example.com\"",
            2,
            14,
            "listen.public_url",
            "not an absolute URL",
            "https://hooks.example.com",
        ),
        (
            "[listen]\npublic_url = \"ftp://hooks.example.com\"",
            2,
            14,
            "listen.public_url",
            "neither https nor http",
            "https://",
        ),
        (
            "[listen]\npublic_url = \"https://hooks.example.com/?\"",
            2,
            14,
            "listen.public_url",
            "has a query",
            "remove everything from ?",
        ),
        (
            "[listen]\npublic_url = \"https://hooks.example.com/#a\"",
            2,
            14,
            "listen.public_url",
            "fragment",
            "remove everything from #",
        ),
        (
            "[listen]\npublic_url = \"https://me@hooks.example.com\"",
            2,
            14,
            "listen.public_url",
            "user name",
            "take it out: ",
        ),
        (
            "[listen]\ntrusted_proxies = [\"10.0.0.1\"]",
            2,
            20,
            "listen.trusted_proxies[0]",
            "lacks its prefix length",
            "\"10.0.0.1/32\"",
        ),
    ]);
}

#[test]
fn the_public_listener_needs_no_token_and_no_api_beside_it() {
    let text = "[listen]\nhttp = \"\"\ninbound = \"0.0.0.0:443\"\n\
        public_url = \"https://hooks.example.com//\"\ntrusted_proxies = [\"10.1.2.3/8\"]";
    let listen = good(text).config.listen;
    assert_eq!(listen.inbound, Some("0.0.0.0:443".parse().unwrap()));
    assert_eq!(
        listen.public_url.as_deref(),
        Some("https://hooks.example.com")
    );
    assert_eq!(listen.trusted_proxies, ["10.0.0.0/8".parse().unwrap()]);
    // Two ports that the system chooses.
    good("[listen]\nhttp = \"127.0.0.1:0\"\ninbound = \"127.0.0.1:0\"");
    good("[listen]\nhttp = \"127.0.0.1:7717\"\ninbound = \"127.0.0.2:7717\"");
}

/// A certificate and its key, in PEM.
fn certified() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["hooks.example.com".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_and_its_key_must_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = "[listen]\ninbound_cert_file = \"cert\"\ninbound_key_file = \"key\"";
    let write = |cert: &str, key: &str| {
        std::fs::write(dir.path().join("cert"), cert).unwrap();
        std::fs::write(dir.path().join("key"), key).unwrap();
    };
    let (cert, key) = certified();
    write(&cert, &key);
    let expected = CertFiles {
        cert: dir.path().join("cert"),
        key: dir.path().join("key"),
    };
    let listen = parse(text, &env).unwrap().config.listen;
    assert_eq!(listen.inbound_cert, Some(expected));
    let (other, other_key) = certified();
    for (cert, key, at_fault, problem, fix) in [
        (&*other, &*key, "key", "does not belong", "comes first"),
        (&*cert, &*other_key, "key", "does not belong", "comes first"),
        (
            &*key,
            &*key,
            "cert",
            "not PEM with a certificate",
            "lead to",
        ),
        (
            &*cert,
            &*cert,
            "key",
            "not PEM with a private key",
            "PKCS#8",
        ),
        ("", &*key, "cert", "not PEM with a certificate", "lead to"),
        (&"x".repeat(70_000), &*key, "cert", "larger than", "64KiB"),
    ] {
        write(cert, key);
        let faults = parse(text, &env).unwrap_err().list;
        let [fault] = &*faults else {
            panic!("{faults:?}")
        };
        assert_eq!(fault.key, format!("listen.inbound_{at_fault}_file"));
        assert!(fault.problem.contains(problem), "{fault:?}");
        assert!(fault.fix.contains(fix), "{fault:?}");
        let path = dir.path().join(at_fault);
        assert!(fault.problem.contains(path.to_str().unwrap()), "{fault:?}");
    }
    // What a file holds in the place of its name is not repeated.
    let pasted = format!("[listen]\ninbound_key_file = '''{key}'''\ninbound_cert_file = \"cert\"");
    let faults = parse(&pasted, &env).unwrap_err();
    assert!(!faults.to_string().contains(&key[40..60]), "{faults}");
    assert!(faults.list[0].problem.contains("not its name"), "{faults}");
}

#[test]
fn clients_learn_where_the_daemon_listens_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outboxd.toml");
    let text =
        "[listen]\nhttp = \"0.0.0.0:9\"\n[auth]\ntokens = [{ token_file = \"/nowhere/t\" }]\n";
    std::fs::write(&path, text).unwrap();
    assert!(load(Some(&path), &bare()).is_err());
    let listen = load_listen(Some(&path), &bare()).unwrap();
    assert_eq!(listen.http, Some("0.0.0.0:9".parse().unwrap()));
    // Nor do they need its certificate.
    let text = "[listen]\ninbound_cert_file = \"/nowhere/a\"\ninbound_key_file = \"/nowhere/b\"";
    std::fs::write(&path, text).unwrap();
    load_listen(Some(&path), &bare()).unwrap();
    std::fs::write(&path, "listen.htp = \"\"").unwrap();
    let faults = load_listen(Some(&path), &bare()).unwrap_err();
    assert_eq!((faults.list.len(), &*faults.list[0].key), (1, "listen.htp"));
    std::fs::write(&path, "[listen").unwrap();
    assert!(load_listen(Some(&path), &bare()).is_err());
    assert_eq!(
        load_listen(None, &bare()).unwrap().http,
        Listen::default().http
    );
}
