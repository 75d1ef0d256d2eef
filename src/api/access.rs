//! Authorisation: bearer tokens and their scopes (RFC 6750).
//!
//! On the Unix socket the permissions of the file decide, and no token is required. Over TCP
//! every request must name a host of this daemon and, if tokens are configured, present one.
//! Neither a token nor anything derived from it is ever logged.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap};
use http::{Method, Request};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio::sync::watch;

use super::hosts::Hosts;
use super::problem::{Kind, Problem};
use crate::config::{Auth, Scope, Token};

/// The listener that a client connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP, with the local address if the system reports it.
    Tcp(Option<IpAddr>),
    Unix,
}

/// How a connection came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub peer: Peer,
    /// The address of the peer; `None` on a Unix socket, or if the system does not report it.
    pub remote: Option<IpAddr>,
}

/// What a path requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    /// A token of either scope.
    AnyToken,
    Admin,
}

/// Whether the request posts events.
pub(super) fn hands_in(method: &Method, path: &str) -> bool {
    let Some(below) = path.strip_prefix("/v1/events") else {
        return false;
    };
    let name = below.strip_prefix('/');
    method == Method::POST && (below.is_empty() || name.is_some_and(|name| !name.contains('/')))
}

impl Asks {
    fn of(method: &Method, path: &str) -> Asks {
        match path {
            "/healthz" | "/readyz" | "/openapi.json" => Asks::Nothing,
            "/metrics" => Asks::AnyToken,
            _ if hands_in(method, path) => Asks::AnyToken,
            _ => Asks::Admin,
        }
    }
}

/// The caller, as the log names them.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A client of the Unix socket: its file permissions decide.
    Socket,
    /// A client of a listener that requires no token.
    Open(Lease),
    /// A client with this token.
    Token(Arc<Known>, Lease),
}

impl Caller {
    pub fn as_str(&self) -> &str {
        match self {
            Caller::Socket => "unix socket",
            Caller::Open(_) => "open",
            Caller::Token(known, _) => &known.token.name,
        }
    }

    /// Waits until the rule that admitted this caller is no longer in force.
    pub async fn refused(self) {
        match self {
            Caller::Socket => std::future::pending().await,
            Caller::Open(lease) | Caller::Token(_, lease) => lease.ended().await,
        }
    }
}

/// Ends with the rule that let a caller in.
#[derive(Clone, Debug)]
pub struct Lease(watch::Receiver<()>);

impl Lease {
    async fn ended(mut self) {
        // A message, or the end of the sender: the rule has been removed.
        let _ = self.0.changed().await;
    }
}

/// A token that is known.
#[derive(Debug)]
pub struct Known {
    token: Token,
    /// Notifies the holders of leases when the token is removed.
    leases: watch::Sender<()>,
}

impl Known {
    fn new(token: &Token) -> Arc<Known> {
        Arc::new(Known {
            token: token.clone(),
            leases: watch::Sender::default(),
        })
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct Access {
    tokens: Vec<Arc<Known>>,
    /// The rule for callers who need no token.
    open: Arc<watch::Sender<()>>,
    hosts: Hosts,
}

impl Access {
    /// `hosts`: those of `listen.hosts`.
    pub fn new(auth: &Auth, hosts: &[String]) -> Self {
        Access {
            tokens: auth.tokens.iter().map(Known::new).collect(),
            open: Arc::default(),
            hosts: Hosts::new(hosts),
        }
    }

    /// The rules that replace these. Leases of callers that both admit in the same way stay valid; all
    /// others end now.
    pub fn replaced(&self, auth: &Auth, hosts: &[String]) -> Self {
        let kept = |token: &Token| {
            let mut known = self.tokens.iter();
            known.find(|known| known.token == *token).cloned()
        };
        let tokens = auth.tokens.iter();
        let tokens: Vec<_> = tokens
            .map(|token| kept(token).unwrap_or_else(|| Known::new(token)))
            .collect();
        let is_gone = |known: &&Arc<Known>| !tokens.iter().any(|kept| Arc::ptr_eq(kept, known));
        for gone in self.tokens.iter().filter(is_gone) {
            gone.leases.send_replace(());
        }
        let open = match tokens.is_empty() {
            true => self.open.clone(),
            false => {
                self.open.send_replace(());
                Arc::default()
            }
        };
        Access {
            tokens,
            open,
            hosts: Hosts::new(hosts),
        }
    }

    /// The caller, if the request is allowed.
    ///
    /// # Errors
    /// 400 and 403 about the host, 401 without a valid token, 403 if the token's scope is too
    /// small.
    pub fn judge<B>(&self, peer: Peer, request: &Request<B>) -> Result<Caller, Problem> {
        let Peer::Tcp(arrived_at) = peer else {
            return Ok(Caller::Socket);
        };
        self.hosts.judge(request, arrived_at)?;
        let asks = Asks::of(request.method(), request.uri().path());
        if self.tokens.is_empty() || asks == Asks::Nothing {
            return Ok(Caller::Open(Lease(self.open.subscribe())));
        }
        let token = bearer(request.headers())?;
        if asks == Asks::Admin {
            return self.admin(token);
        }
        let known = self.known(token);
        let known = known.ok_or_else(|| unauthorized("the token is not one that is known here"))?;
        let lease = Lease(known.leases.subscribe());
        Ok(Caller::Token(known.clone(), lease))
    }

    /// The caller that every client over TCP is; `None` if a token is required.
    pub fn open(&self) -> Option<Caller> {
        let is_open = self.tokens.is_empty();
        is_open.then(|| Caller::Open(Lease(self.open.subscribe())))
    }

    /// Judges whom a request that came over TCP says it is for, and which page it says it comes
    /// from.
    ///
    /// # Errors
    /// 400 and 403, as [`judge`](Self::judge).
    pub fn judge_host<B>(&self, peer: Peer, request: &Request<B>) -> Result<(), Problem> {
        match peer {
            Peer::Tcp(arrived_at) => self.hosts.judge(request, arrived_at),
            Peer::Unix => Ok(()),
        }
    }

    /// The caller with this token.
    ///
    /// # Errors
    /// 401 if it is not one that is known here, 403 if its scope is not `admin`.
    pub fn admin(&self, token: &str) -> Result<Caller, Problem> {
        let known = self.known(token);
        let known = known.ok_or_else(|| unauthorized("the token is not one that is known here"))?;
        if known.token.scope == Scope::Ingest {
            return Err(Problem::new(
                Kind::Forbidden,
                "this takes a token of scope admin; the one given only posts events",
            ));
        }
        let lease = Lease(known.leases.subscribe());
        Ok(Caller::Token(known.clone(), lease))
    }

    /// Whether a caller who was admitted before would be admitted by these rules.
    pub fn still_admits(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Socket => true,
            Caller::Open(_) => self.tokens.is_empty(),
            Caller::Token(known, _) => self.tokens.iter().any(|one| Arc::ptr_eq(one, known)),
        }
    }

    /// The configured token that equals this one. Takes the same time whichever token it is, and
    /// however much of it is correct: all digests are compared, and all have the same length.
    fn known(&self, token: &str) -> Option<&Arc<Known>> {
        let given: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // This index is past the list: no token is equal.
        let mut at = u64::MAX;
        for (n, known) in (0u64..).zip(&self.tokens) {
            let same = known.token.sha256.ct_eq(&given);
            at = u64::conditional_select(&at, &n, same);
        }
        self.tokens.get(usize::try_from(at).ok()?)
    }
}

fn unauthorized(detail: &'static str) -> Problem {
    Problem::new(Kind::Unauthorized, detail)
}

/// The token of the one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or(""),
        (None, _) => {
            return Err(unauthorized(
                "a token is asked for here: Authorization: Bearer TOKEN",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(unauthorized("there is more than one Authorization header"));
        }
    };
    match value.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(unauthorized("the Authorization header is not Bearer TOKEN")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let token = |name: &str, text: &str, scope| Token {
            name: name.to_owned(),
            scope,
            sha256: Sha256::digest(text.as_bytes()).into(),
        };
        let auth = Auth {
            tokens: vec![
                token("app", "in-1", Scope::Ingest),
                token("ops", "admin-1", Scope::Admin),
                token("more", "in-2", Scope::Ingest),
            ],
        };
        Access::new(&auth, &[])
    }

    fn request(method: &str, path: &str, authorization: &[&str]) -> Request<()> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        for value in authorization {
            request = request.header("authorization", *value);
        }
        request.body(()).unwrap()
    }

    fn status(method: &str, path: &str, authorization: &[&str]) -> u16 {
        let request = request(method, path, authorization);
        match access().judge(Peer::Tcp(None), &request) {
            Ok(_) => 200,
            Err(Problem {
                kind: Kind::Unauthorized,
                ..
            }) => 401,
            Err(Problem {
                kind: Kind::Forbidden,
                ..
            }) => 403,
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_path_requires_its_scope() {
        let cases = [
            ("GET", "/healthz", [200, 200, 200]),
            ("GET", "/readyz", [200, 200, 200]),
            ("GET", "/metrics", [401, 200, 200]),
            ("POST", "/v1/events", [401, 200, 200]),
            ("POST", "/v1/events/order.created", [401, 200, 200]),
            ("POST", "/v1/events/", [401, 200, 200]),
            ("GET", "/v1/events", [401, 403, 200]),
            ("GET", "/v1/events/evt_1", [401, 403, 200]),
            ("DELETE", "/v1/events/evt_1", [401, 403, 200]),
            ("OPTIONS", "/v1/events", [401, 403, 200]),
            (
                "POST",
                "/v1/events/evt_1/deliveries/a/retry",
                [401, 403, 200],
            ),
            ("POST", "/v1/eventsx", [401, 403, 200]),
            ("POST", "/v1/events//", [401, 403, 200]),
            ("POST", "/v1/endpoints", [401, 403, 200]),
            ("GET", "/v1/status", [401, 403, 200]),
            ("GET", "/metrics/", [401, 403, 200]),
            ("GET", "/nowhere", [401, 403, 200]),
        ];
        for (method, path, expected) in cases {
            let with = |token: &[&str]| status(method, path, token);
            let found = [with(&[]), with(&["Bearer in-2"]), with(&["Bearer admin-1"])];
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    #[test]
    fn a_token_is_read_from_the_header_of_rfc_6750() {
        for good in ["Bearer admin-1", "bearer admin-1", "BEARER   admin-1 "] {
            assert_eq!(status("GET", "/v1/status", &[good]), 200, "{good}");
        }
        for bad in [
            "",
            "admin-1",
            "Basic admin-1",
            "Bearer",
            "Bearer ",
            "Bearer admin-",
            "Bearer admin-11",
            "Bearer ADMIN-1",
            "Bearer admin-1 x",
            "Beareradmin-1",
            "Bearer \u{e4}",
        ] {
            assert_eq!(status("GET", "/v1/status", &[bad]), 401, "{bad}");
        }
        let twice = ["Bearer admin-1", "Bearer admin-1"];
        assert_eq!(status("GET", "/v1/status", &twice), 401);
    }

    #[test]
    fn no_token_is_required_on_the_socket_or_if_none_is_configured() {
        let request = request("GET", "/v1/status", &["Bearer wrong"]);
        let caller = access().judge(Peer::Unix, &request).unwrap();
        assert_eq!(caller.as_str(), "unix socket");
        let open = Access::new(&Auth::default(), &[]);
        let caller = open.judge(Peer::Tcp(None), &request).unwrap();
        assert_eq!(caller.as_str(), "open");
    }

    #[test]
    fn a_token_is_identified_by_its_name() {
        for (token, name) in [("in-1", "app"), ("admin-1", "ops"), ("in-2", "more")] {
            let token = format!("Bearer {token}");
            let request = request("POST", "/v1/events", &[&token]);
            let caller = access().judge(Peer::Tcp(None), &request).unwrap();
            assert_eq!(caller.as_str(), name);
        }
    }

    #[test]
    fn the_host_is_checked_even_with_a_token() {
        let mut request = request("GET", "/healthz", &["Bearer admin-1"]);
        request
            .headers_mut()
            .insert("host", "evil.example".parse().unwrap());
        let refused = access().judge(Peer::Tcp(None), &request).unwrap_err();
        assert_eq!(refused.kind, Kind::HostRefused);
        assert!(access().judge(Peer::Unix, &request).is_ok());
    }
}
