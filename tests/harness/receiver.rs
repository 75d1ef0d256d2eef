//! A receiver on loopback that plays a script: it keeps every request byte for byte and
//! answers each as the test says, well or badly.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::PATIENCE;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its number, from 0, in order of arrival at this receiver.
    pub number: usize,
    /// When its last byte was in.
    pub at: Instant,
    pub time: SystemTime,
    pub method: String,
    pub path: String,
    /// In order, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came on, from 0.
    pub connection: usize,
}

impl Seen {
    /// The header's value.
    ///
    /// # Panics
    /// When it is not there exactly once.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name}: {:?}", self.headers);
        values[0]
    }

    /// All values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("a body in UTF-8")
    }
}

/// What a request gets.
pub enum Answer {
    /// A proper answer.
    Reply {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// That answer, once the gate is open.
    Gated(Gate, Box<Answer>),
    /// These bytes, then the connection closes. For garbage, truncation, no answer at all.
    Raw(Vec<u8>),
    /// These bytes, then silence until the daemon goes away.
    Hang(Vec<u8>),
    /// The first bytes, then the second again and again, with a pause in between, until
    /// the daemon goes away.
    Endless {
        first: Vec<u8>,
        again: Vec<u8>,
        pause: Duration,
    },
}

impl Answer {
    pub fn status(status: u16) -> Answer {
        Answer::reply(status, &[], "")
    }

    pub fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Answer::Reply {
            status,
            headers: headers.iter().map(owned).collect(),
            body: body.into(),
        }
    }

    /// Says nothing.
    pub fn hang() -> Answer {
        Answer::Hang(Vec::new())
    }

    /// Closes without an answer.
    pub fn close() -> Answer {
        Answer::Raw(Vec::new())
    }

    pub fn behind(self, gate: &Gate) -> Answer {
        Answer::Gated(gate.clone(), Box::new(self))
    }
}

/// Holds answers back until the test opens it, for good.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Gate {
        Gate::default()
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Whether it was opened in time.
    fn wait(&self) -> bool {
        let (open, changed) = (&self.0.0, &self.0.1);
        let waited = changed.wait_timeout_while(open.lock().unwrap(), PATIENCE, |open| !*open);
        *waited.unwrap().0
    }
}

struct Script {
    answer: Box<dyn Fn(&Seen) -> Answer + Send + Sync>,
    seen: Mutex<Vec<Seen>>,
    changed: Condvar,
    connections: AtomicUsize,
    open: AtomicUsize,
    closing: AtomicBool,
}

/// A running receiver. Gone when dropped; connections end with their peers.
pub struct Receiver {
    address: SocketAddr,
    script: Arc<Script>,
}

impl Receiver {
    /// Answers each request as `answer` says. `Seen::number` tells how many came before.
    pub fn answering(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let script = Arc::new(Script {
            answer: Box::new(answer),
            seen: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let shared = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.closing.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = shared.connections.fetch_add(1, Ordering::AcqRel);
                shared.open.fetch_add(1, Ordering::AcqRel);
                let script = shared.clone();
                std::thread::spawn(move || {
                    // The daemon may go away at any time; that is not the test's matter.
                    let _ = script.converse(&stream, number);
                    drop(stream);
                    script.open.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Receiver { address, script }
    }

    /// Answers 200 to all.
    pub fn ok() -> Receiver {
        Receiver::answering(|_| Answer::status(200))
    }

    /// Answers with these statuses, then with the last one for ever.
    pub fn statuses(statuses: &[u16]) -> Receiver {
        let statuses = statuses.to_vec();
        Receiver::answering(move |seen| {
            let last = statuses.len() - 1;
            Answer::status(statuses[seen.number.min(last)])
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were ever made.
    pub fn connections(&self) -> usize {
        self.script.connections.load(Ordering::Acquire)
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.script.open.load(Ordering::Acquire)
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().unwrap().clone()
    }

    /// Waits for `count` requests in all and gives all there are.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Seen> {
        self.wait_until(&format!("{count} requests"), |seen| seen.len() >= count)
    }

    /// Waits until the requests are such that `enough`, and gives them.
    #[track_caller]
    pub fn wait_until(&self, what: &str, enough: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.script.seen.lock().unwrap();
        while !enough(&seen) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let ids: Vec<_> = seen.iter().map(|seen| seen.values("webhook-id")).collect();
                panic!("waited for {what}; there are {}: {ids:?}", seen.len());
            }
            seen = self.script.changed.wait_timeout(seen, left).unwrap().0;
        }
        seen.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.script.closing.store(true, Ordering::Release);
        // Wakes the listening thread so that it sees this and frees the port.
        let _ = TcpStream::connect(self.address);
    }
}

impl Script {
    fn converse(&self, stream: &TcpStream, connection: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut read = BufReader::new(stream);
        while let Some(mut seen) = read_request(&mut read, connection)? {
            {
                let mut all = self.seen.lock().unwrap();
                seen.number = all.len();
                all.push(seen.clone());
                self.changed.notify_all();
            }
            if !play(stream, (self.answer)(&seen))? {
                break;
            }
        }
        Ok(())
    }
}

fn read_request(read: &mut impl BufRead, connection: usize) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if read.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next(), words.next());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if read.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    read.read_exact(&mut body)?;
    Ok(Some(Seen {
        number: 0,
        at: Instant::now(),
        time: SystemTime::now(),
        method: method.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body,
        connection,
    }))
}

/// Gives the answer. Whether the connection may go on.
fn play(mut stream: &TcpStream, answer: Answer) -> io::Result<bool> {
    match answer {
        Answer::Reply {
            status,
            headers,
            body,
        } => {
            let mut text = format!("HTTP/1.1 {status} X\r\n");
            for (name, value) in headers {
                text += &format!("{name}: {value}\r\n");
            }
            // These have no body, RFC 9110.
            if status >= 200 && status != 204 && status != 304 {
                text += &format!("content-length: {}\r\n", body.len());
            }
            let mut bytes = (text + "\r\n").into_bytes();
            bytes.extend(body);
            stream.write_all(&bytes)?;
            Ok(true)
        }
        Answer::Gated(gate, answer) => {
            if !gate.wait() {
                return Ok(false);
            }
            play(stream, *answer)
        }
        Answer::Raw(bytes) => {
            stream.write_all(&bytes)?;
            Ok(false)
        }
        Answer::Hang(bytes) => {
            stream.write_all(&bytes)?;
            // Until the daemon closes or says something more, which it must not.
            io::copy(&mut stream.take(1), &mut io::sink())?;
            Ok(false)
        }
        Answer::Endless {
            first,
            again,
            pause,
        } => {
            stream.write_all(&first)?;
            loop {
                stream.write_all(&again)?;
                std::thread::sleep(pause);
            }
        }
    }
}
