//! What an endpoint may ask of its requests: the URL they go to, and static headers.
//!
//! The same rules hold for the operator's endpoints and for those made by the API.
//! Which addresses may be dialled is judged at each attempt, not here. Nothing here
//! repeats a URL or a header's value in a fault: both often hold a secret.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use url::{ParseError, Url};

/// The most static headers of one endpoint.
pub const MAX_HEADERS: usize = 64;
/// The longest value of a static header, in bytes.
pub const MAX_HEADER_VALUE: usize = 8 * 1024;
/// The longest URL, in bytes.
pub const MAX_URL: usize = 8 * 1024;

/// Why a URL cannot be an endpoint's or a proxy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("this is not an absolute URL")]
    Syntax,
    #[error(
        "the URL holds a space or another character that has to be written as %20 and the like"
    )]
    Space,
    #[error("the URL holds a backslash")]
    Backslash,
    #[error("the URL's host is not a name or an IP address")]
    Host,
    #[error("the URL's scheme is neither https nor http")]
    Scheme,
    #[error("the URL holds a user name or password")]
    UserInfo,
    #[error("the URL has a fragment, which is never sent")]
    Fragment,
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    #[error("the URL is longer than {MAX_URL} bytes")]
    Length,
    #[error("a proxy's URL has no path and no query")]
    ProxyPath,
}

impl BadUrl {
    /// What to write instead.
    pub fn fix(self) -> &'static str {
        match self {
            BadUrl::Syntax | BadUrl::Length => "write one such as \"https://example.com/hook\"",
            BadUrl::Space => "percent-encode it (a space is %20), or remove it",
            BadUrl::Backslash => "write / instead, or %5C if it is meant",
            BadUrl::Host => {
                "write the host as in \"https://example.com/hook\"; an IPv6 address stands in [brackets]"
            }
            BadUrl::Scheme => "begin it with https:// (or http://)",
            BadUrl::UserInfo => {
                "take it out of the URL; a receiver's credentials go into an \"authorization\" header"
            }
            BadUrl::Fragment => "remove everything from # on",
            BadUrl::Port => "write a port from 1 to 65535, or none",
            BadUrl::ProxyPath => {
                "write scheme, host and port only, such as \"http://proxy.example:3128\""
            }
        }
    }
}

/// Reads the URL of an endpoint: absolute, http or https, without user info and fragment.
pub fn parse_url(text: &str) -> Result<Url, BadUrl> {
    if text.len() > MAX_URL {
        return Err(BadUrl::Length);
    }
    // The URL standard would silently drop these.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(BadUrl::Space);
    }
    let url = Url::parse(text).map_err(|error| match error {
        ParseError::InvalidPort => BadUrl::Port,
        ParseError::EmptyHost
        | ParseError::IdnaError
        | ParseError::InvalidDomainCharacter
        | ParseError::InvalidIpv4Address
        | ParseError::InvalidIpv6Address => BadUrl::Host,
        _ => BadUrl::Syntax,
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BadUrl::Scheme);
    }
    // The WHATWG parser would repair what RFC 3986 refuses, and drop empty user info.
    let Some((_, rest)) = text.split_once("://") else {
        return Err(BadUrl::Syntax);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if text.contains('\\') {
        return Err(BadUrl::Backslash);
    }
    if authority.is_empty() {
        return Err(BadUrl::Host);
    }
    if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
        return Err(BadUrl::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(BadUrl::Fragment);
    }
    match url.port() {
        Some(0) => Err(BadUrl::Port),
        _ => Ok(url),
    }
}

/// Reads the URL of an HTTP proxy: as an endpoint's, but scheme, host and port alone.
pub fn parse_proxy(text: &str) -> Result<Url, BadUrl> {
    let url = parse_url(text)?;
    match (url.path(), url.query()) {
        ("" | "/", None) => Ok(url),
        _ => Err(BadUrl::ProxyPath),
    }
}

/// Why a static header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("this is not a header name")]
    Name,
    #[error("outboxd sets this header itself")]
    Reserved,
    #[error("the header's value is not visible ASCII, or begins or ends with a space")]
    Value,
    #[error("the header's value is longer than {MAX_HEADER_VALUE} bytes")]
    Length,
    #[error("this header is there twice; names are the same in upper and lower case")]
    Twice,
    #[error("there are more than {MAX_HEADERS} headers")]
    TooMany,
}

impl BadHeader {
    /// What to write instead.
    pub fn fix(self) -> &'static str {
        match self {
            BadHeader::Name => "write letters, digits and hyphens, such as \"x-team\"",
            BadHeader::Reserved | BadHeader::Twice => "remove it",
            BadHeader::Value => "write letters, digits, punctuation and single spaces between",
            BadHeader::Length | BadHeader::TooMany => "shorten it",
        }
    }
}

/// Set by outboxd, or about the connection and so not the operator's to set.
const RESERVED: [&str; 18] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// Adds a static header to those that an endpoint has. The value is marked sensitive, so
/// that `Debug` does not show it.
pub fn add_header(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), BadHeader> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadHeader::Name)?;
    let ours = ["webhook-", "outboxd-"];
    if RESERVED.contains(&name.as_str()) || ours.iter().any(|p| name.as_str().starts_with(p)) {
        return Err(BadHeader::Reserved);
    }
    if value.len() > MAX_HEADER_VALUE {
        return Err(BadHeader::Length);
    }
    if value.trim() != value || !value.is_ascii() {
        return Err(BadHeader::Value);
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| BadHeader::Value)?;
    value.set_sensitive(true);
    if headers.contains_key(&name) {
        return Err(BadHeader::Twice);
    }
    if headers.len() >= MAX_HEADERS {
        return Err(BadHeader::TooMany);
    }
    // Far below what a map can hold.
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_the_rules() {
        for good in [
            "https://example.com/hook",
            "http://127.0.0.1:9000",
            "https://[2001:db8::1]/a?b=c",
            "HTTPS://EXAMPLE.com",
        ] {
            assert!(parse_url(good).is_ok(), "{good}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        for (bad, why) in [
            ("", BadUrl::Syntax),
            ("example.com/hook", BadUrl::Syntax),
            ("https://", BadUrl::Host),
            (" https://example.com", BadUrl::Space),
            ("https://example.com/a b", BadUrl::Space),
            ("https://exam\nple.com", BadUrl::Space),
            ("ftp://example.com", BadUrl::Scheme),
            ("localhost:9000", BadUrl::Scheme),
            ("https://user@example.com", BadUrl::UserInfo),
            ("https://@example.com", BadUrl::UserInfo),
            ("https://:@example.com/", BadUrl::UserInfo),
            ("https:example.com", BadUrl::Syntax),
            ("https:\\\\example.com\\a", BadUrl::Syntax),
            ("https://example.com\\a", BadUrl::Backslash),
            ("https:///example.com", BadUrl::Host),
            ("https://:pass@example.com", BadUrl::UserInfo),
            ("https://example.com/#a", BadUrl::Fragment),
            ("https://example.com:0/", BadUrl::Port),
            ("https://example.com:99999/", BadUrl::Port),
            ("https://example.com:80a/", BadUrl::Port),
            ("https://exa<mple.com/", BadUrl::Host),
            ("https://[::1/", BadUrl::Host),
            ("https://1.2.3.256/", BadUrl::Host),
            (&long, BadUrl::Length),
        ] {
            assert_eq!(parse_url(bad), Err(why), "{bad}");
        }
        assert!(parse_proxy("http://proxy.example:3128").is_ok());
        assert_eq!(
            parse_proxy("http://proxy.example/x"),
            Err(BadUrl::ProxyPath)
        );
        assert_eq!(
            parse_proxy("socks5://proxy.example:1080"),
            Err(BadUrl::Scheme)
        );
    }

    #[test]
    fn headers_keep_the_rules_and_hide_their_values() {
        let mut headers = HeaderMap::new();
        for (name, value, why) in [
            ("webhook-id", "1", BadHeader::Reserved),
            ("Webhook-Anything", "1", BadHeader::Reserved),
            ("outboxd-event-type", "1", BadHeader::Reserved),
            ("Host", "h", BadHeader::Reserved),
            ("Content-Length", "1", BadHeader::Reserved),
            ("Transfer-Encoding", "chunked", BadHeader::Reserved),
            ("User-Agent", "me", BadHeader::Reserved),
            ("a b", "1", BadHeader::Name),
            ("", "1", BadHeader::Name),
            ("x-team", "a\r\nb: c", BadHeader::Value),
            ("x-team", "ü", BadHeader::Value),
            ("x-team", " a", BadHeader::Value),
        ] {
            assert_eq!(add_header(&mut headers, name, value), Err(why), "{name}");
        }
        assert_eq!(
            add_header(&mut headers, "Authorization", "Bearer s3cret"),
            Ok(())
        );
        assert_eq!(
            add_header(&mut headers, "AUTHORIZATION", "x"),
            Err(BadHeader::Twice)
        );
        assert!(!format!("{headers:?}").contains("s3cret"));
        for n in 1..MAX_HEADERS {
            assert_eq!(add_header(&mut headers, &format!("x-{n}"), ""), Ok(()));
        }
        assert_eq!(
            add_header(&mut headers, "x-more", ""),
            Err(BadHeader::TooMany)
        );
    }
}
