//! Asks a receiver for its consent before the first delivery of a CloudEvent (HTTP 1.1 Web Hooks for
//! Event Delivery 1.0.2, 4.1): OPTIONS with `WebHook-Request-Origin`, whose answer must allow it. The
//! status of the answer means nothing.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use tokio::time::Instant;
use url::Url;

use super::call::{Call, Caller};
use super::exchange::{OutboundRequest, RequestBody};
use super::fault::Fault;
use super::request::{Form, host, uri};
use crate::domain::attempt::ErrorKind;
use crate::domain::cloudevents::{RequestOrigin, judge, request_headers};
use crate::domain::endpoint::Endpoint;
use crate::domain::shaping::Consents;

/// How much of the answer's body is read, so that its connection can be kept.
const MAX_BODY: usize = 4096;

/// The name of this sender, for receivers that are asked.
pub(super) fn origin() -> RequestOrigin {
    let node = rustix::system::uname();
    let name = node.nodename().to_string_lossy().to_lowercase();
    RequestOrigin::new(&name).unwrap_or_default()
}

/// Asks, unless the receiver has consented already.
///
/// # Errors
/// The receiver did not answer, or does not consent; with the status of its answer.
pub(super) async fn ask(
    caller: &Caller,
    endpoint: &Endpoint,
    consents: &Consents,
    origin: &RequestOrigin,
    user_agent: &HeaderValue,
    deadline: Instant,
) -> Result<(), (Fault, Option<u16>)> {
    let call = Call {
        url: &endpoint.url,
        endpoint,
        deadline,
    };
    let build = |form| request(&endpoint.url, form, origin, user_agent);
    let called = caller.call(call, build).await;
    let called = called.map_err(|fault| (fault, None))?;
    let answer = called.read(MAX_BODY, deadline).await;
    let consent = judge(origin, &answer.headers).map_err(|refusal| {
        let fault = Fault::new(ErrorKind::Status, &refusal.to_string());
        let address = answer.address;
        (Fault { address, ..fault }, Some(answer.status.as_u16()))
    })?;
    consents.give(&endpoint.url, consent);
    Ok(())
}

fn request(
    url: &Url,
    form: Form,
    origin: &RequestOrigin,
    user_agent: &HeaderValue,
) -> Result<OutboundRequest, Fault> {
    let mut request = Request::new(RequestBody::new(Bytes::new()));
    *request.method_mut() = Method::OPTIONS;
    *request.uri_mut() = uri(url, form)?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(USER_AGENT, user_agent.clone());
    if form != Form::Http2 {
        headers.insert(HOST, host(url)?);
    }
    for (name, value) in request_headers(origin, None) {
        headers.insert(name, value);
    }
    Ok(request)
}
