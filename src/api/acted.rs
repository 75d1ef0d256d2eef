//! Logs one line for each change made through the API: the action, its object and the caller.
//!
//! The action follows from method and path, so a new route needs no code here. Requests that post
//! events, and requests that change nothing, are not logged.

use axum::response::Response;
use http::{Method, header};

use super::access::{Caller, hands_in};
use super::reply::DryRun;
use crate::domain::endpoint::EndpointId;

/// A change that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Act {
    /// `endpoint.rotate`, `delivery.retry`.
    action: String,
    /// The names in the path; empty for something new.
    object: String,
}

impl Act {
    /// `None` for a request whose effect the log does not record.
    pub fn of(method: &Method, path: &str) -> Option<Act> {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS];
        if hands_in(method, path) || reads.contains(method) {
            return None;
        }
        let parts: Vec<&str> = path.strip_prefix("/v1/")?.split('/').collect();
        // The handlers of links know the tenants and sessions that they are for.
        let is_unnamed = matches!(
            *parts,
            ["filters", "test"] | [.., "render"] | ["portal", "links"]
        );
        if is_unnamed || is_diagnosis(path) {
            return None;
        }
        // A noun and a name by turns, and maybe a verb at the end.
        let nouns = parts.chunks_exact(2);
        let verb = match (*method == Method::POST, nouns.remainder().first()) {
            (true, Some(_)) if parts.len() == 1 => "create",
            (true, Some(verb)) => verb,
            (true, None) => "create",
            (false, _) if *method == Method::DELETE => "delete",
            (false, _) => "change",
        };
        let noun = match parts.len() {
            1 => parts.first(),
            _ => nouns.clone().next_back().and_then(|pair| pair.first()),
        };
        let noun = match *noun? {
            "deliveries" => "delivery",
            noun => noun.strip_suffix('s').unwrap_or(noun),
        };
        let verb = match (noun, verb) {
            ("job", "delete") => "cancel",
            ("event", "delete") => "erase",
            (_, verb) => verb,
        };
        let names: Vec<&str> = nouns.filter_map(|pair| pair.get(1).copied()).collect();
        Some(Act {
            action: format!("{noun}.{verb}"),
            object: names.join("/"),
        })
    }

    /// Logs the change, if it was made.
    pub fn answered(self, caller: &Caller, response: &Response) {
        let is_dry = response.extensions().get::<DryRun>().is_some();
        if !response.status().is_success() || is_dry {
            return;
        }
        let made = response.headers().get(header::LOCATION);
        let made = made.and_then(|location| location.to_str().ok()?.rsplit('/').next());
        let object = match (self.object.as_str(), made) {
            ("", Some(made)) => made,
            (object, _) => object,
        };
        log(&self.action, object, caller.as_str(), Way::Api);
    }
}

/// Whether the path is that of a diagnosis, which changes nothing but by the test event that it may
/// send.
pub fn is_diagnosis(path: &str) -> bool {
    path.starts_with("/v1/endpoints/") && path.ends_with("/diagnose")
}

/// Logs that a diagnosis sent a test event to an endpoint.
pub fn tested(endpoint: &EndpointId, caller: Option<&Caller>) {
    let by = caller.map_or("unknown", Caller::as_str);
    log("endpoint.test", endpoint.as_str(), by, Way::Api);
}

/// What a change was made through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Api,
    Page,
}

/// Logs that somebody changed something: `endpoint.rotate` of `orders`, by the name of a token.
pub fn log(action: &str, object: &str, by: &str, way: Way) {
    match way {
        Way::Api => tracing::info!(action, object, by, "changed through the API"),
        Way::Page => tracing::info!(action, object, by, "changed on a page"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_named_by_its_method_and_path() {
        let named = |method: Method, path: &str| {
            Act::of(&method, path).map(|act| format!("{} {}", act.action, act.object))
        };
        let post = |path| named(Method::POST, path);
        for (path, expected) in [
            ("/v1/endpoints", "endpoint.create "),
            ("/v1/endpoints/a/rotate", "endpoint.rotate a"),
            ("/v1/endpoints/a/test", "endpoint.test a"),
            (
                "/v1/events/evt_1/deliveries/a/retry",
                "delivery.retry evt_1/a",
            ),
            ("/v1/sources", "source.create "),
            ("/v1/sources/s/test", "source.test s"),
        ] {
            assert_eq!(post(path).as_deref(), Some(expected), "{path}");
        }
        let delete = |path| named(Method::DELETE, path);
        assert_eq!(
            delete("/v1/endpoints/a").as_deref(),
            Some("endpoint.delete a")
        );
        assert_eq!(
            delete("/v1/events/evt_1").as_deref(),
            Some("event.erase evt_1")
        );
        assert_eq!(
            delete("/v1/jobs/job_1").as_deref(),
            Some("job.cancel job_1")
        );
        let change = named(Method::PATCH, "/v1/sources/s");
        assert_eq!(change.as_deref(), Some("source.change s"));
        for path in [
            "/v1/events",
            "/v1/events/order.created",
            "/v1/filters/test",
            "/v1/endpoints/a/render",
            "/v1/endpoints/a/diagnose",
            "/elsewhere",
        ] {
            assert_eq!(post(path), None, "{path}");
        }
        assert_eq!(named(Method::GET, "/v1/endpoints/a"), None);
        for path in ["/v1/", "/v1//", "/v1/a/b/c/d/e/f"] {
            let _ = (post(path), delete(path));
        }
    }
}
