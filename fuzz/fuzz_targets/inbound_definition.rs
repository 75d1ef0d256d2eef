//! Definitions of sources as configuration, API and store give them: read or refused, the same again
//! when they were stored, and no secret where anybody may read it.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use outboxd::domain::inbound::{
    BadSource, Call, Given, MAX_SECRETS, Source, presets, read, read_stored,
};
use outboxd::domain::json::Json;
use outboxd_fuzz::Bound;
use outboxd_fuzz::inbound::{NEXT, SECRET, TOKEN, URL, VERIFY_TOKEN, id, list, now, tells};

fuzz_target!(
    init: {
        // Reading the presets is not the work of a definition.
        presets();
    },
    |input: &[u8]| {
        if tells(input) {
            return;
        }
        let Ok(Json::Object(given)) = Json::parse(input) else {
            return;
        };
        match Bound::new().hold("reading", || read(id(), &given)) {
            Ok(source) => read_again(&source),
            Err(bad) => explained(&bad),
        }
        match Bound::new().hold("reading what is stored", || read_stored(id(), &given)) {
            Ok(source) => read_again(&source),
            Err(bad) => explained(&bad),
        }
        match read(id(), &with_own_secrets(given)) {
            Ok(source) => hides_its_secrets(&source),
            Err(bad) => {
                explained(&bad);
                assert!(!tells(format!("{bad:?}").as_bytes()), "{bad:?}");
            }
        }
    }
);

/// A person can do something with it.
fn explained(bad: &BadSource) {
    assert!(!bad.problem.is_empty() && !bad.fix.is_empty());
    assert!(bad.to_string().len() <= 2048, "{bad}");
}

fn read_again(source: &Source) {
    let definition = source.definition();
    let stored = Json::Object(definition.clone()).to_string();
    let Ok(Json::Object(read)) = Json::parse(stored.as_bytes()) else {
        panic!("{stored} is not JSON");
    };
    assert_eq!(read, definition);
    let again = read_stored(id(), &read).unwrap_or_else(|bad| panic!("{}: {bad}", bad.key));
    assert_eq!(again.definition(), definition);
    assert_eq!(again.shown(), source.shown());
    assert_eq!(again.methods(), source.methods());
    assert_eq!(again.needs_url(), source.needs_url());
    assert_eq!(again.verifies_nothing(), source.verifies_nothing());
    assert!(source.secrets.len() <= MAX_SECRETS);
    assert!(source.idempotency_window >= Duration::from_secs(1));
    sample(source);
}

/// It can be judged without a panic, and again the same.
fn sample(source: &Source) {
    let Ok(sample) = source.sample(None, [7; 16], now(), Some(URL)) else {
        return;
    };
    let url = match sample.query.as_str() {
        "" => URL.to_owned(),
        query => format!("{URL}?{query}"),
    };
    let call = Call {
        method: &sample.method,
        query: &sample.query,
        headers: &sample.headers,
        body: &sample.body,
        url: Some(&url),
    };
    let judge = || format!("{:?}", source.receive(&call, now()));
    let first = Bound::new().hold("a sample", judge);
    assert_eq!(first, judge());
}

/// The definition with secrets that no input holds, in the places where it has some.
fn with_own_secrets(mut given: Given) -> Given {
    let known = [
        ("secrets", list(&[SECRET, NEXT])),
        ("token", Json::from(TOKEN)),
        ("verify_token", Json::from(VERIFY_TOKEN)),
    ];
    for (key, value) in known {
        if given.contains_key(key) {
            given.insert(key.into(), value);
        }
    }
    given
}

fn hides_its_secrets(source: &Source) {
    read_again(source);
    let shown = source.shown().to_string();
    assert!(!tells(shown.as_bytes()), "{shown}");
    let debug = format!("{source:?} {:?}", source.secrets);
    assert!(!tells(debug.as_bytes()), "{debug}");
    let overlap = Duration::from_secs(3600);
    if let Ok(rotated) = source.rotated(NEXT, now(), overlap) {
        read_again(&rotated);
        assert_eq!(rotated.secrets.first().map(|secret| &*secret.text), Some(NEXT));
        assert!(!tells(rotated.shown().to_string().as_bytes()));
    }
}
