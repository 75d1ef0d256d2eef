//! What `check` shows of a configuration.

use super::*;

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let full = FULL.replace("\"0ms\", ", "")
        + &endpoint(
            "types = [\"a.*\", \"b\"]\nrate_limit = \"1/m\"\nordering = \"strict\"\nenabled = false",
        );
    let shaped = endpoint(
        r#"filter = '{"data": {"note": "…", "none": null, "n": 18446744073709551617}}'
template = '{"text": "{{ data.note }} …"}'
answer = { permanent = [400, "5xx"] }"#,
    );
    for text in ["", &full, &uncommented_example(), &shaped] {
        let mut config = good(text).config;
        // Without its secrets, which are not shown, a source is none.
        config.sources.clear();
        let shown = show::to_toml(&config);
        let again = good(&shown).config;
        assert_eq!(format!("{config:?}"), format!("{again:?}"), "{shown}");
        assert_eq!(show::to_json(&config), show::to_json(&again));
    }
}

#[test]
fn what_is_shown_hides_secrets() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("t"), "t0ken").unwrap();
    let env = Environment {
        credentials_directory: Some(dir.path().into()),
        ..bare()
    };
    let text = "auth.tokens = [{ name = \"app\", scope = \"ingest\", token_file = \"t\" }]\n"
        .to_owned()
        + "[otlp]\nheaders = { x-key = \"s3cret\" }\n"
        + &endpoint(&format!(
            "secret = \"{SECRET}\"\nheaders = {{ Authorization = \"s3cret\" }}"
        ));
    let config = parse(&text, &env).unwrap().config;
    let (toml, json) = (show::to_toml(&config), show::to_json(&config));
    for all in [toml.clone(), json.to_string(), format!("{config:?}")] {
        for hidden in ["t0ken", "s3cret", "MfKQ"] {
            assert!(!all.contains(hidden), "{hidden} in {all}");
        }
    }
    assert!(toml.contains("# secret = (set, not shown)"));
    assert!(toml.contains("# headers = (set, values not shown) authorization"));
    assert!(toml.contains("# tokens = (set, not shown) app (ingest)"));
    assert_eq!(json["endpoint"][0]["secret"], "whsec_…");
    assert_eq!(json["endpoint"][0]["headers"]["authorization"], "…");
    assert_eq!(json["otlp"]["headers"]["x-key"], "…");
    assert_eq!(json["auth"]["tokens"][0]["name"], "app");
    good(&toml);
}
