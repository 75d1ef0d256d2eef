//! What counts when nothing is said, and the example that shows it.

use super::*;

#[test]
fn nothing_said_gives_the_defaults() {
    let loaded = good("");
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", Config::default())
    );
    assert_eq!(
        loaded.config.listen.http,
        Some("127.0.0.1:7717".parse().unwrap())
    );
    assert_eq!(loaded.config.data_dir, Path::new("./outboxd-data"));
    assert!(loaded.path.is_none());
}

#[test]
fn the_documented_defaults_are_the_defaults() {
    let mut config = good(ALL_DEFAULTS).config;
    let orders = config.endpoints.pop().unwrap();
    assert_eq!(
        std::mem::take(&mut config.delivery.user_agent),
        "outboxd/VERSION"
    );
    let mut defaults = Config::default();
    defaults.delivery.user_agent.clear();
    assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    assert_eq!(orders.timeout, config.delivery.timeout);
    assert_eq!(*orders.retry, config.retry);
    assert_eq!(
        (orders.max_in_flight, orders.ordering),
        (16, Ordering::None)
    );
    assert_eq!((orders.secrets.len(), orders.source), (0, Source::Toml));
    assert_eq!(show::to_json(&config)["retention"]["delivered"], "7d");
}

#[test]
fn the_example_is_valid_as_it_is_and_uncommented() {
    let as_is = good(EXAMPLE);
    assert_eq!(
        format!("{:?}", as_is.config),
        format!("{:?}", Config::default())
    );
    let text =
        uncommented_example().replace("outboxd/VERSION", &Config::default().delivery.user_agent);
    let mut whole = good(&text);
    let orders = whole.config.endpoints.pop().unwrap();
    let github = whole.config.sources.pop().unwrap();
    assert_eq!(
        format!("{:?}", whole.config),
        format!("{:?}", Config::default())
    );
    let plain = good(&endpoint("")).config.endpoints.pop().unwrap();
    assert_eq!(format!("{orders:?}"), format!("{plain:?}"));
    let plain = "[[source]]\nid = \"github\"\npreset = \"github\"\nsecrets = [\"x\"]";
    let plain = good(plain).config.sources.pop().unwrap();
    assert_eq!(github.shown(), plain.shown());
}

#[test]
fn the_example_names_every_key() {
    let text = uncommented_example();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let mut named = BTreeSet::new();
    let mut open = vec![(String::new(), toml::Value::Table(table))];
    while let Some((path, value)) = open.pop() {
        match value {
            toml::Value::Table(table) => open.extend(table.into_iter().map(|(key, value)| {
                (
                    if path.is_empty() {
                        key
                    } else {
                        format!("{path}.{key}")
                    },
                    value,
                )
            })),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                open.extend(items.into_iter().map(|item| (path.clone(), item)));
            }
            _ => {}
        }
        named.insert(path);
    }
    // In the example these stand in comments, as they have no default.
    for commented in [
        "auth.tokens.name",
        "auth.tokens.token_file",
        "auth.tokens.scope",
    ] {
        let key = commented.rsplit('.').next().unwrap();
        assert!(EXAMPLE.contains(&format!("{key} = ")), "{commented}");
        named.insert(commented.to_owned());
    }
    let files = [
        "signing_key_file",
        "client_cert_file",
        "client_key_file",
        "ca_file",
    ];
    for key in KEYS.into_iter().chain(files).chain(["secret"]) {
        assert!(EXAMPLE.contains(&format!("# {key} = ")), "{key}");
        named.insert(format!("endpoint.{key}"));
    }
    for key in ["secret_files", "token_file", "verify_token_file"] {
        assert!(EXAMPLE.contains(&format!("# {key} = ")), "{key}");
        named.insert(format!("source.{key}"));
    }
    for key in known_keys() {
        assert!(named.contains(&key), "{key} is not in config.example.toml");
    }
}

#[test]
fn the_environment_gives_defaults_that_the_file_overrides() {
    let env = Environment {
        state_directory: Some("/var/lib/outboxd".into()),
        runtime_directory: Some("/run/outboxd".into()),
        ..bare()
    };
    let config = parse("", &env).unwrap().config;
    assert_eq!(config.data_dir, Path::new("/var/lib/outboxd"));
    assert_eq!(
        config.listen.unix.as_deref(),
        Some(Path::new("/run/outboxd/outboxd.sock"))
    );
    let config = parse("data_dir = \"d\"\nlisten.unix = \"\"", &env)
        .unwrap()
        .config;
    assert_eq!(config.data_dir, Path::new("d"));
    assert_eq!(config.listen.unix, None);
    assert!(parse("listen.http = \"\"", &env).is_ok());
    let long = Environment {
        runtime_directory: Some("/r".repeat(60).into()),
        ..bare()
    };
    let faults = parse("", &long).unwrap_err().list;
    assert_eq!(
        (faults.len(), faults[0].line, &*faults[0].key),
        (1, None, "listen.unix")
    );
}

#[test]
fn an_endpoint_s_overrides_start_from_the_global_ones() {
    let text = "delivery.timeout = \"7s\"\n[retry]\nfirst = \"1s\"\nschedule = [\"1s\"]\n"
        .to_owned()
        + &endpoint("retry = { max = \"2h\" }")
        + &endpoint("timeout = \"3s\"\nretry.schedule = []").replace("orders", "other");
    let config = good(&text).config;
    let [orders, other] = &*config.endpoints else {
        panic!("two endpoints")
    };
    assert_eq!(orders.timeout, Duration::from_secs(7));
    assert_eq!(orders.retry.first, Duration::from_secs(1));
    assert_eq!(orders.retry.max, Duration::from_secs(7200));
    assert_eq!(orders.retry.schedule, [Duration::from_secs(1)]);
    assert_eq!(other.timeout, Duration::from_secs(3));
    assert!(other.retry.schedule.is_empty());
}
