//! The URLs that requests go to: an endpoint's, a token server's, a proxy's.
//!
//! Stricter than the URL standard, which repairs what a person mistyped. Which addresses may be
//! dialled is judged at each attempt, not here. No fault repeats a URL: it often holds a secret.

use url::{ParseError, Url};

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
}
