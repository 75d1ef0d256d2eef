//! Faults of endpoints.

use super::*;

#[test]
fn faults_of_endpoints_name_the_endpoint() {
    let case = |lines: &str, line: usize, column: usize, key: &str, problem: &str, fix: &str| {
        let text = endpoint(lines);
        let key = format!("endpoint[0].{key}");
        check_cases(&[(&text, line, column, &key, problem, fix)]);
        let faults = parse(&text, &bare()).unwrap_err();
        assert_eq!(faults.list[0].endpoint.as_deref(), Some("orders"));
        assert!(
            faults
                .to_string()
                .contains(&format!("{key} (endpoint \"orders\"): "))
        );
    };
    case(
        "urls = 1",
        4,
        1,
        "urls",
        "unknown key",
        "did you mean \"url\"?",
    );
    case(
        "secert = \"x\"",
        4,
        1,
        "secert",
        "unknown key",
        "did you mean \"secret\"?",
    );
    case("types = []", 4, 9, "types", "match no event", "[\"*\"]");
    case(
        "types = [\"a\", \"a*\"]",
        4,
        15,
        "types[1]",
        "\"a*\" is not a pattern",
        "order.*",
    );
    case(
        "secret = \"s3cret\"",
        4,
        10,
        "secret",
        "begins with whsec_",
        "keygen",
    );
    case(
        "secret = \"\"",
        4,
        10,
        "secret",
        "begins with whsec_",
        "keygen",
    );
    case(
        "secret = \"whsec_c2hvcnQ=\"",
        4,
        10,
        "secret",
        "24 to 64 bytes",
        "keygen",
    );
    case(
        "secret_file = \"/nowhere/s\"",
        4,
        15,
        "secret_file",
        "cannot read /nowhere/s",
        "LoadCredential",
    );
    case(
        "headers = { Host = \"a\" }",
        4,
        13,
        "headers.Host",
        "sets this header itself",
        "remove",
    );
    case(
        "headers = { x-a = 1 }",
        4,
        13,
        "headers.x-a",
        "a string, not an integer",
        "quotes",
    );
    case(
        "headers.\"a b\" = \"1\"",
        4,
        9,
        "headers.\"a b\"",
        "not a header name",
        "x-team",
    );
    case(
        "max_in_flight = 0",
        4,
        17,
        "max_in_flight",
        "out of bounds",
        "1 to 65536",
    );
    case(
        "rate_limit = \"0/s\"",
        4,
        14,
        "rate_limit",
        "nothing through",
        "no limit",
    );
    case(
        "ordering = \"strikt\"",
        4,
        12,
        "ordering",
        "\"strikt\"",
        "did you mean \"strict\"?",
    );
    case("timeout = \"2h\"", 4, 11, "timeout", "too large", "\"1h\"");
    case("tenant = \"a b\"", 4, 10, "tenant", "1 to 64", "default");
    case(
        "retry = { frist = \"1s\" }",
        4,
        11,
        "retry.frist",
        "unknown key",
        "did you mean \"first\"?",
    );
    case(
        "retry = { max = \"1s\" }",
        4,
        17,
        "retry.max",
        "shorter",
        "lower",
    );
    case(
        "[endpoint.retry]\njitter = -1",
        5,
        10,
        "retry.jitter",
        "0 to 1",
        "0.5",
    );
    case(
        "description = \"x\"",
        4,
        1,
        "description",
        "unknown key",
        "remove it",
    );

    let url = |url: &str, problem: &str, fix: &str| {
        let text = format!("[[endpoint]]\nurl = \"{url}\"\nid = \"a\"");
        check_cases(&[(&text, 2, 7, "endpoint[0].url", problem, fix)]);
    };
    url(
        "https://user:s3cret@example.com",
        "user name or password",
        "authorization",
    );
    url("ftp://example.com", "scheme", "https://");
    url(
        "example.com",
        "not an absolute URL",
        "https://example.com/hook",
    );
    check_cases(&[
        (
            "[[endpoint]]\nurl = \"https://a.example\"",
            1,
            1,
            "endpoint[0].id",
            "missing",
            "id = ",
        ),
        (
            "[[endpoint]]\nid = \"a\"",
            1,
            1,
            "endpoint[0].url",
            "missing",
            "url = ",
        ),
        (
            "[endpoint]\nid = \"a\"",
            1,
            1,
            "endpoint",
            "list of tables",
            "[[endpoint]]",
        ),
        (
            "[[endpoints]]\nid = \"a\"",
            1,
            3,
            "endpoints",
            "unknown key",
            "did you mean \"endpoint\"?",
        ),
        (
            "[[endpoint]]\nid = \"ep_01ARZ3NDEKTSV4RRFFQ69G5FAV\"\nurl = \"https://a.example\"",
            2,
            6,
            "endpoint[0].id",
            "made by the API",
            "choose",
        ),
    ]);
    let twice = endpoint("") + &endpoint("");
    check_cases(&[(
        &twice,
        6,
        6,
        "endpoint[1].id",
        "endpoint[0] already",
        "of its own",
    )]);
}
