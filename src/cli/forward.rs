//! Hands requests on to a URL, for `listen --forward`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, header};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::Failure;
use super::receiver::{MAX_BODY, Received, Reply};
use crate::transport::tls;

/// For what the URL answers.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Headers that belong to one connection, not to the message (RFC 9110, 7.6.1), and those
/// that the next one gets anew.
const OF_THE_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = headers.clone();
    for name in OF_THE_CONNECTION {
        passed.remove(name);
    }
    passed.remove("keep-alive");
    passed
}

/// Hands requests on to one URL.
pub struct Forwarder {
    client: Client,
    url: Url,
}

impl Forwarder {
    /// # Errors
    /// The system's certificate authorities cannot be read.
    pub fn new(url: Url) -> Result<Forwarder, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("--forward: {error}"));
        let tls = tls::client_config(None).map_err(|error| failed(&error))?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .timeout(TIMEOUT)
            .build();
        let client = client.map_err(|error| failed(&error))?;
        Ok(Forwarder { client, url })
    }

    /// Sends the same on and brings back what came; an error is a sentence without the URL.
    pub async fn forward(&self, received: &Received) -> Result<Reply, String> {
        let broke = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = std::error::Error::source(&error);
            cause.map_or(error.to_string(), |cause| cause.to_string())
        };
        let request = self
            .client
            .request(received.method.clone(), self.url.clone())
            .headers(passed_on(&received.headers))
            .body(received.body.clone());
        let mut response = request.send().await.map_err(broke)?;
        let (status, headers) = (response.status(), passed_on(response.headers()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(broke)? {
            if body.len().saturating_add(chunk.len()) > MAX_BODY {
                return Err("the answer is too large".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply {
            status,
            headers,
            body: Bytes::from(body),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::receiver::Receiver;
    use http::{HeaderValue, Method, StatusCode};
    use tokio::sync::oneshot;

    fn received() -> Received {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("elsewhere.example"));
        headers.insert("webhook-id", HeaderValue::from_static("evt_1"));
        headers.insert("connection", HeaderValue::from_static("close"));
        Received {
            at: crate::clock::now(),
            method: Method::POST,
            path: "/in".to_owned(),
            headers,
            body: Bytes::from_static(b"{}"),
        }
    }

    #[tokio::test]
    async fn a_forwarded_request_is_the_same_and_so_is_its_answer() {
        let behind = Receiver::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let url: Url = format!("http://{}/app?x=1", behind.address())
            .parse()
            .unwrap();
        let host = behind.address().to_string();
        let answer = move |received: Received| {
            assert_eq!(received.header("webhook-id"), Some("evt_1"));
            assert_eq!(received.header("host"), Some(host.as_str()));
            assert_eq!(
                (received.path.as_str(), &received.body[..]),
                ("/app?x=1", &b"{}"[..])
            );
            let mut reply = Reply::from(StatusCode::IM_A_TEAPOT);
            reply
                .headers
                .insert("x-kind", HeaderValue::from_static("tea"));
            reply.body = Bytes::from_static(b"short");
            std::future::ready(reply)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(behind.serve(answer, async {
            let _ = stopped.await;
        }));
        let forwarder = Forwarder::new(url).unwrap();
        let reply = forwarder.forward(&received()).await.unwrap();
        assert_eq!(reply.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(
            (reply.headers["x-kind"].as_bytes(), &reply.body[..]),
            (&b"tea"[..], &b"short"[..])
        );
        assert!(!reply.headers.contains_key("content-length"));
        drop(stop);
        serving.await.unwrap();
        let gone = forwarder.forward(&received()).await.unwrap_err();
        assert!(!gone.contains("x=1"), "{gone}");
    }
}
