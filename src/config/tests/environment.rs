//! Variables that give keys.

use super::*;

/// The environment with these variables, each named without `OUTBOXD_`.
fn with(variables: &[(&str, &str)]) -> Environment {
    let pairs = variables.iter();
    let pairs = pairs.map(|(name, value)| (format!("OUTBOXD_{name}").into(), value.into()));
    Environment {
        system_config: None,
        ..Environment::from_variables(pairs)
    }
}

/// What a file and variables give together.
fn good_with(text: &str, variables: &[(&str, &str)]) -> Config {
    match parse(text, &with(variables)) {
        Ok(loaded) => loaded.config,
        Err(faults) => panic!("{faults}\nwith {variables:?}"),
    }
}

#[test]
fn a_variable_wins_over_the_file_whatever_its_type() {
    let text = "data_dir = \"file\"\n[listen]\nhttp = \"127.0.0.1:1\"\nhosts = [\"file\"]\n\
        [outbox]\nmax_size = \"1GiB\"\nendpoint_share = 0.25\n[delivery]\nthreads = 1\n\
        allow_http = false\n[retry]\nschedule = [\"1s\"]\n[log]\nformat = \"text\"\n";
    let config = good_with(
        text,
        &[
            ("DATA_DIR", "007"),
            ("LISTEN__HTTP", "[::1]:2"),
            ("LISTEN__HOSTS", "a.example, b.example"),
            ("LISTEN__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
            ("OUTBOX__MAX_SIZE", "2GiB"),
            ("OUTBOX__ENDPOINT_SHARE", "1"),
            ("DELIVERY__THREADS", " 4\n"),
            ("DELIVERY__ALLOW_HTTP", "true"),
            ("DELIVERY__USER_AGENT", "true"),
            ("RETRY__FACTOR", "1.5"),
            ("RETRY__SCHEDULE", "5s,5m"),
            ("INGEST__RATE_LIMIT", "50/s"),
            ("LOG__FORMAT", "json"),
            ("LOG__LEVEL", "info,outboxd=debug"),
        ],
    );
    assert_eq!(config.data_dir, Path::new("007"));
    assert_eq!(config.listen.http, Some("[::1]:2".parse().unwrap()));
    assert_eq!(config.listen.hosts, ["a.example", "b.example"]);
    assert_eq!(config.listen.trusted_proxies.len(), 1);
    assert_eq!(config.outbox.max_size, 2 << 30);
    assert_eq!(config.outbox.endpoint_share, 1.0);
    assert_eq!(config.delivery.threads, 4);
    assert!(config.delivery.allow_http);
    assert_eq!(config.delivery.user_agent, "true");
    assert_eq!(config.retry.factor, 1.5);
    assert_eq!(config.retry.schedule.len(), 2);
    assert!(config.ingest.rate_limit.is_some());
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "info,outboxd=debug");
}

#[test]
fn a_variable_replaces_what_the_file_has_without_a_look_at_it() {
    let text = "listen.hosts = 5\n[auth]\ntokens = [{ token_file = \"/nowhere/t\" }]\n".to_owned()
        + &endpoint("");
    let listed = r#"[{ id = "other", url = "https://example.com/", retry = { factor = 2.0 } }]"#;
    let config = good_with(
        &text,
        &[
            ("LISTEN__HOSTS", "a.example"),
            ("AUTH__TOKENS", "[]"),
            ("ENDPOINT", listed),
            (
                "SOURCE",
                r#"[{ id = "hub", preset = "github", secrets = ["x"] }]"#,
            ),
        ],
    );
    let [other] = &*config.endpoints else {
        panic!("one endpoint");
    };
    assert_eq!(other.id.as_str(), "other");
    assert_eq!(other.retry.factor, 2.0);
    assert_eq!(config.sources.len(), 1);
    assert!(config.auth.tokens.is_empty());
}

#[test]
fn an_empty_variable_counts_where_an_empty_string_does() {
    let text = "[listen]\nunix = \"/run/o.sock\"\nhosts = [\"a.example\"]\n";
    let empty = [("LISTEN__UNIX", ""), ("LISTEN__HOSTS", "")];
    let config = good_with(text, &empty);
    assert_eq!(config.listen.unix, None);
    assert!(config.listen.hosts.is_empty());
    let env = Environment {
        state_directory: Some("/var/lib/outboxd".into()),
        runtime_directory: Some("/run/outboxd".into()),
        ..with(&[("LISTEN__UNIX", ""), ("DATA_DIR", "env")])
    };
    let config = parse("data_dir = \"file\"", &env).unwrap().config;
    assert_eq!(config.data_dir, Path::new("env"));
    assert_eq!(config.listen.unix, None);
    // No endpoint and no token is what nobody says by accident.
    for name in [
        "ENDPOINT",
        "AUTH__TOKENS",
        "DATA_DIR",
        "DELIVERY__THREADS",
        "OUTBOX__MAX_SIZE",
    ] {
        let faults = parse("", &with(&[(name, "")])).unwrap_err().list;
        let variable = format!("OUTBOXD_{name}");
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].variable.as_deref(), Some(&*variable));
    }
}

/// Variable, value, key, a part of the problem, a part of the fix.
type VariableCase<'c> = (&'c str, &'c str, &'c str, &'c str, &'c str);

#[test]
fn faults_of_the_environment_name_the_variable() {
    let cases: &[VariableCase<'_>] = &[
        (
            "LISTEN__HTTP",
            "localhost",
            "listen.http",
            "\"localhost\" is not an IP",
            "\"127.0.0.1:7717\"",
        ),
        (
            "LISTEN__HTTP",
            "0.0.0.0:1",
            "listen.http",
            "is not loopback",
            "[auth]",
        ),
        (
            "LISTEN__HTTP",
            "\"127.0.0.1:1\"",
            "listen.http",
            "the quotes are a part",
            "without quotes",
        ),
        (
            "OUTBOX__MAX_SIZE",
            "'1GiB'",
            "outbox.max_size",
            "the quotes are a part",
            "without quotes",
        ),
        (
            "OUTBOX__MAX_SIZE",
            "1",
            "outbox.max_size",
            "needs a unit",
            "after the number",
        ),
        (
            "DELIVERY__ALLOW_HTTP",
            "yes",
            "delivery.allow_http",
            "a boolean, not a string",
            "true or false",
        ),
        (
            "DELIVERY__ALLOW_HTTP",
            "1",
            "delivery.allow_http",
            "a boolean, not an integer",
            "true or false",
        ),
        (
            "DELIVERY__THREADS",
            "4 cores",
            "delivery.threads",
            "a whole number, not a string",
            "digits only",
        ),
        (
            "DELIVERY__THREADS",
            "99",
            "delivery.threads",
            "99 is out of bounds",
            "write 0 to 64",
        ),
        (
            "LISTEN__HOSTS",
            "a.example,,b",
            "listen.hosts[1]",
            "\"\" is not a host",
            "",
        ),
        (
            "LISTEN__HOSTS",
            "[\"a\", 5]",
            "listen.hosts[1]",
            "a string, not an integer",
            "quotes",
        ),
        (
            "LISTEN__HOSTS",
            "[\"a\"",
            "listen.hosts",
            "TOML, at character",
            "close it",
        ),
        (
            "RETRY__JITTER",
            "2",
            "retry.jitter",
            "not from 0 to 1",
            "0.5",
        ),
        (
            "LISTEN__INBOUND_KEY_FILE",
            "/k",
            "listen.inbound_key_file",
            "without inbound_cert_file",
            "TLS",
        ),
        (
            "AUTH__TOKENS",
            "[{ name = \"a\", token_file = \"/dev/null\", scope = \"admin\" }]",
            "auth.tokens[0].token_file",
            "/dev/null is empty",
            "write the token",
        ),
        (
            "ENDPOINT",
            "{ id = \"a\" }",
            "endpoint",
            "a list of tables, not a table",
            "inline tables, [{",
        ),
        (
            "ENDPOINT",
            "[{ id = \"a\", url = \"https://example.com\", secret = \"hunter2\" }]",
            "endpoint[0].secret",
            "",
            "outboxd keygen",
        ),
        (
            "ENDPOINT",
            "[{ id = \"a\", url = \"https://example.com\", secrt = \"hunter2\" }]",
            "endpoint[0].secrt",
            "unknown key",
            "did you mean \"secret\"?",
        ),
        (
            "ENDPOINT",
            "[{ id = \"a\", secret = hunter2 }]",
            "endpoint",
            "TOML, at character",
            "put the value in quotes",
        ),
        (
            "SOURCE",
            "[{ id = \"a\", preset = \"github\", secrets = 5 }]",
            "source[0].secrets",
            "",
            "",
        ),
        (
            "LISTEN_HTTP",
            "hunter2",
            "",
            "names no key",
            "OUTBOXD_LISTEN__HTTP?",
        ),
        (
            "LISTEN",
            "{}",
            "",
            "names no key",
            "of its own, such as OUTBOXD_LISTEN__",
        ),
        (
            "ENDPOINT__0__URL",
            "hunter2",
            "",
            "names no key",
            "set OUTBOXD_ENDPOINT,",
        ),
        ("NO__KEY", "hunter2", "", "names no key", "unset it"),
    ];
    for (name, value, key, problem, fix) in cases {
        let faults = parse("", &with(&[(name, value)])).unwrap_err();
        let [fault] = &*faults.list else {
            panic!("{name}={value}\n{faults}");
        };
        let told = (fault.line, fault.column, fault.variable.as_deref());
        assert_eq!(told, (None, None, Some(&*format!("OUTBOXD_{name}"))));
        assert_eq!(fault.key, *key, "{faults}");
        assert!(fault.problem.contains(problem), "{faults}");
        assert!(fault.fix.contains(fix), "{faults}");
        assert!(!faults.to_string().contains("hunter2"), "{faults}");
    }
}

#[test]
fn faults_of_the_environment_come_after_those_of_the_file() {
    use std::os::unix::ffi::OsStringExt;
    let mut env = with(&[
        ("DELIVERY__THREADS", "-1"),
        ("BOGUS__X", ""),
        (
            "ENDPOINT",
            "[{ id = \"a\", url = \"x\" }, { bogus = 1, id = \"b\" }]",
        ),
    ]);
    env.assignments.push(Assignment {
        name: "OUTBOXD_LOG__LEVEL".to_owned(),
        value: std::ffi::OsString::from_vec(vec![b'a', 0xff]),
    });
    let faults = parse("bogus = 1\n[delivery]\nthreads = -1\ntimeout = 1", &env).unwrap_err();
    let told: Vec<_> = faults
        .list
        .iter()
        .map(|f| (f.line, f.variable.as_deref().unwrap_or_default(), &*f.key))
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), "", "bogus"),
            (Some(4), "", "delivery.timeout"),
            (None, "OUTBOXD_BOGUS__X", ""),
            (None, "OUTBOXD_DELIVERY__THREADS", "delivery.threads"),
            (None, "OUTBOXD_ENDPOINT", "endpoint[0].url"),
            (None, "OUTBOXD_ENDPOINT", "endpoint[1].url"),
            (None, "OUTBOXD_ENDPOINT", "endpoint[1].bogus"),
            (None, "OUTBOXD_LOG__LEVEL", "log.level"),
        ]
    );
    assert_eq!(faults.list[7].problem, "this is not UTF-8");
    let lines = faults.to_string();
    let line = lines.lines().nth(4).unwrap();
    assert!(
        line.starts_with("OUTBOXD_ENDPOINT: endpoint[0].url (endpoint \"a\"): "),
        "{line}"
    );
    // What is no TOML stops the walk, and names are judged all the same.
    let faults = parse("[", &env).unwrap_err();
    assert!(
        faults.to_string().contains("OUTBOXD_BOGUS__X: "),
        "{faults}"
    );
}

/// A value in TOML, on one line.
fn inline(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => format!("{number:?}"),
        toml::Value::Boolean(flag) => flag.to_string(),
        toml::Value::Datetime(moment) => moment.to_string(),
        toml::Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        toml::Value::Table(entries) => {
            let entries = entries.iter();
            let entries: Vec<String> = entries
                .map(|(key, value)| format!("{key} = {}", inline(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

#[test]
fn every_key_can_be_given_in_the_environment() {
    let text =
        uncommented_example().replace("outboxd/VERSION", &Config::default().delivery.user_agent);
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut given = Vec::new();
    for (name, value) in &table {
        match value {
            toml::Value::Table(keys) => {
                given.extend(
                    keys.iter()
                        .map(|(key, value)| (format!("{name}.{key}"), value)),
                );
            }
            value => given.push((name.clone(), value)),
        }
    }
    let names: BTreeSet<String> = given.iter().map(|(key, _)| variable_name(key)).collect();
    assert_eq!(names, known_variables());
    for key in known_keys() {
        let is_given = |path: &String| key == *path || key.starts_with(&format!("{path}."));
        let is_table = table.get(&key).is_some_and(toml::Value::is_table);
        let is_given = given.iter().any(|(path, _)| is_given(path));
        assert!(is_given || is_table, "{key} has no variable");
    }
    let pairs = given.iter().map(|(key, value)| {
        let text = value.as_str().map(str::to_owned);
        let text = text.unwrap_or_else(|| inline(value));
        (variable_name(key).into(), text.into())
    });
    let loaded = parse("", &Environment::from_variables(pairs)).unwrap();
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", good(&text).config)
    );
    assert_eq!(loaded.variables.len(), names.len());
    // Nor is any of them passed over: no key takes a text with a NUL.
    for name in names {
        let env = with(&[(name.strip_prefix("OUTBOXD_").unwrap(), "[{\0")]);
        let faults = parse("", &env).unwrap_err();
        let is_told = |fault: &Fault| fault.variable.as_ref() == Some(&name);
        assert!(faults.list.iter().any(is_told), "{name}: {faults}");
    }
}

#[test]
fn clients_heed_the_variables_of_their_table_alone() {
    let env = |name, value| with(&[("AUTH__TOKENS", "[{"), ("BOGUS__X", "1"), (name, value)]);
    let listen = load_listen(None, &env("LISTEN__HTTP", "127.0.0.1:9")).unwrap();
    assert_eq!(listen.http, Some("127.0.0.1:9".parse().unwrap()));
    load_listen(None, &env("LISTEN__INBOUND_CERT_FILE", "")).unwrap();
    for (name, value) in [
        ("LISTEN__HTTP", "x"),
        ("LISTEN__HTPP", "127.0.0.1:9"),
        ("LISTEN_HTTP", "127.0.0.1:9"),
    ] {
        let faults = load_listen(None, &env(name, value)).unwrap_err().list;
        assert_eq!(faults.len(), 1, "{faults:?}");
        let variable = format!("OUTBOXD_{name}");
        assert_eq!(faults[0].variable.as_deref(), Some(&*variable));
    }
}

proptest! {
    #[test]
    fn no_text_of_the_environment_panics(
        n in any::<prop::sample::Index>(),
        name in "[A-Za-z0-9_ü]{0,12}",
        value in prop_oneof![
            any::<String>(),
            "[-a-z0-9\"'\\[\\]{}=,.#\n\t ü]{0,24}",
            prop::sample::select(vec![
                "", " ", "\n", ",", "#", "[", "{", "[[]]", "[{}]", "{ a = 1 }", "inf", "1979-05-27",
                "\"", "'", "\"\"", "9223372036854775808", "[\"x\", 1]", "[{ id = \"ü\" }]",
            ]).prop_map(str::to_owned),
        ],
        text in prop::sample::select(vec!["", FULL, "listen = 5", "[listen", "endpoint = [{}]"]),
    ) {
        let known: Vec<String> = known_variables().into_iter().collect();
        let known = n.get(&known);
        for name in [known.strip_prefix("OUTBOXD_").unwrap(), &name] {
            if let Err(faults) = parse(text, &with(&[(name, &value)])) {
                prop_assert_eq!(faults.to_string().lines().count(), faults.list.len());
                for fault in &faults.list {
                    prop_assert!(!fault.problem.is_empty() && !fault.fix.is_empty());
                }
            }
        }
    }

    #[test]
    fn a_string_is_taken_as_it_is(text in "[^\0]{1,40}") {
        let quoted = text.starts_with(['"', '\'']);
        prop_assume!(!quoted && !text.starts_with("whs") && !text.contains("-----BEGIN"));
        let config = good_with("", &[("DATA_DIR", &text)]);
        prop_assert_eq!(config.data_dir, Path::new(&text));
    }

    #[test]
    fn a_secret_of_the_environment_is_never_told(
        cut in any::<prop::sample::Index>(),
        name in prop::sample::select(vec!["ENDPOINT", "SOURCE", "AUTH__TOKENS", "ENDPIONT"]),
    ) {
        let whole = "[{ id = \"a\", preset = \"github\", secret = \"whsec_MfKQ\", \
            secrets = [\"MfKQ\"], token = \"MfKQ\", auth = { type = \"bearer\", token = \"MfKQ\" } }]";
        let torn = &whole[..cut.index(whole.len() + 1)];
        if let Err(faults) = parse("", &with(&[(name, torn)])) {
            prop_assert!(!faults.to_string().contains("MfKQ"), "{}", faults);
        }
    }
}
