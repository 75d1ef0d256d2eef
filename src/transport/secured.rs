//! A TLS stream that keeps the fault of TLS it ended with.
//!
//! In TLS 1.3 the client's handshake is over before the server judges the client's certificate, so
//! a refusal arrives as an alert in place of the first response (RFC 8446, 4.4.2.4 and 6). Over
//! HTTP/2 the error that reaches the requests has lost its type, and over both versions a request
//! may fail because the server closed the connection, before its alert is read. So the stream looks
//! for the alert itself, and its connection asks here.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::exchange::Duplex;

/// Bytes that are read ahead of a reader after a write has failed.
const AHEAD: usize = 4096;

/// The fault of TLS that ended a connection, once there is one. Always empty without TLS.
#[derive(Clone, Default)]
pub(super) struct Ended(Arc<OnceLock<rustls::Error>>);

impl Ended {
    pub(super) fn fault(&self) -> Option<&rustls::Error> {
        self.0.get()
    }

    fn note(&self, error: &io::Error) {
        let inner = error.get_ref();
        if let Some(fault) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            // The first one is the cause of the others.
            let _ = self.0.set(fault.clone());
        }
    }
}

pub(super) struct Secured {
    stream: TlsStream<Box<dyn Duplex>>,
    ended: Ended,
    /// Whether the peer has sent anything since the handshake.
    has_read: bool,
    /// What was read after a write had failed.
    ahead: Vec<u8>,
}

impl Secured {
    pub(super) fn new(stream: TlsStream<Box<dyn Duplex>>) -> Secured {
        Secured {
            stream,
            ended: Ended::default(),
            has_read: false,
            ahead: Vec::new(),
        }
    }

    pub(super) fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// A write has failed. If the peer has sent an alert before it closed, that is the reason.
    fn failed(&mut self, poller: &mut Context<'_>, error: io::Error) -> io::Error {
        self.ended.note(&error);
        if self.has_read || !self.ahead.is_empty() {
            return error;
        }
        let mut bytes = [0; AHEAD];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(poller, &mut buffer) {
            Poll::Ready(Err(reason)) => {
                self.ended.note(&reason);
                error
            }
            _ => {
                self.ahead.extend_from_slice(buffer.filled());
                error
            }
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            let rest = self.ahead.split_off(count);
            buffer.put_slice(&self.ahead);
            self.ahead = rest;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(poller, buffer));
        self.has_read |= buffer.filled().len() > before;
        if let Err(error) = &read {
            self.ended.note(error);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(poller, bytes));
        Poll::Ready(written.map_err(|error| self.failed(poller, error)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        poller: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(poller, bytes));
        Poll::Ready(written.map_err(|error| self.failed(poller, error)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(poller));
        Poll::Ready(flushed.map_err(|error| self.failed(poller, error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, poller: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }
}
