//! The operator's endpoints, `[[endpoint]]`.

use std::collections::HashMap;
use std::sync::Arc;

use super::fault::quoted;
use super::files;
use super::policy::{ENDPOINT_MAX_IN_FLIGHT, MAX_IN_FLIGHT, MAX_TIMEOUT, MAX_TYPES};
use super::reader::{Flaw, Reader, Section, Value};
use super::request::{add_header, parse_url};
use super::retry::read_retry;
use super::shaping;
use super::values::{SOME_DURATION, count, duration, network, rate, type_pattern, unless_empty};
use super::{DeliveryLimits, Environment};
use crate::domain::endpoint::{
    Endpoint, EndpointId, EndpointSpec, Ordering, SigningSecret, Source, TypePattern, preset_rate,
};
use crate::domain::event::Tenant;
use crate::domain::retry::RetryPolicy;
use crate::domain::signature::Secret;

/// All endpoints of the file that are without fault.
pub(super) fn read<'t>(
    reader: &'t Reader<'t>,
    root: &mut Section<'t>,
    delivery: &DeliveryLimits,
    retry: &RetryPolicy,
    env: &Environment,
) -> Vec<Endpoint> {
    let list = |value: &Value<'t>| value.tables("endpoints are a list of tables");
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut endpoints = Vec::new();
    for (n, item) in root
        .take("endpoint", list)
        .unwrap_or_default()
        .iter()
        .enumerate()
    {
        let Some(mut section) = item.section().map_err(|flaw| item.fault(&flaw)).ok() else {
            continue;
        };
        let id = section.take("id", |value| unique_id(value, n, &mut seen));
        section.endpoint = id.as_ref().map(|(text, _)| *text);
        let id = id.map(|(_, id)| id);
        endpoints.extend(read_one(reader, section, id, delivery, retry, env));
    }
    endpoints
}

/// The id, as it was written and checked.
fn unique_id<'t>(
    value: &Value<'t>,
    n: usize,
    seen: &mut HashMap<&'t str, usize>,
) -> Result<(&'t str, EndpointId), Flaw> {
    let text = value.text()?;
    let id = EndpointId::new(text).map_err(|bad| {
        let fix = "write a short name such as \"orders\"";
        Flaw::new(format!("{} is not an id: {bad}", quoted(text)), fix)
    })?;
    if text
        .strip_prefix("ep_")
        .is_some_and(|rest| ulid::Ulid::from_string(rest).is_ok())
    {
        let problem = format!("{} looks like an id made by the API", quoted(text));
        return Err(Flaw::new(
            problem,
            "choose a name that is not ep_ and a ULID",
        ));
    }
    match seen.insert(text, n) {
        None => Ok((text, id)),
        Some(first) => {
            let problem = format!("{} is the id of endpoint[{first}] already", quoted(text));
            Err(Flaw::new(problem, "give each endpoint an id of its own"))
        }
    }
}

fn read_one(
    reader: &Reader<'_>,
    mut section: Section<'_>,
    id: Option<EndpointId>,
    delivery: &DeliveryLimits,
    retry: &RetryPolicy,
    env: &Environment,
) -> Option<Endpoint> {
    let orderings = Ordering::ALL.map(|ordering| (ordering.as_str(), ordering));
    let timeouts = *SOME_DURATION.start()..=MAX_TIMEOUT;
    // Every key is taken before anything is given up, so that all faults show at once.
    let url = section.take("url", |value| {
        parse_url(value.text()?).map_err(|bad| Flaw::new(bad.to_string(), bad.fix()))
    });
    let tenant = section.take("tenant", |value| {
        Tenant::new(value.text()?)
            .map_err(|bad| Flaw::new(bad.to_string(), "write a name such as \"default\""))
    });
    let types = read_types(&mut section);
    let secrets = read_secrets(&mut section, env);
    let headers = read_headers(&mut section);
    let max_in_flight = section.take("max_in_flight", count(1..=MAX_IN_FLIGHT));
    let rate_limit = section.take("rate_limit", rate).flatten();
    let ordering = section.take("ordering", |value| value.one_of(&orderings));
    let timeout = section
        .take("timeout", unless_empty(duration(timeouts)))
        .flatten();
    let http2 = section.take("http2", Value::flag);
    let retry = read_retry(reader, section.section("retry"), retry);
    let allow_networks = section.each("allow_networks", network);
    let enabled = section.take("enabled", Value::flag);
    let kinds: Vec<_> = secrets.iter().map(Secret::kind).collect();
    let shaping = shaping::read(&mut section, &headers, &kinds, env);
    section.require("id", "give it a short name such as id = \"orders\"");
    section.require(
        "url",
        "say where its events go, such as url = \"https://example.com/hook\"",
    );
    section.finish();
    Some(Endpoint {
        id: id?,
        tenant: tenant.unwrap_or_default(),
        url: url?,
        types,
        secrets: secrets.into_iter().map(SigningSecret::from).collect(),
        headers: Arc::new(headers),
        max_in_flight: max_in_flight.unwrap_or(ENDPOINT_MAX_IN_FLIGHT),
        rate_limit: rate_limit.or(preset_rate(shaping.as_ref())),
        ordering: ordering.unwrap_or_default(),
        timeout: timeout.unwrap_or(delivery.timeout),
        http2: http2.unwrap_or(delivery.http2),
        retry: Arc::new(retry),
        allow_networks: allow_networks.unwrap_or_default(),
        enabled: enabled.unwrap_or(true),
        source: Source::Toml,
        description: String::new(),
        shaping,
        applied_as: None,
    })
}

fn read_types(section: &mut Section<'_>) -> Vec<TypePattern> {
    let Some(types) = section.each("types", type_pattern) else {
        return vec![TypePattern::Any];
    };
    let flaw = if types.is_empty() {
        Flaw::new(
            "an empty list would match no event",
            "write [\"*\"], or enabled = false",
        )
    } else if types.len() > MAX_TYPES {
        Flaw::new(
            format!("more than {MAX_TYPES} patterns"),
            "use prefixes such as \"order.*\"",
        )
    } else {
        return types;
    };
    section.fault("types", &flaw);
    types
}

fn read_secrets(section: &mut Section<'_>, env: &Environment) -> Vec<Secret> {
    let parse = |value: &Value<'_>| {
        Secret::parse(value.text()?).map_err(|bad| Flaw::new(bad.to_string(), files::SECRET_FIX))
    };
    let read_file = |value: &Value<'_>| {
        let name = files::file_name(value.text()?)?;
        files::read_secret(&files::secret_path(name, env))
    };
    let is_set = |section: &Section<'_>, key: &str| section.is_filled(key);
    let given: Vec<&str> = SECRET_KEYS
        .into_iter()
        .filter(|key| is_set(section, key))
        .collect();
    let one = section.take("secret", parse);
    let one_file = section
        .take("secret_file", unless_empty(read_file))
        .flatten();
    let several = section.each("secrets", parse).unwrap_or_default();
    let several_files = section.each("secret_files", read_file).unwrap_or_default();
    if let [first, second, ..] = given.as_slice() {
        let problem = format!("{first} and {second} are both there");
        section.fault(second, &Flaw::new(problem, "remove one of them"));
    }
    let singles = one.into_iter().chain(one_file);
    let secrets: Vec<Secret> = singles.chain(several).chain(several_files).collect();
    if secrets.len() > EndpointSpec::MAX_SECRETS {
        let problem = format!("more than {} secrets", EndpointSpec::MAX_SECRETS);
        let key = given.first().copied().unwrap_or("secrets");
        section.fault(key, &Flaw::new(problem, "leave out the oldest"));
    }
    secrets
}

/// Where secrets are given; one of them at most.
const SECRET_KEYS: [&str; 4] = ["secret", "secret_file", "secrets", "secret_files"];

/// Headers of each request.
pub(super) fn read_headers(section: &mut Section<'_>) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for (name, value) in section.free_entries("headers") {
        let added = value.text().and_then(|text| {
            add_header(&mut headers, name, text)
                .map_err(|bad| Flaw::new(bad.to_string(), bad.fix()))
        });
        if let Err(flaw) = added {
            value.fault(&flaw);
        }
    }
    headers
}
