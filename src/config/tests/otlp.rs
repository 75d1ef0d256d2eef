//! Faults of `[otlp]`.

use super::*;

#[test]
fn faults_of_the_exporter_are_told_with_place_and_fix() {
    check_cases(&[
        (
            "[otlp]\nendpoint = \"127.0.0.1:4318\"",
            2,
            12,
            "otlp.endpoint",
            "not an absolute URL",
            "\"http://127.0.0.1:4318\"",
        ),
        (
            "[otlp]\nendpoint = \"http://127.0.0.1:4318/v1/traces\"",
            2,
            12,
            "otlp.endpoint",
            "/v1/traces",
            "outboxd adds it",
        ),
        (
            "[otlp]\nendpoint = \"http://127.0.0.1:4318?key=s3cret\"",
            2,
            12,
            "otlp.endpoint",
            "the URL has a query",
            "otlp.headers",
        ),
        (
            "[otlp]\nheaders = { content-type = \"text/plain\" }",
            2,
            13,
            "otlp.headers.content-type",
            "outboxd sets this header itself",
            "remove it",
        ),
        (
            "[otlp]\nsample_ratio = 1.5",
            2,
            16,
            "otlp.sample_ratio",
            "1.5 is not from 0 to 1",
            "0.1",
        ),
    ]);
}

#[test]
#[cfg(not(feature = "otlp"))]
fn a_build_without_the_exporter_says_which_build_has_it() {
    let text = "[otlp]\nendpoint = \"http://127.0.0.1:4318\"";
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].key, "otlp.endpoint");
    assert!(faults[0].problem.contains("cannot export traces"));
    assert!(faults[0].fix.contains("--features otlp"));
    // A file that leaves it off does for every build.
    good("[otlp]\nendpoint = \"\"\nsample_ratio = 0.1");
}
