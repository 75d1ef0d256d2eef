//! What both versions of HTTP have in common: the byte stream, the request, and its fault.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::TrySendError;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream to the peer.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What hyper reads from and writes to.
pub(super) type Stream = TokioIo<Box<dyn Duplex>>;

pub(super) fn boxed(stream: impl Duplex + 'static) -> Stream {
    TokioIo::new(Box::new(stream))
}

pub(super) type OutboundRequest = Request<RequestBody>;

/// The body of a request. Its flag, if it has one, is set when hyper has sent it or dropped it.
pub(super) struct RequestBody {
    bytes: Full<Bytes>,
    done: Option<Arc<AtomicBool>>,
}

impl RequestBody {
    pub(super) fn new(bytes: Bytes) -> RequestBody {
        RequestBody {
            bytes: Full::new(bytes),
            done: None,
        }
    }

    pub(super) fn done_flag(&mut self) -> Arc<AtomicBool> {
        self.done.get_or_insert_default().clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.bytes).poll_frame(poller)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(done) = &self.done {
            done.store(true, Relaxed);
        }
    }
}

/// Why a request got no response.
#[derive(Debug)]
pub(super) struct SendFault {
    pub(super) error: hyper::Error,
    /// No byte of the request was sent.
    pub(super) is_unsent: bool,
}

impl From<TrySendError<OutboundRequest>> for SendFault {
    fn from(mut error: TrySendError<OutboundRequest>) -> Self {
        SendFault {
            is_unsent: error.take_message().is_some(),
            error: error.into_error(),
        }
    }
}
