//! A blocking HTTP/1.1 client that hides nothing: one connection a request unless asked
//! otherwise, bytes as they are.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use super::PATIENCE;

/// Where a daemon's API is reached.
#[derive(Clone, Debug)]
pub enum Interface {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(other, _): &&(String, String)| other == name;
        self.headers
            .iter()
            .find(named)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text()))
    }

    /// The body as JSON, once the status is `status`.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// Asserts RFC 9457 with this status and gives `detail`.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        let body = self.expect(status);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(body["status"], status);
        for member in ["type", "title", "detail"] {
            let text = body[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {member} in {body}");
        }
        body["detail"].as_str().unwrap().to_owned()
    }
}

impl Interface {
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str) -> Response {
        self.request("POST", path, &[], b"")
    }

    pub fn post_json(&self, path: &str, body: impl AsRef<[u8]>) -> Response {
        let json = [("content-type", "application/json")];
        self.request("POST", path, &json, body.as_ref())
    }

    #[track_caller]
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut connection = self.connect().expect("the daemon takes connections");
        let asked = connection.ask(method, path, headers, body);
        asked.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Like `request`, for when the daemon may be dead or dying.
    pub fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        self.connect()?.ask(method, path, headers, body)
    }

    /// A connection of its own, for many requests or for none that is well-formed.
    pub fn connect(&self) -> io::Result<Connection> {
        let (read, write): (Box<dyn Read + Send>, Box<dyn Write + Send>) = match self {
            Interface::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
            Interface::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                (Box::new(stream.try_clone()?), Box::new(stream))
            }
        };
        Ok(Connection {
            read: BufReader::new(read),
            write,
        })
    }
}

/// One connection to the daemon.
pub struct Connection {
    read: BufReader<Box<dyn Read + Send>>,
    write: Box<dyn Write + Send>,
}

impl Connection {
    /// One request and its answer. The connection can be used again.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        self.send(&head(method, path, headers, Some(body.len())))?;
        self.send(body)?;
        self.answer_to(method)
    }

    /// Raw bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes)?;
        self.write.flush()
    }

    /// The next answer, to anything but HEAD.
    pub fn answer(&mut self) -> io::Result<Response> {
        self.answer_to("GET")
    }

    /// What comes until the daemon closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.read.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// What comes up to and with `mark`.
    pub fn until(&mut self, mark: &str) -> io::Result<String> {
        let mut seen = Vec::new();
        while !seen.ends_with(mark.as_bytes()) {
            let mut byte = [0];
            self.read.read_exact(&mut byte)?;
            seen.extend(byte);
        }
        Ok(String::from_utf8_lossy(&seen).into_owned())
    }

    fn answer_to(&mut self, method: &str) -> io::Result<Response> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|text| text.parse().ok());
        let status = status.ok_or_else(|| broken(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| broken(format!("no header: {line:?}")))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response {
            status,
            headers,
            body: Vec::new(),
        };
        if status == 100 {
            return self.answer_to(method);
        }
        if method == "HEAD" || status == 204 {
            return Ok(response);
        }
        response.body = self.body(&response)?;
        Ok(response)
    }

    fn body(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().map_err(|_| broken("bad content-length"))?;
            body.resize(length, 0);
            self.read.read_exact(&mut body)?;
            return Ok(body);
        }
        if response.header("transfer-encoding") != Some("chunked") {
            self.read.read_to_end(&mut body)?;
            return Ok(body);
        }
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| broken("bad chunk"))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.read.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.read.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// A request's line and headers. `length`: of the body, when it is to be declared.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        text += "host: localhost\r\n";
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        text += &format!("content-length: {length}\r\n");
    }
    (text + "\r\n").into_bytes()
}

fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
