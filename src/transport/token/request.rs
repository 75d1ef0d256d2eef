//! The request for a token (RFC 6749, 2.3.1 and 4.4.2; RFC 7523, 2.2).

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::super::exchange::{OutboundRequest, RequestBody};
use super::super::fault::Fault;
use super::super::request::{Form, host, uri};
use super::assertion;
use crate::domain::auth::{ClientAuth, OAuth2, basic_header};
use crate::domain::time::Timestamp;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(super) struct TokenRequest {
    body: Bytes,
    authorization: Option<HeaderValue>,
}

impl TokenRequest {
    /// `random` makes an assertion unlike all others. `None` if nothing can be signed.
    pub(super) fn new(oauth2: &OAuth2, now: Timestamp, random: u128) -> Option<TokenRequest> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        for (name, value) in [("scope", &oauth2.scope), ("audience", &oauth2.audience)] {
            if let Some(value) = value {
                form.append_pair(name, value);
            }
        }
        let mut authorization = None;
        match &oauth2.client_auth {
            ClientAuth::Basic { secret } => {
                // A space as `%20`: some servers decode percents alone.
                let encoded = |text: &str| {
                    let text: String = byte_serialize(text.as_bytes()).collect();
                    text.replace('+', "%20")
                };
                let (id, secret) = (encoded(&oauth2.client_id), encoded(secret));
                authorization = Some(basic_header(&id, &secret)?);
            }
            ClientAuth::Post { secret } => {
                form.append_pair("client_id", &oauth2.client_id);
                form.append_pair("client_secret", secret);
            }
            ClientAuth::Assertion(key) => {
                form.append_pair("client_id", &oauth2.client_id);
                form.append_pair("client_assertion_type", ASSERTION_TYPE);
                let signed = assertion::sign(oauth2, key, now, random)?;
                form.append_pair("client_assertion", &signed);
            }
        }
        Some(TokenRequest {
            body: form.finish().into(),
            authorization,
        })
    }

    /// # Errors
    /// The URL cannot be written into a request.
    pub(super) fn build(
        &self,
        url: &Url,
        form: Form,
        user_agent: &HeaderValue,
    ) -> Result<OutboundRequest, Fault> {
        let mut request = Request::new(RequestBody::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(url, form)?;
        let headers = request.headers_mut();
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(USER_AGENT, user_agent.clone());
        if form != Form::Http2 {
            headers.insert(HOST, host(url)?);
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }
}
