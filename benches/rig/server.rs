//! A bare HTTP server: reads each body and answers. What it is for is up to the caller.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::runtime;

/// Some port.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Serves on a thread of its own for as long as the process lives; each body is given to
/// `take` and answered with `status`.
pub fn serve(
    address: SocketAddr,
    status: StatusCode,
    take: impl Fn(Bytes) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = std::net::TcpListener::bind(address).expect("the port is free");
    listener.set_nonblocking(true).expect("it is a socket");
    let address = listener.local_addr().expect("it is bound");
    let runtime = runtime::current_thread();
    std::thread::spawn(move || runtime.block_on(accept(listener, status, take)));
    address
}

async fn accept(
    listener: std::net::TcpListener,
    status: StatusCode,
    take: impl Fn(Bytes) + Clone + Send + 'static,
) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is a socket");
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("it is a TCP socket");
        let take = take.clone();
        let answer = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let take = take.clone();
            async move {
                if let Ok(body) = request.into_body().collect().await {
                    take(body.to_bytes());
                }
                let mut response = Response::new(Empty::<Bytes>::new());
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        // A connection that ends is the other side's matter.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}
