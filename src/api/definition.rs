//! Endpoints as JSON: the fields of `POST` and `PATCH /v1/endpoints`.

use std::time::Duration;

use http::HeaderMap;

use super::fields::{Fields, short};
use super::problem::Problem;
use crate::app::definition::{Definition, Given, check_description, check_overrides, check_types};
use crate::config::policy::{MAX_IN_FLIGHT, MAX_TIMEOUT};
use crate::config::request::{add_header, parse_url};
use crate::config::units::MAX_DURATION;
use crate::domain::endpoint::{EndpointId, Ordering, TypePattern};
use crate::domain::event::Tenant;
use crate::domain::retry::{RetryOverrides, RetryPolicy};
use crate::domain::shaping::KEYS;
use crate::domain::signature::Secret;

const OWN: [&str; 14] = [
    "url",
    "tenant",
    "types",
    "secret",
    "headers",
    "max_in_flight",
    "rate_limit",
    "ordering",
    "timeout",
    "http2",
    "retry",
    "description",
    "enabled",
    "applied_as",
];
const RETRY: [&str; 6] = [
    "first",
    "factor",
    "max",
    "jitter",
    "give_up_after",
    "schedule",
];
const SHORTEST: Duration = Duration::from_millis(1);

/// Reads a body. `base` is the configuration's retry rule, over which this one's parts
/// must make sense.
///
/// # Errors
/// 400 that names the field and says what is allowed.
pub fn read(body: &[u8], base: &RetryPolicy) -> Result<Definition, Problem> {
    let known = [&OWN[..], &KEYS].concat();
    let fields = Fields::parse(body, &known)?;
    Ok(Definition {
        url: fields.text("url", |text| {
            parse_url(text).map_err(|bad| format!("{bad}; {}", bad.fix()))
        })?,
        tenant: fields.text("tenant", Tenant::new)?,
        types: types(&fields)?,
        secret: fields.text("secret", Secret::parse)?,
        headers: headers(&fields)?,
        max_in_flight: fields.count("max_in_flight", 1..=MAX_IN_FLIGHT)?,
        rate_limit: fields.rate("rate_limit")?,
        ordering: fields.text("ordering", ordering)?,
        timeout: fields.text("timeout", |text| match text {
            "" => Ok(None),
            text => super::fields::duration(text, &(SHORTEST..=MAX_TIMEOUT)).map(Some),
        })?,
        http2: fields
            .flag("http2")?
            .try_map(|flag| Ok::<_, Problem>(Some(flag)))?,
        retry: retry(&fields, base)?,
        description: fields.text("description", description)?,
        shaping: fields.json(&KEYS)?,
        enabled: fields.flag("enabled")?,
        applied_as: fields.text("applied_as", EndpointId::new)?,
    })
}

fn ordering(text: &str) -> Result<Ordering, &'static str> {
    let mut all = Ordering::ALL.into_iter();
    all.find(|ordering| ordering.as_str() == text)
        .ok_or("not one of \"none\", \"key\", \"strict\"")
}

fn description(text: &str) -> Result<String, String> {
    check_description(text).map(|()| text.to_owned())
}

fn types(fields: &Fields<'_>) -> Result<Given<Vec<TypePattern>>, Problem> {
    let types = fields.patterns("types")?;
    if let Given::Value(types) = &types {
        check_types(types).map_err(|why| fields.fault("types", why))?;
    }
    Ok(types)
}

fn headers(fields: &Fields<'_>) -> Result<Given<HeaderMap>, Problem> {
    let members = match fields.members("headers")? {
        Given::Absent => return Ok(Given::Absent),
        Given::Null => return Ok(Given::Null),
        Given::Value(members) => members,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in members {
        let fault = |why: String| fields.fault(&format!("headers.{}", short(&name)), why);
        let value: String =
            serde_json::from_str(value.get()).map_err(|_| fault("not a string".into()))?;
        add_header(&mut headers, &name, &value)
            .map_err(|bad| fault(format!("{bad}; {}", bad.fix())))?;
    }
    Ok(Given::Value(headers))
}

fn retry(fields: &Fields<'_>, base: &RetryPolicy) -> Result<Given<RetryOverrides>, Problem> {
    let retry = match fields.object("retry", "retry.", &RETRY)? {
        Given::Absent => return Ok(Given::Absent),
        Given::Null => return Ok(Given::Null),
        Given::Value(retry) => retry,
    };
    let span =
        |name| Ok::<_, Problem>(retry.duration(name, Duration::ZERO..=MAX_DURATION)?.value());
    let delay = |text: &str| super::fields::duration(text, &(Duration::ZERO..=MAX_DURATION));
    let overrides = RetryOverrides {
        first: span("first")?,
        factor: retry.decimal("factor")?.value(),
        max: span("max")?,
        jitter: retry.decimal("jitter")?.value(),
        give_up_after: span("give_up_after")?,
        schedule: retry.texts("schedule", delay)?.value(),
    };
    match check_overrides(&overrides, base) {
        Ok(()) => Ok(Given::Value(overrides)),
        Err((key, bad)) => Err(retry.fault(key, format!("{bad}; {}", bad.fix()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::definition::{BadDefinition, FreshKeys};
    use crate::domain::endpoint::{EndpointChange, EndpointSpec, Rate};

    fn read(body: &str) -> Result<Definition, Problem> {
        super::read(body.as_bytes(), &RetryPolicy::default())
    }

    fn secret() -> Secret {
        Secret::from_bytes(&[1; 24]).unwrap()
    }

    fn fresh() -> FreshKeys {
        FreshKeys {
            secret: secret(),
            signing_key: Secret::generate_ed25519([2; 32]).unwrap(),
        }
    }

    #[test]
    fn only_a_url_is_needed() {
        let (spec, enabled) =
            read(r#"{"url": "https://example.com/hook", "timeout": "", "types": null}"#)
                .unwrap()
                .into_spec(fresh())
                .unwrap();
        assert!(enabled);
        assert_eq!(
            spec,
            EndpointSpec {
                tenant: Tenant::default(),
                url: "https://example.com/hook".parse().unwrap(),
                types: vec![TypePattern::Any],
                secrets: vec![secret().into()],
                headers: HeaderMap::new(),
                max_in_flight: 16,
                rate_limit: None,
                ordering: Ordering::None,
                timeout: None,
                http2: None,
                retry: RetryOverrides::default(),
                description: String::new(),
                shaping: None,
                applied_as: None,
            }
        );
        let missing = read("{}").unwrap().into_spec(fresh()).unwrap_err();
        assert_eq!(missing, BadDefinition::NoUrl);
    }

    #[test]
    fn all_fields_are_read() {
        let body = r#"{"url": "https://example.com", "tenant": "t1", "types": ["a.*", "b"],
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "headers": {"x-a": "1"},
            "max_in_flight": 3, "rate_limit": "600/m", "ordering": "key", "timeout": "5s", "http2": false,
            "retry": {"first": "1s", "schedule": ["1s", "2s"]}, "description": "d", "enabled": false}"#;
        let (spec, enabled) = read(body).unwrap().into_spec(fresh()).unwrap();
        assert!(!enabled);
        assert_eq!(
            spec.secrets[0].secret.reveal(),
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        );
        assert_eq!((spec.max_in_flight, spec.ordering), (3, Ordering::Key));
        assert_eq!(spec.rate_limit, Some(Rate { per_second: 10.0 }));
        assert_eq!(spec.retry.schedule.unwrap().len(), 2);
        assert_eq!(
            (spec.timeout, spec.retry.max),
            (Some(Duration::from_secs(5)), None)
        );
        assert_eq!(
            (&spec.headers["x-a"], spec.http2),
            (&"1".parse().unwrap(), Some(false))
        );
        assert_eq!((spec.tenant.as_str(), &*spec.description), ("t1", "d"));
    }

    #[test]
    fn every_fault_names_its_field_and_what_is_allowed() {
        let url = r#""url": "https://example.com""#;
        for (field, expected) in [
            (r#""url": "ftp://example.com""#, "`url`: the URL's scheme"),
            (
                r#""url": "https://u:hunter2@example.com""#,
                "`url`: the URL holds a user name",
            ),
            (r#""url": 7"#, "`url`: not a string"),
            (r#""http2": "no""#, "`http2`"),
            (r#""tenant": "a.b""#, "`tenant`: a tenant is 1 to 64"),
            (r#""types": []"#, "`types`: an empty list"),
            (r#""types": "a""#, "`types`: not a list"),
            (r#""types": ["a", "*.b"]"#, "`types[1]`: a type pattern"),
            (
                r#""secret": "whsec_aaaa""#,
                "`secret`: a secret holds 24 to 64 bytes",
            ),
            (
                r#""secret": "hunter2""#,
                "`secret`: a secret begins with whsec_",
            ),
            (
                r#""headers": {"webhook-id": "hunter2"}"#,
                "`headers.webhook-id`: outboxd sets",
            ),
            (
                r#""headers": {"Host": "hunter2"}"#,
                "`headers.Host`: outboxd sets",
            ),
            (
                r#""headers": {"x": "hunter2\n"}"#,
                "`headers.x`: the header's value",
            ),
            (r#""headers": {"x": 1}"#, "`headers.x`: not a string"),
            (
                r#""headers": {"x": "1", "X": "2"}"#,
                "`headers.X`: this header is there twice",
            ),
            (r#""headers": ["x"]"#, "`headers`: not an object"),
            (
                r#""max_in_flight": 0"#,
                "`max_in_flight`: not a whole number from 1 to 65536",
            ),
            (r#""max_in_flight": 1.5"#, "`max_in_flight`"),
            (r#""rate_limit": "0/s""#, "`rate_limit`: a rate of 0"),
            (r#""rate_limit": 50"#, "`rate_limit`: not a string"),
            (r#""ordering": "fifo""#, "`ordering`: not one of"),
            (
                r#""timeout": "2h""#,
                "`timeout`: not from \"1ms\" to \"1h\"",
            ),
            (r#""timeout": "0s""#, "`timeout`: not from"),
            (
                r#""timeout": "1.5s""#,
                "`timeout`: a duration takes whole numbers",
            ),
            (
                r#""retry": {"first": "0s"}"#,
                "`retry.first`: a first delay of 0",
            ),
            (
                r#""retry": {"first": "7h"}"#,
                "`retry.first`: the longest delay is shorter",
            ),
            (
                r#""retry": {"max": "1s"}"#,
                "`retry.max`: the longest delay is shorter",
            ),
            (
                r#""retry": {"factor": 0.5}"#,
                "`retry.factor`: the factor is not from 1",
            ),
            (r#""retry": {"jitter": 2}"#, "`retry.jitter`"),
            (
                r#""retry": {"schedule": ["1s", "x"]}"#,
                "`retry.schedule[1]`: not a duration",
            ),
            (
                r#""retry": {"schedule": ["0s"]}"#,
                "`retry.schedule`: the schedule has a delay of 0",
            ),
            (r#""retry": {"tries": 3}"#, "unknown field `retry.tries`"),
            (r#""enabled": "yes""#, "`enabled`: not true or false"),
            (r#""allow_networks": []"#, "unknown field `allow_networks`"),
            (r#""id": "mine""#, "unknown field `id`"),
        ] {
            let body = match field.starts_with("\"url\"") {
                true => format!("{{{field}}}"),
                false => format!("{{{url}, {field}}}"),
            };
            let detail = read(&body).unwrap_err().detail;
            assert!(detail.contains(expected), "{field}: {detail}");
            assert!(!detail.contains("hunter2"), "{detail}");
        }
        let long = format!("{{{url}, \"description\": \"{}\"}}", "x".repeat(1025));
        assert!(
            read(&long)
                .unwrap_err()
                .detail
                .contains("`description`: longer than 1024")
        );
    }

    #[test]
    fn a_change_leaves_out_what_is_not_given_and_takes_null_for_the_default() {
        let (spec, _) = read(r#"{"url": "https://example.com"}"#)
            .unwrap()
            .into_spec(fresh())
            .unwrap();
        let id = EndpointId::new("one").unwrap();
        let endpoint = spec.endpoint(id, Duration::ZERO, true, &RetryPolicy::default().into());
        let change = |body| read(body).unwrap().into_change(&endpoint, &fresh());
        assert_eq!(change("{}").unwrap(), EndpointChange::default());
        let all = change(
            r#"{"types": null, "headers": null, "max_in_flight": null, "rate_limit": null,
                "ordering": null, "timeout": null, "http2": null, "retry": null, "description": null, "enabled": null}"#,
        );
        let expected = EndpointChange {
            types: Some(vec![TypePattern::Any]),
            headers: Some(HeaderMap::new()),
            max_in_flight: Some(16),
            rate_limit: Some(None),
            ordering: Some(Ordering::None),
            timeout: Some(None),
            http2: Some(None),
            retry: Some(RetryOverrides::default()),
            description: Some(String::new()),
            shaping: Some(None),
            enabled: Some(true),
            ..EndpointChange::default()
        };
        assert_eq!(all.unwrap(), expected);
        let set = change(r#"{"rate_limit": "", "timeout": "1s", "enabled": false}"#).unwrap();
        assert_eq!((set.rate_limit, set.enabled), (Some(None), Some(false)));
        assert_eq!(set.timeout, Some(Some(Duration::from_secs(1))));
        for (body, field) in [
            (r#"{"url": null}"#, "`url`"),
            (r#"{"secret": null}"#, "`secret`"),
            (r#"{"tenant": "default"}"#, "`tenant`"),
            (r#"{"tenant": null}"#, "`tenant`"),
        ] {
            let bad = change(body).unwrap_err().to_string();
            assert!(bad.contains(field), "{body}");
        }
    }
}
