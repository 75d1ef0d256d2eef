//! A connection of HTTP/1.1. It carries one request at a time, and its attempt owns it meanwhile.

use std::net::SocketAddr;

use http::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use tokio::time::Instant;

use super::exchange::{OutboundRequest, RequestBody, SendFault, Stream};
use super::secured::Ended;

/// Headers of a response, within hyper's buffer of about 400 KiB.
const MAX_HEADERS: usize = 256;

pub(super) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    pub(super) address: Option<SocketAddr>,
    pub(super) ended: Ended,
    pub(super) opened: Instant,
}

impl Http1 {
    /// Starts the connection's task.
    pub(super) async fn open(
        stream: Stream,
        address: Option<SocketAddr>,
        ended: Ended,
    ) -> Result<Http1, hyper::Error> {
        // A response that cannot be parsed repeats the delivery, and its headers hardly matter. So
        // outboxd accepts what RFC 9112 lets a client accept.
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .handshake(stream)
            .await?;
        tokio::spawn(async move {
            // A fault reaches the request under way.
            let _ = connection.await;
        });
        Ok(Http1 {
            sender,
            address,
            ended,
            opened: Instant::now(),
        })
    }

    pub(super) async fn send(
        &mut self,
        request: OutboundRequest,
    ) -> Result<Response<Incoming>, SendFault> {
        Ok(self.sender.try_send_request(request).await?)
    }

    /// Whether the last exchange has ended and the next request can be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits for the end of the last exchange. Returns whether the connection can be used again.
    pub(super) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}
