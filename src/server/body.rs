//! Request bodies, with limits on their size, their duration and their sum.
//!
//! Nothing is buffered past its limit. A sender that makes no progress, or too little, is
//! cut off. What a handler leaves unread is drained for up to 2 s, so that a client that is
//! still writing can read the response instead of a reset connection.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;

/// A body that sends nothing for this long is cut off.
const STALL: Duration = Duration::from_secs(10);
/// And so is one that is slower than this, after the first [`STALL`].
const MIN_BYTES_PER_SECOND: u32 = 16 * 1024;
/// How much of an unread body is drained, and for how long.
const DRAIN_BYTES: usize = 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The room for request bodies of all connections together.
#[derive(Debug)]
pub struct Budget {
    room: usize,
    left: AtomicUsize,
}

impl Budget {
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Budget {
            room: bytes,
            left: AtomicUsize::new(bytes),
        })
    }

    /// How much it is, in bytes, all that is taken included.
    pub fn room(&self) -> usize {
        self.room
    }

    fn take(&self, bytes: usize) -> bool {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .is_ok()
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        if self.budget.take(bytes) {
            self.bytes += bytes;
            Ok(())
        } else {
            Err(BodyError::NoRoom)
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// A body that was read whole. Holds its share of the budget until dropped.
#[derive(Debug)]
pub struct Received {
    pub bytes: Bytes,
    _share: Share,
}

/// How large a body may be, and what that limit is called in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub bytes: u64,
    pub key: &'static str,
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body is over {} ({} bytes)", .0.key, .0.bytes)]
    TooLarge(Limit),
    #[error(
        "the body stalled for {} s, or came slower than {} KiB/s",
        STALL.as_secs(),
        MIN_BYTES_PER_SECOND / 1024
    )]
    TooSlow,
    #[error("the body broke off before its end")]
    BrokeOff,
    #[error("too many large requests at once; try again in a moment")]
    NoRoom,
}

/// A transfer coding of a body that is not `chunked`. hyper takes that one off, and whatever else
/// was applied would be stored and delivered as it is (RFC 9112, 6.1).
pub fn odd_coding(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.find(|coding| {
        let coding = coding.as_bytes().trim_ascii();
        !coding.eq_ignore_ascii_case(b"chunked")
    })
}

/// Reads `body` to its end. A body of one piece is not copied.
///
/// # Errors
/// When it breaks off, is too slow, or exceeds `limit` or what is left of the budget.
pub async fn collect(
    mut body: Body,
    limit: Limit,
    budget: &Arc<Budget>,
) -> Result<Received, BodyError> {
    if body.size_hint().lower() > limit.bytes {
        return Err(BodyError::TooLarge(limit));
    }
    let start = Instant::now();
    let mut share = Share {
        budget: budget.clone(),
        bytes: 0,
    };
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(piece) = next_piece(&mut body, start, share.bytes).await? {
        if (share.bytes as u64).saturating_add(piece.len() as u64) > limit.bytes {
            return Err(BodyError::TooLarge(limit));
        }
        share.grow(piece.len())?;
        if first.is_empty() && more.is_empty() {
            first = piece;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&std::mem::take(&mut first));
            }
            more.extend_from_slice(&piece);
        }
    }
    let bytes = if more.is_empty() {
        first
    } else {
        more.freeze()
    };
    Ok(Received {
        bytes,
        _share: share,
    })
}

/// The next bytes of `body`, of which `read` have come since `start`.
async fn next_piece(
    body: &mut Body,
    start: Instant,
    read: usize,
) -> Result<Option<Bytes>, BodyError> {
    let earned = Duration::from_secs_f64(read as f64 / f64::from(MIN_BYTES_PER_SECOND));
    loop {
        let deadline = (start + STALL + earned).min(Instant::now() + STALL);
        return match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => Err(BodyError::TooSlow),
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) => Err(BodyError::BrokeOff),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Ok(Some(data)),
                // Trailers mean nothing here.
                Err(_) => continue,
            },
        };
    }
}

/// A request body whose unread rest is drained when it is dropped.
pub struct Draining<B: HttpBody + Send + Unpin + 'static> {
    inner: Option<B>,
    /// The client waits for `100 Continue`, which the first poll sends: it has not
    /// written anything that would need draining.
    untouched: bool,
}

impl<B: HttpBody + Send + Unpin + 'static> Draining<B> {
    pub fn new(inner: B, headers: &HeaderMap) -> Self {
        Draining {
            inner: Some(inner),
            untouched: headers.contains_key(header::EXPECT),
        }
    }
}

impl<B: HttpBody + Send + Unpin + 'static> HttpBody for Draining<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        this.untouched = false;
        match &mut this.inner {
            Some(inner) => Pin::new(inner).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: HttpBody + Send + Unpin + 'static> Drop for Draining<B> {
    fn drop(&mut self) {
        if self.untouched || self.is_end_stream() {
            return;
        }
        // Outside of a runtime nobody is left to read the answer.
        let (Some(inner), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        runtime.spawn(drain(inner));
    }
}

async fn drain<B: HttpBody + Send + Unpin>(mut body: B) {
    let mut read = 0_usize;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            read = read.saturating_add(frame.data_ref().map_or(0, bytes::Buf::remaining));
            if read >= DRAIN_BYTES {
                break;
            }
        }
    };
    // Out of time or done: either way the connection is hyper's again.
    let _ = tokio::time::timeout(DRAIN_TIME, all).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    const LIMIT: Limit = Limit {
        bytes: 10,
        key: "ingest.max_event_size",
    };

    /// A body that is fed through a channel.
    struct Fed(mpsc::Receiver<Bytes>);

    impl HttpBody for Fed {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0
                .poll_recv(cx)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    fn fed(pieces: &[&'static str]) -> Body {
        let (tx, rx) = mpsc::channel(16);
        for piece in pieces {
            tx.try_send(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        Body::new(Fed(rx))
    }

    #[tokio::test]
    async fn pieces_are_joined_and_the_budget_given_back() {
        let budget = Budget::new(10);
        let received = collect(fed(&["abc", "", "de", "fghij"]), LIMIT, &budget)
            .await
            .unwrap();
        assert_eq!(received.bytes, "abcdefghij");
        let busy = collect(fed(&["x"]), LIMIT, &budget).await.unwrap_err();
        assert_eq!(busy, BodyError::NoRoom);
        drop(received);
        assert_eq!(
            collect(fed(&["x"]), LIMIT, &budget).await.unwrap().bytes,
            "x"
        );
        assert_eq!(budget.left.load(Ordering::Relaxed), 10);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_by_its_length_or_as_it_comes() {
        let budget = Budget::new(100);
        let declared = collect(Body::from("12345678901"), LIMIT, &budget)
            .await
            .unwrap_err();
        assert_eq!(declared, BodyError::TooLarge(LIMIT));
        let streamed = collect(fed(&["123456789", "01"]), LIMIT, &budget)
            .await
            .unwrap_err();
        assert_eq!(streamed, BodyError::TooLarge(LIMIT));
        let said = streamed.to_string();
        assert!(said.contains("ingest.max_event_size (10 bytes)"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_cut_off() {
        let (tx, rx) = mpsc::channel::<Bytes>(1);
        let start = Instant::now();
        let stalled = collect(Body::new(Fed(rx)), LIMIT, &Budget::new(100))
            .await
            .unwrap_err();
        assert_eq!(stalled, BodyError::TooSlow);
        assert_eq!(start.elapsed(), STALL);
        drop(tx);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_cut_off() {
        let (tx, rx) = mpsc::channel::<Bytes>(1);
        tokio::spawn(async move {
            while tx.send(Bytes::from_static(b"x")).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let limit = Limit {
            bytes: 1000,
            ..LIMIT
        };
        let slow = collect(Body::new(Fed(rx)), limit, &Budget::new(1000))
            .await
            .unwrap_err();
        assert_eq!(slow, BodyError::TooSlow);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_unread_is_drained_up_to_a_mebibyte() {
        let (tx, rx) = mpsc::channel::<Bytes>(1);
        drop(Draining::new(Fed(rx), &HeaderMap::new()));
        let piece = Bytes::from(vec![0; 256 * 1024]);
        let mut taken = 0;
        while tx.send(piece.clone()).await.is_ok() {
            taken += piece.len();
            assert!(taken <= 2 * DRAIN_BYTES, "never stops");
        }
        assert!(taken >= DRAIN_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_ends_after_two_seconds() {
        let (tx, rx) = mpsc::channel::<Bytes>(1);
        let start = Instant::now();
        drop(Draining::new(Fed(rx), &HeaderMap::new()));
        tx.closed().await;
        assert_eq!(start.elapsed(), DRAIN_TIME);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_100_continue_is_not_drained() {
        let (tx, rx) = mpsc::channel::<Bytes>(1);
        let headers = HeaderMap::from_iter([(
            header::EXPECT,
            header::HeaderValue::from_static("100-continue"),
        )]);
        drop(Draining::new(Fed(rx), &headers));
        assert!(tx.is_closed());
        let empty = Draining::new(Empty::<Bytes>::new(), &HeaderMap::new());
        assert!(empty.is_end_stream());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_event() {
        let broken = collect(Body::new(Broken), LIMIT, &Budget::new(100))
            .await
            .unwrap_err();
        assert_eq!(broken, BodyError::BrokeOff);
    }

    struct Broken;

    impl HttpBody for Broken {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
        }
    }
}
