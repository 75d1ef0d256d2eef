// rustc -O receiver.rs && PORT=8000 WEBHOOK_SECRET=whsec_… DONE_FILE=done.txt ./receiver
//
// The standard library has no HMAC: an application takes the crates `hmac`, `sha2`, `base64` and
// `subtle` instead of the functions at the end.
use std::collections::{HashMap, HashSet};
use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

const TOLERANCE: u64 = 300; // seconds
const LARGEST_BODY: usize = 2 << 20;

type Headers = HashMap<String, String>;

/// Whether one of the signatures is ours, and of the last five minutes.
fn is_genuine(key: &[u8], headers: &Headers, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let is_recent = |at: u64| now.abs_diff(at) <= TOLERANCE;
    if !timestamp.parse().is_ok_and(is_recent) {
        return false;
    }
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    let expected = format!("v1,{}", base64(&hmac_sha256(key, &signed)));
    // Several while a secret is rotated; each is compared in constant time.
    let candidates = header("webhook-signature").split(' ');
    candidates.into_iter().any(|candidate| is_equal(candidate.as_bytes(), expected.as_bytes()))
}

fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |all, (a, b)| std::hint::black_box(all | (a ^ b)));
    one.len() == other.len() && differences == 0
}

struct Done {
    file: File,
    ids: HashSet<String>,
}

fn do_once(done: &Mutex<Done>, id: &str, _body: &[u8]) -> io::Result<()> {
    // With a database: insert the id into a table with a unique key, in the transaction that does
    // the work. Here a file has the ids.
    let mut done = done.lock().map_err(|_| io::Error::other("a thread panicked"))?;
    if !done.ids.contains(id) {
        // YOUR WORK with the body, in the same transaction.
        done.file.write_all(format!("{id}\n").as_bytes())?;
        done.file.sync_data()?;
        done.ids.insert(id.to_owned());
    }
    Ok(())
}

/// In an application the web framework does this; take the raw body from it.
fn receive(stream: &TcpStream, key: &[u8], done: &Mutex<Done>) -> io::Result<u16> {
    let mut reader = BufReader::new(stream);
    let mut headers = Headers::new();
    let mut line = String::new();
    reader.by_ref().take(8192).read_line(&mut line)?;
    if !line.starts_with("POST ") {
        return Ok(405);
    }
    loop {
        line.clear();
        reader.by_ref().take(8192).read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    if length > LARGEST_BODY {
        return Ok(413);
    }
    let mut body = vec![0; length]; // the bytes as they came; parse them afterwards
    reader.read_exact(&mut body)?;
    if !is_genuine(key, &headers, &body) {
        return Ok(401);
    }
    do_once(done, &headers["webhook-id"], &body)?;
    Ok(204) // only now: outboxd sends it again until it gets a 2xx
}

fn main() -> io::Result<()> {
    let variable = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let secret = variable("WEBHOOK_SECRET")?;
    let key = from_base64(secret.strip_prefix("whsec_").unwrap_or(&secret))
        .ok_or_else(|| io::Error::other("WEBHOOK_SECRET is not base64"))?;
    let path = variable("DONE_FILE")?;
    let file = File::options().append(true).create(true).open(&path)?;
    let ids = fs::read_to_string(&path)?.lines().map(str::to_owned).collect();
    let done = Mutex::new(Done { file, ids });
    let listener = TcpListener::bind(format!("127.0.0.1:{}", variable("PORT")?))?;
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let (key, done) = (&key, &done);
            scope.spawn(move || {
                let status = receive(&stream, key, done).unwrap_or(500);
                let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = (&stream).write_all(answer.as_bytes());
            });
        }
    });
    Ok(())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let bits = piece.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= piece.len() { digit as char } else { '=' });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | ALPHABET.iter().position(|known| *known == digit)? as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

/// RFC 2104.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&sha256(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = sha256(&[&block.map(|byte| byte ^ 0x36)[..], message].concat());
    sha256(&[&block.map(|byte| byte ^ 0x5c)[..], &inner].concat())
}

/// FIPS 180-4.
fn sha256(message: &[u8]) -> [u8; 32] {
    // The fractional parts of the square and cube roots of the first primes.
    let primes: Vec<u64> = (2..312).filter(|n| (2..*n).all(|d| n % d != 0)).collect();
    let fraction = |prime: u64, power: u32| {
        // The largest `root` with root^power <= prime << (32 * power), by bisection.
        let (mut low, mut high) = (0_u128, 1 << 36);
        while high - low > 1 {
            let middle = (low + high) / 2;
            match middle.pow(power) <= u128::from(prime) << (32 * power) {
                true => low = middle,
                false => high = middle,
            }
        }
        low as u32
    };
    let mut state: Vec<u32> = primes[..8].iter().map(|prime| fraction(*prime, 2)).collect();
    let constants: Vec<u32> = primes[..64].iter().map(|prime| fraction(*prime, 3)).collect();

    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words: Vec<u32> =
            block.chunks_exact(4).map(|word| word.iter().fold(0, |all, byte| all << 8 | u32::from(*byte))).collect();
        for at in 16..64 {
            let (a, b) = (words[at - 15], words[at - 2]);
            let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
            let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
            words.push(words[at - 16].wrapping_add(s0).wrapping_add(words[at - 7]).wrapping_add(s1));
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = state[..] else {
            unreachable!("the state has eight words");
        };
        for at in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = e & f ^ !e & g;
            let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(constants[at]).wrapping_add(words[at]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = a & b ^ a & c ^ b & c;
            let t2 = s0.wrapping_add(majority);
            (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        }
        for (sum, word) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *sum = sum.wrapping_add(word);
        }
    }
    let mut digest = [0; 32];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(&state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
