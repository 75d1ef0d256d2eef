//! A connection of either version.

use std::sync::Arc;

use super::http1::Http1;
use super::http2::Http2;

pub(super) enum Connection {
    Http1(Http1),
    Http2(Arc<Http2>),
}
