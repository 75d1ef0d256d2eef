//! What the public listener serves for sources: `/in/{source}`, and nothing else. The portal, beside it,
//! is asked first.
//!
//! The API is not served here, and its rules do not apply: no `Host`, `Origin` or token is checked.
//! The source that the path names verifies the caller. Any other path is answered like a source
//! that does not exist, so that a caller learns nothing from the answer.

mod calls;
mod refusals;

use std::future::Future;

use axum::body::Body;
use http::request::Parts;
use http::{Request, Response, StatusCode};

use crate::domain::name::is_plain;
use crate::server::remote::Remote;
pub use calls::Calls;

/// The longest name of a source, in bytes.
const MAX_SOURCE: usize = 64;

/// Receives the calls of sources.
pub trait Receive: Send + Sync + 'static {
    /// Answers a call of `/in/{source}`; `source` is a well-formed name that may not exist. The
    /// body has not been read.
    fn receive(
        &self,
        source: &str,
        parts: Parts,
        body: Body,
        remote: Remote,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// The paths of the public listener.
#[derive(Debug)]
pub struct Inbound<R> {
    sources: R,
}

impl<R: Receive> Inbound<R> {
    /// Passes calls for a source to `sources`.
    pub fn new(sources: R) -> Inbound<R> {
        Inbound { sources }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>, remote: Remote) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Some(source) = source(parts.uri.path()).map(str::to_owned) else {
            return nothing_here();
        };
        self.sources.receive(&source, parts, body, remote).await
    }
}

/// The source that a path names. The path is not decoded or normalised: a name needs neither.
fn source(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/in/")?;
    is_plain(name, MAX_SOURCE).then_some(name)
}

/// The answer for any other path and for a source that does not exist: 404 without a body.
pub fn nothing_here() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    /// Answers with the name of the source that is called.
    struct Echo;

    impl Receive for Echo {
        async fn receive(&self, source: &str, _: Parts, _: Body, _: Remote) -> Response<Body> {
            Response::new(Body::from(source.to_owned()))
        }
    }

    async fn ask(method: &str, target: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(target);
        let remote = Remote {
            ip: [203, 0, 113, 9].into(),
            https: true,
            is_shared: false,
        };
        let request = request.body(Body::empty()).unwrap();
        let response = Inbound::new(Echo).answer(request, remote).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_api_is_not_served() {
        let long = format!("/in/{}", "a".repeat(65));
        for target in [
            "/",
            "/v1/events",
            "/v1/events/order.created",
            "/v1/endpoints",
            "/v1/sources",
            "/v1/status",
            "/healthz",
            "/readyz",
            "/metrics",
            "/ui/",
            "/in",
            "/in/",
            "/IN/x",
            "//in/x",
            "/in//x",
            "/in/x/",
            "/in/a/b",
            "/in/../v1/events",
            "/in/%2e%2e/v1",
            "/in/..%2fv1",
            "/in/%78",
            "/in/.",
            "/in/x;y",
            "/in/x%00",
            "/x/in/x",
            "http://localhost/v1/events",
            "http://localhost/",
            "*",
            &long,
        ] {
            for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "PATCH"] {
                let answer = ask(method, target).await;
                assert_eq!(answer, (404, String::new()), "{method} {target}");
            }
        }
        assert_eq!(ask("CONNECT", "localhost:80").await.0, 404);
    }

    #[tokio::test]
    async fn a_call_is_passed_to_its_source() {
        for target in [
            "/in/stripe-live",
            "/in/stripe-live?a=/v1/events",
            "http://localhost/in/stripe-live",
        ] {
            assert_eq!(
                ask("POST", target).await,
                (200, "stripe-live".to_owned()),
                "{target}"
            );
        }
        assert_eq!(ask("GET", &format!("/in/{}", "a".repeat(64))).await.0, 200);
    }

    proptest! {
        /// A name that is passed on is well-formed and part of the path, unchanged.
        #[test]
        fn only_plain_names_are_sources(path in "(/in/)?[ -~]{0,70}") {
            if let Some(name) = source(&path) {
                prop_assert!(is_plain(name, 64));
                prop_assert_eq!(format!("/in/{name}"), path);
            }
        }
    }
}
