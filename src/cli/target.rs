//! The address of the daemon, as options, variables and the configuration give it to commands.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use url::Url;

use super::Failure;

/// Where the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `authority` is `host:port`; `prefix` is the path before `/v1`, without a slash at
    /// its end.
    Tcp {
        authority: String,
        prefix: String,
    },
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp { authority, prefix } => write!(f, "http://{authority}{prefix}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Target {
    /// Reads `http://host[:port][/prefix]` or `unix:/path`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(Failure::Usage("unix: names no socket".into())),
                path => Ok(Target::Unix(path.into())),
            };
        }
        let fault = |why: &str| Failure::Usage(format!("the URL {text:?} {why}"));
        let url = Url::parse(text).map_err(|error| fault(&format!("cannot be read: {error}")))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err(fault(
                    "is https, which the client commands do not speak; \
                     use the daemon's own http:// address or --unix",
                ));
            }
            _ => return Err(fault("must begin with http:// or unix:")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fault("holds a user; tokens come from --token-file"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fault("must end with its path"));
        }
        let host = url.host_str().ok_or_else(|| fault("names no host"))?;
        Ok(Target::Tcp {
            authority: format!("{host}:{}", url.port().unwrap_or(80)),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl From<SocketAddr> for Target {
    /// A daemon that listens everywhere is reached on loopback.
    fn from(mut address: SocketAddr) -> Self {
        if address.ip().is_unspecified() {
            match &mut address {
                SocketAddr::V4(v4) => v4.set_ip(std::net::Ipv4Addr::LOCALHOST),
                SocketAddr::V6(v6) => v6.set_ip(std::net::Ipv6Addr::LOCALHOST),
            }
        }
        Target::Tcp {
            authority: address.to_string(),
            prefix: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(authority: &str, prefix: &str) -> Target {
        Target::Tcp {
            authority: authority.into(),
            prefix: prefix.into(),
        }
    }

    #[test]
    fn targets_are_read() {
        let parse = |text| Target::parse(text).unwrap();
        assert_eq!(parse("http://localhost:7717"), tcp("localhost:7717", ""));
        assert_eq!(parse("http://h/"), tcp("h:80", ""));
        assert_eq!(parse("http://[::1]:9/a/b/"), tcp("[::1]:9", "/a/b"));
        assert_eq!(
            parse("unix:/run/o.sock"),
            Target::Unix("/run/o.sock".into())
        );
        for bad in [
            "",
            "localhost:7717",
            "https://h",
            "http://u:p@h",
            "http://h/?q",
            "unix:",
        ] {
            assert!(
                matches!(Target::parse(bad), Err(Failure::Usage(_))),
                "{bad}"
            );
        }
    }
}
