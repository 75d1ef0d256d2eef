//! Parsers for single values of the file: each is a closure for `Section::take` or `each`.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::fault::quoted;
use super::files;
use super::reader::{Flaw, Value, nearest};
use super::units::{
    MAX_DURATION, parse_duration, parse_rate, parse_size, show_duration, show_size,
};
use crate::domain::endpoint::{Rate, TypePattern};
use crate::domain::http_url::{BadUrl, parse_url};
use crate::domain::name::is_plain;

/// How long the path of a Unix socket may be, in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Any duration up to the longest.
pub(super) const ANY_DURATION: RangeInclusive<Duration> = Duration::ZERO..=MAX_DURATION;
/// Any but 0.
pub(super) const SOME_DURATION: RangeInclusive<Duration> = Duration::from_millis(1)..=MAX_DURATION;

pub(super) fn duration(
    bounds: RangeInclusive<Duration>,
) -> impl Fn(&Value<'_>) -> Result<Duration, Flaw> {
    move |value| {
        let fix = "write it in quotes and with its unit, such as \"5s\"";
        let text = value.text_of("a duration is a string", fix)?;
        let span = parse_duration(text)?;
        within(span, &bounds, text, MAX_DURATION, show_duration)
    }
}

pub(super) fn size(bounds: RangeInclusive<u64>) -> impl Fn(&Value<'_>) -> Result<u64, Flaw> {
    move |value| {
        let fix = "write it in quotes and with its unit, such as \"64KiB\"";
        let text = value.text_of("a size is a string", fix)?;
        let bytes = parse_size(text)?;
        within(bytes, &bounds, text, u64::MAX, show_size)
    }
}

fn within<T: PartialOrd + Copy>(
    value: T,
    bounds: &RangeInclusive<T>,
    text: &str,
    most: T,
    show: fn(T) -> String,
) -> Result<T, Flaw> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let (least, limit) = (show(*bounds.start()), show(*bounds.end()));
    let side = if value < *bounds.start() {
        "too small"
    } else {
        "too large"
    };
    let fix = if *bounds.end() < most {
        format!("write {least:?} to {limit:?}")
    } else {
        format!("write at least {least:?}")
    };
    Err(Flaw::new(format!("{} is {side}", quoted(text)), fix))
}

pub(super) fn count(bounds: RangeInclusive<usize>) -> impl Fn(&Value<'_>) -> Result<usize, Flaw> {
    move |value| {
        let number = value.integer()?;
        let given = usize::try_from(number)
            .ok()
            .filter(|given| bounds.contains(given));
        given.ok_or_else(|| {
            let fix = format!("write {} to {}", bounds.start(), bounds.end());
            Flaw::new(format!("{number} is out of bounds"), fix)
        })
    }
}

/// A rate; `""` is none.
pub(super) fn rate(value: &Value<'_>) -> Result<Option<Rate>, Flaw> {
    let fix = "write it in quotes and with its unit, such as \"50/s\"";
    match value.text_of("a rate is a string", fix)? {
        "" => Ok(None),
        text => Ok(Some(parse_rate(text)?)),
    }
}

/// `""` is `None`, anything else is for `parse`.
pub(super) fn unless_empty<T>(
    parse: impl Fn(&Value<'_>) -> Result<T, Flaw>,
) -> impl Fn(&Value<'_>) -> Result<Option<T>, Flaw> {
    move |value| match value.text() {
        Ok("") => Ok(None),
        _ => parse(value).map(Some),
    }
}

/// A name of 1 to 64 of `A-Z a-z 0-9 _ -`.
pub(super) fn plain_name(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    if is_plain(text, 64) {
        return Ok(text.to_owned());
    }
    let problem = format!("{} is not a name", quoted(text));
    Err(Flaw::new(problem, "write 1 to 64 of A-Z a-z 0-9 _ -"))
}

pub(super) fn path(value: &Value<'_>) -> Result<PathBuf, Flaw> {
    match value.text()? {
        "" => Err(Flaw::new(
            "this path is empty",
            "write a path, or leave out the key",
        )),
        text => files::file_name(text).map(PathBuf::from),
    }
}

pub(super) fn socket_path(value: &Value<'_>) -> Result<PathBuf, Flaw> {
    let path = path(value)?;
    check_socket_path(&path)?;
    Ok(path)
}

pub(super) fn check_socket_path(path: &Path) -> Result<(), Flaw> {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let problem = format!("a socket's path has at most {MAX_SOCKET_PATH} bytes");
        return Err(Flaw::new(problem, "write a shorter path"));
    }
    Ok(())
}

pub(super) fn socket_mode(value: &Value<'_>) -> Result<u32, Flaw> {
    let fix = "write permission bits in octal and in quotes, such as \"0660\"";
    let text = value.text_of("a mode is a string", fix)?;
    let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(Flaw::new(
            format!("{} is not a mode from 0 to 0777", quoted(text)),
            fix,
        )),
    }
}

pub(super) fn listen_address(value: &Value<'_>) -> Result<SocketAddr, Flaw> {
    let text = value.text()?;
    text.parse().map_err(|_| {
        let problem = format!("{} is not an IP address and a port", quoted(text));
        let fix = "write one such as \"127.0.0.1:7717\" or \"[::1]:7717\", or \"\" for none";
        Flaw::new(problem, fix)
    })
}

/// How others reach the public listener: as it is written, without slashes at its end, since
/// some providers sign the URL's text.
pub(super) fn public_url(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let url = parse_url(text).map_err(|bad| {
        let fix = match bad {
            BadUrl::Syntax | BadUrl::Length => "write one such as \"https://hooks.example.com\"",
            BadUrl::UserInfo => "take it out: callers are told by their signatures",
            _ => bad.fix(),
        };
        Flaw::new(bad.to_string(), fix)
    })?;
    if url.query().is_some() {
        let fix = "remove everything from ? on";
        return Err(Flaw::new("the URL has a query", fix));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// A name or address that a `Host` header may hold, in lower case and without a port.
pub(super) fn host(value: &Value<'_>) -> Result<String, Flaw> {
    let text = value.text()?;
    let fix = "write the bare name, such as \"outbox.internal\", without scheme, port and path";
    let bare = text.parse::<IpAddr>().is_ok();
    match url::Host::parse(text) {
        Ok(host) if !text.contains('*') => Ok(host.to_string()),
        _ if bare => Ok(format!("[{}]", text.to_lowercase())),
        _ => Err(Flaw::new(
            format!("{} is not a host name", quoted(text)),
            fix,
        )),
    }
}

/// A network; bits past its prefix are cut off.
pub(super) fn network(value: &Value<'_>) -> Result<IpNet, Flaw> {
    let text = value.text()?;
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    let (problem, fix) = match text.parse::<IpAddr>() {
        Ok(address) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            (
                "lacks its prefix length",
                format!("write \"{address}/{bits}\" for this one address"),
            )
        }
        Err(_) => (
            "is not a network",
            "write one such as \"10.0.0.0/8\" or \"fd00::/8\"".to_owned(),
        ),
    };
    Err(Flaw::new(format!("{} {problem}", quoted(text)), fix))
}

pub(super) fn type_pattern(value: &Value<'_>) -> Result<TypePattern, Flaw> {
    let text = value.text()?;
    TypePattern::parse(text).map_err(|bad| {
        let fix = "write such as \"order.created\", \"order.*\" or \"*\"";
        Flaw::new(format!("{} is not a pattern: {bad}", quoted(text)), fix)
    })
}

/// A level, or filters as `RUST_LOG` has them.
pub(super) fn log_level(value: &Value<'_>) -> Result<String, Flaw> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let text = value.text()?.trim();
    let flawed = |fix: String| Err(Flaw::new(format!("{} is not a level", quoted(text)), fix));
    let level = text.to_lowercase();
    if LEVELS.contains(&level.as_str()) {
        return Ok(level);
    }
    // A lone word would be taken for the name of a module, and everything else be silent.
    if !text.contains(['=', ',']) {
        return flawed(match nearest(text, LEVELS.into_iter()) {
            Some(level) => format!("did you mean {level:?}?"),
            None => format!("write one of {}, or a filter", LEVELS.join(", ")),
        });
    }
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => flawed("write filters such as \"info,outboxd=debug\"".to_owned()),
    }
}
