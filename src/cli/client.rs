//! Requests to the daemon, over TCP or its Unix socket.
//!
//! Plain HTTP only, as the daemon itself has no TLS. When a proxy terminates TLS in front of
//! it, use the daemon's own address or its socket.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Failure;
use super::paint::plain;
use super::target::Target;
use crate::config::Listen;
use crate::config::plain_text;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;
const DEFAULT_URL: &str = "http://127.0.0.1:7717";

/// How to find the daemon, for every client command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Reaching the daemon")]
pub struct Reach {
    /// The daemon's address, such as http://127.0.0.1:7717 or unix:/run/outboxd/outboxd.sock
    /// (else OUTBOXD_URL, else the configuration)
    #[arg(long, global = true, value_name = "URL", conflicts_with = "unix")]
    pub url: Option<String>,
    /// The daemon's Unix socket
    #[arg(long, global = true, value_name = "PATH")]
    pub unix: Option<PathBuf>,
    /// The file that holds the bearer token
    #[arg(long, global = true, value_name = "FILE", env = "OUTBOXD_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// The configuration that says where the daemon listens
    #[arg(long, global = true, value_name = "FILE", env = "OUTBOXD_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Reads where the daemon listens from the file that was named, or else from the default file if
/// it exists. Only called when nothing else says where the daemon is.
pub type Configured = fn(Option<&Path>) -> Result<Listen, Failure>;

/// Why a request to the daemon failed. The daemon's text is escaped.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(
        "cannot reach outboxd at {at}: {source}\n\
         start it with `outboxd serve`, or say where it is: --url, --unix or OUTBOXD_URL"
    )]
    Unreachable { at: String, source: io::Error },
    #[error("the exchange with {at} failed: {why}")]
    BrokeOff { at: String, why: String },
    #[error("{} (HTTP {status})", plain(detail))]
    Refused { status: u16, detail: String },
    #[error("{} (HTTP {status})\n{fix}", plain(detail))]
    NotAllowed {
        status: u16,
        detail: String,
        fix: &'static str,
    },
    #[error("the answer of {at} is not one of outboxd: {why}")]
    Foreign { at: String, why: String },
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Failed(fault.to_string())
    }
}

impl Reach {
    /// The daemon that the command line, the environment and the configuration name, in
    /// this order.
    pub fn client(&self, configured: Configured) -> Result<Client, Failure> {
        let from_env = std::env::var("OUTBOXD_URL").ok();
        Ok(Client {
            target: self.target(from_env.as_deref(), configured)?,
            token: self.token()?,
            patience: TIMEOUT,
        })
    }

    /// The same daemon, without a token: for calls that require none. The token's file is not
    /// opened, because the user may not be permitted to read it.
    pub fn client_without_token(&self, configured: Configured) -> Result<Client, Failure> {
        let from_env = std::env::var("OUTBOXD_URL").ok();
        Ok(Client {
            target: self.target(from_env.as_deref(), configured)?,
            token: None,
            patience: TIMEOUT,
        })
    }

    fn target(&self, from_env: Option<&str>, configured: Configured) -> Result<Target, Failure> {
        if let Some(path) = &self.unix {
            return Ok(Target::Unix(path.clone()));
        }
        let from_env = from_env.filter(|url| !url.is_empty());
        if let Some(url) = self.url.as_deref().or(from_env) {
            return Target::parse(url);
        }
        let config = self.config.as_deref();
        let listen = configured(config.filter(|path| !path.as_os_str().is_empty()))?;
        match (listen.unix, listen.http) {
            (Some(path), _) => Ok(Target::Unix(path)),
            (None, Some(address)) => Ok(address.into()),
            (None, None) if listen.inbound.is_some() => Err(Failure::Usage(
                "the configuration sets only listen.inbound, which does not serve the API: set \
                 listen.http or listen.unix, or say where the daemon is: --url, --unix or OUTBOXD_URL"
                    .to_owned(),
            )),
            (None, None) => Target::parse(DEFAULT_URL),
        }
    }

    fn token(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(path) = &self.token_file else {
            return Ok(None);
        };
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let content = std::fs::read(path)
            .map_err(|error| Failure::Failed(format!("cannot read {}: {error}", path.display())))?;
        let text = plain_text(content)
            .map_err(|what| Failure::Usage(format!("{} {what}", path.display())))?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", text.trim()));
        let mut bearer = bearer.map_err(|_| {
            Failure::Usage(format!(
                "{} does not hold a token in one line",
                path.display()
            ))
        })?;
        bearer.set_sensitive(true);
        Ok(Some(bearer))
    }
}

/// Sends requests to one daemon.
#[derive(Debug)]
pub struct Client {
    target: Target,
    token: Option<HeaderValue>,
    /// How long a whole answer may take.
    patience: Duration,
}

#[derive(Deserialize)]
struct ProblemAnswer {
    r#type: Option<String>,
    title: Option<String>,
    detail: Option<String>,
}

impl Client {
    /// The address to which the client sends its requests.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The same client, whose answers may take this long.
    pub fn with_patience(self, patience: Duration) -> Client {
        Client { patience, ..self }
    }

    /// The body of a `GET`.
    pub async fn get(&self, path: &str) -> Result<Bytes, Fault> {
        self.ask(Method::GET, path, HeaderMap::new(), Bytes::new())
            .await
    }

    /// The body of the answer to a `POST`.
    pub async fn post(&self, path: &str, headers: HeaderMap, body: Bytes) -> Result<Bytes, Fault> {
        self.ask(Method::POST, path, headers, body).await
    }

    /// The body of the answer to a `POST` of JSON.
    pub async fn post_json(&self, path: &str, body: &impl Serialize) -> Result<Bytes, Fault> {
        self.ask_json(Method::POST, path, body).await
    }

    /// The body of the answer to a `PATCH` with JSON.
    pub async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Bytes, Fault> {
        self.ask_json(Method::PATCH, path, body).await
    }

    /// Sends a `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<(), Fault> {
        let asked = self.ask(Method::DELETE, path, HeaderMap::new(), Bytes::new());
        asked.await.map(drop)
    }

    /// The lines of the answer to a `GET` that does not end by itself.
    pub async fn lines(&self, path: &str) -> Result<Lines, Fault> {
        Ok(Lines {
            answer: self.stream(path).await?,
            unread: BytesMut::new(),
        })
    }

    /// The answer to a `GET` as it comes.
    pub async fn stream(&self, path: &str) -> Result<Stream, Fault> {
        let request = self.request(Method::GET, path, HeaderMap::new(), Bytes::new())?;
        let begin = async {
            match &self.target {
                Target::Tcp { authority, .. } => {
                    let stream = self.connected(TcpStream::connect(authority)).await?;
                    self.begin(stream, request).await
                }
                Target::Unix(socket) => {
                    let stream = self.connected(UnixStream::connect(socket)).await?;
                    self.begin(stream, request).await
                }
            }
        };
        let (status, body) = begin.await?;
        if status.is_success() {
            let at = self.target.to_string();
            return Ok(Stream { body, at });
        }
        let refusal = Limited::new(body, MAX_ANSWER).collect();
        let refusal = tokio::time::timeout(TIMEOUT, refusal).await;
        let refusal = refusal.map_or(Bytes::new(), |read| {
            read.map_or(Bytes::new(), |body| body.to_bytes())
        });
        Err(self.refused(status, &refusal))
    }

    /// Sends a request and reads the head of its answer.
    async fn begin<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Incoming), Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let exchange = async {
            let io = TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            // The task ends when the body has been read or dropped.
            tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>((head.status, body))
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(result) => result.map_err(|error| self.broke_off(&error)),
            Err(_) => Err(self.broke_off(&format!("no answer in {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn ask_json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Bytes, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| self.broke_off(&error))?;
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        self.ask(method, path, headers, body.into()).await
    }

    /// Reads an answer as a `T`.
    pub fn read<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Fault> {
        serde_json::from_slice(answer).map_err(|error| Fault::Foreign {
            at: self.target.to_string(),
            why: error.to_string(),
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Bytes, Fault> {
        let request = self.request(method, path, headers, body)?;
        let (status, body) = match &self.target {
            Target::Tcp { authority, .. } => {
                let stream = self.connected(TcpStream::connect(authority)).await?;
                self.exchange(stream, request).await?
            }
            Target::Unix(socket) => {
                let stream = self.connected(UnixStream::connect(socket)).await?;
                self.exchange(stream, request).await?
            }
        };
        if status.is_success() {
            Ok(body)
        } else {
            Err(self.refused(status, &body))
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let (host, prefix) = match &self.target {
            Target::Tcp { authority, prefix } => (authority.as_str(), prefix.as_str()),
            Target::Unix(_) => ("localhost", ""),
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{prefix}{path}"))
            .header(header::HOST, host)
            .header(
                header::USER_AGENT,
                concat!("outboxd-cli/", env!("CARGO_PKG_VERSION")),
            );
        let mut request = request
            .body(Full::new(body))
            .map_err(|error| self.broke_off(&format!("{path} is not a valid path: {error}")))?;
        request.headers_mut().extend(headers);
        if let Some(token) = &self.token {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, token.clone());
        }
        Ok(request)
    }

    async fn connected<S>(&self, connect: impl Future<Output = io::Result<S>>) -> Result<S, Fault> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| Fault::Unreachable {
                at: self.target.to_string(),
                source,
            })
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let exchange = async {
            let io = TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            let connection = tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
            connection.abort();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head.status, body))
        };
        match tokio::time::timeout(self.patience, exchange).await {
            Ok(result) => result.map_err(|error| self.broke_off(&error)),
            Err(_) => Err(self.broke_off(&format!("no answer in {} s", self.patience.as_secs()))),
        }
    }

    fn broke_off(&self, why: &dyn fmt::Display) -> Fault {
        Fault::BrokeOff {
            at: self.target.to_string(),
            why: why.to_string(),
        }
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Fault {
        let problem: Option<ProblemAnswer> = serde_json::from_slice(body).ok();
        let (slug, said) = match problem {
            Some(problem) => (problem.r#type, problem.detail.or(problem.title)),
            None => (None, None),
        };
        let detail = match said {
            Some(said) => said,
            None => {
                let reason = status.canonical_reason().unwrap_or("no reason given");
                format!("{} answered: {reason}", self.target)
            }
        };
        let about_the_host = slug.is_some_and(|slug| slug.ends_with(":host-refused"));
        let fix = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => {
                "name the file that holds the token: --token-file or OUTBOXD_TOKEN_FILE"
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                "the token in the token file is not one of the daemon's configuration"
            }
            (StatusCode::FORBIDDEN, _) if !about_the_host => {
                "name the file of a token with scope admin: --token-file or OUTBOXD_TOKEN_FILE"
            }
            _ => {
                let status = status.as_u16();
                return Fault::Refused { status, detail };
            }
        };
        Fault::NotAllowed {
            status: status.as_u16(),
            detail,
            fix,
        }
    }
}

/// An answer that comes line by line has failed when nothing arrives for this long. The daemon
/// sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(60);
/// The longest line of an answer, in bytes.
const MAX_LINE: usize = 1024 * 1024;

/// An answer that is read as it comes.
#[derive(Debug)]
pub struct Stream {
    body: Incoming,
    at: String,
}

impl Stream {
    fn broke_off(&self, why: &dyn fmt::Display) -> Fault {
        Fault::BrokeOff {
            at: self.at.clone(),
            why: why.to_string(),
        }
    }

    /// The next bytes; `None` when the answer has ended.
    ///
    /// # Errors
    /// The answer failed, or nothing arrived for `SILENCE`.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match tokio::time::timeout(SILENCE, self.body.frame()).await {
            Err(_) => {
                let why = format!("nothing arrived for {} s", SILENCE.as_secs());
                Err(self.broke_off(&why))
            }
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(self.broke_off(&error)),
            Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        }
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct Lines {
    answer: Stream,
    unread: BytesMut,
}

impl Lines {
    /// The next line without its end; `None` when the answer has ended.
    ///
    /// # Errors
    /// The answer failed, or nothing arrived for `SILENCE`.
    pub async fn next(&mut self) -> Result<Option<String>, Fault> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end);
                // The line's end.
                let _ = self.unread.split_to(1);
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.unread.len() > MAX_LINE {
                return Err(self.answer.broke_off(&"a line is too long"));
            }
            match self.answer.next().await? {
                None => return Ok(None),
                Some(data) => self.unread.extend_from_slice(&data),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const NOWHERE: Listen = Listen {
        http: None,
        unix: None,
        unix_mode: 0o660,
        hosts: Vec::new(),
        inbound: None,
        inbound_cert: None,
        public_url: None,
        trusted_proxies: Vec::new(),
        ui: true,
    };

    fn tcp(authority: &str, prefix: &str) -> Target {
        Target::Tcp {
            authority: authority.into(),
            prefix: prefix.into(),
        }
    }

    #[test]
    fn the_command_line_precedes_the_environment_and_that_the_configuration() {
        let configured: Configured = |_| {
            Ok(Listen {
                http: Some(([0, 0, 0, 0], 80).into()),
                ..NOWHERE
            })
        };
        let broken: Configured = |_| Err(Failure::Usage("broken".into()));
        let url = Reach {
            url: Some("http://a:1".into()),
            ..Reach::default()
        };
        let env = Some("http://b:2");
        assert_eq!(url.target(env, broken).unwrap(), tcp("a:1", ""));
        let none = Reach::default();
        assert_eq!(none.target(env, broken).unwrap(), tcp("b:2", ""));
        assert_eq!(
            none.target(Some(""), configured).unwrap(),
            tcp("127.0.0.1:80", "")
        );
        assert_eq!(
            none.target(None, |_| Ok(NOWHERE)).unwrap(),
            tcp("127.0.0.1:7717", "")
        );
        assert!(none.target(None, broken).is_err());
        let public: Configured = |_| {
            Ok(Listen {
                inbound: Some(([127, 0, 0, 1], 80).into()),
                ..NOWHERE
            })
        };
        let failure = none.target(None, public).unwrap_err().to_string();
        assert!(failure.contains("only listen.inbound"), "{failure}");
    }

    /// Answers one request on `listener` and returns the request.
    async fn answer_once(listener: tokio::net::TcpListener, answer: &'static str) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 4096];
        let read = stream.read(&mut asked).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&asked[..read]).into_owned()
    }

    async fn ask(answer: &'static str) -> (Result<Bytes, Fault>, String) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client {
            target: listener.local_addr().unwrap().into(),
            token: Some(HeaderValue::from_static("Bearer t0p")),
            patience: TIMEOUT,
        };
        let server = tokio::spawn(answer_once(listener, answer));
        let result = client.get("/v1/status").await;
        (result, server.await.unwrap())
    }

    #[tokio::test]
    async fn a_request_carries_the_token_and_gets_its_answer() {
        let (result, asked) = ask("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
        assert_eq!(result.unwrap(), "hi");
        assert!(asked.starts_with("GET /v1/status HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: Bearer t0p\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn lines_that_stop_arriving_are_a_fault() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client {
            target: listener.local_addr().unwrap().into(),
            token: None,
            patience: TIMEOUT,
        };
        let (silent, ended) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n: tail\n";
            stream.write_all(head).await.unwrap();
            // The connection stays open.
            let _ = ended.await;
        });
        let mut lines = client.lines("/v1/tail").await.unwrap();
        assert_eq!(lines.next().await.unwrap().as_deref(), Some(": tail"));
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let fault = lines.next().await.unwrap_err();
        assert!(matches!(&fault, Fault::BrokeOff { .. }), "{fault}");
        assert_eq!(began.elapsed().as_secs(), 60);
        drop(silent);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_goes_over_a_unix_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let reach = Reach {
            unix: Some(path),
            ..Reach::default()
        };
        let client = reach.client(|_| Ok(NOWHERE)).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let answer = b"HTTP/1.1 202 A\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let body = Bytes::from_static(b"x");
        let answer = client.post("/v1/events", HeaderMap::new(), body).await;
        assert_eq!(answer.unwrap(), "{}");
        let asked = server.await.unwrap();
        assert!(asked.starts_with("POST /v1/events HTTP/1.1\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\nx"), "{asked}");
    }

    #[test]
    fn options_are_taken_before_and_after_a_subcommand() {
        use clap::{CommandFactory, Parser};

        #[derive(Parser)]
        enum Line {
            Events(crate::cli::events::Args),
            Deliveries(crate::cli::deliveries::Args),
            Endpoints(crate::cli::endpoints::Args),
            Send(crate::cli::send::Args),
            Status(crate::cli::status::Args),
        }
        Line::command().debug_assert();
        let line = ["x", "events", "list", "--url", "http://a:1", "--json"];
        match Line::parse_from(line) {
            Line::Events(args) => {
                assert!(args.json);
                assert_eq!(args.reach.url.as_deref(), Some("http://a:1"));
            }
            _ => panic!("not events"),
        }
        let both = ["x", "status", "--url", "http://a:1", "--unix", "/s"];
        assert!(Line::try_parse_from(both).is_err());
        let bad = ["x", "deliveries", "list", "--status", "late"];
        assert!(Line::try_parse_from(bad).is_err());
    }

    #[tokio::test]
    async fn a_problem_is_shown_by_its_escaped_detail() {
        let (result, _) =
            ask("HTTP/1.1 409 C\r\nconnection: close\r\n\r\n{\"detail\":\"held\\u001b[2J\"}").await;
        let failure = result.unwrap_err();
        assert_eq!(failure.to_string(), "held\\u{1b}[2J (HTTP 409)");
        let (result, _) = ask("HTTP/1.1 401 U\r\ncontent-length: 0\r\n\r\n").await;
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("not one of the daemon's")
        );
        let (result, _) = ask("HTTP/1.1 403 F\r\ncontent-length: 0\r\n\r\n").await;
        assert!(result.unwrap_err().to_string().contains("scope admin"));
        let host = "HTTP/1.1 403 F\r\nconnection: close\r\n\r\n\
                    {\"type\":\"urn:outboxd:problem:host-refused\",\"detail\":\"no Host\"}";
        let (result, _) = ask(host).await;
        assert_eq!(result.unwrap_err().to_string(), "no Host (HTTP 403)");
    }

    #[tokio::test]
    async fn an_unreachable_daemon_is_reported_with_its_address_and_a_fix() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client {
            target: address.into(),
            token: None,
            patience: TIMEOUT,
        };
        let failure = client.get("/v1/status").await.unwrap_err().to_string();
        assert!(failure.contains(&address.to_string()), "{failure}");
        assert!(failure.contains("outboxd serve"), "{failure}");
    }
}
