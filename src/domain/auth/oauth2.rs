//! OAuth 2.0 client credentials: where tokens come from, and how outboxd authenticates itself there
//! (RFC 6749, 2.3.1 and 4.4; RFC 7523, 2.2).

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use url::Url;

use super::fields::{BadAuth, Fields, MASK, object};
use crate::domain::http_url::parse_url;
use crate::domain::json::Json;
use crate::domain::nearest::nearest;

/// The keys of `auth` of this type.
pub const KEYS: [&str; 9] = [
    "type",
    "token_url",
    "client_id",
    "client_secret",
    "private_key",
    "key_id",
    "scope",
    "audience",
    "auth_method",
];
/// What `auth_method` may be.
pub const METHODS: [&str; 3] = [
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];
/// The longest private key in PEM, in bytes: twice what RSA with 4096 bits takes.
const MAX_KEY: usize = 8 * 1024;

/// The client credentials of an endpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuth2 {
    pub token_url: Url,
    pub client_id: Box<str>,
    pub client_auth: ClientAuth,
    pub scope: Option<Box<str>>,
    pub audience: Option<Box<str>>,
}

/// How the token server knows the client.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic`: in the `Authorization` header.
    Basic { secret: Box<str> },
    /// `client_secret_post`: in the body.
    Post { secret: Box<str> },
    /// `private_key_jwt`: by an assertion that the client signs.
    Assertion(AssertionKey),
}

/// A private key that signs assertions.
#[derive(Clone)]
pub struct AssertionKey {
    key: Arc<dyn SigningKey>,
    algorithm: Algorithm,
    /// The `kid` of the assertions.
    pub key_id: Option<Box<str>>,
    /// Of the key in PEM.
    digest: [u8; 32],
}

/// How an assertion is signed (RFC 7518, 3.1; RFC 8037, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Es256,
    Rs256,
    EdDsa,
}

impl Algorithm {
    /// As the head of an assertion names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Rs256 => "RS256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    fn scheme(self) -> SignatureScheme {
        match self {
            Algorithm::Es256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Algorithm::Rs256 => SignatureScheme::RSA_PKCS1_SHA256,
            Algorithm::EdDsa => SignatureScheme::ED25519,
        }
    }
}

impl OAuth2 {
    pub(super) fn read(fields: &Fields) -> Result<OAuth2, BadAuth> {
        fields.only(&KEYS)?;
        let token_url = parse_url(fields.filled("token_url")?)
            .map_err(|bad| fields.bad("token_url", &bad.to_string(), bad.fix()))?;
        let client_id = fields.filled("client_id")?;
        let client_auth = client_auth(fields)?;
        let scope = fields.optional("scope")?.filter(|scope| !scope.is_empty());
        if !scope.is_none_or(is_scope) {
            let problem = "this is not a list of scopes with single spaces between them";
            let fix = "write letters, digits and punctuation without \" and \\";
            return Err(fields.bad("scope", problem, fix));
        }
        let audience = fields.optional("audience")?.filter(|text| !text.is_empty());
        Ok(OAuth2 {
            token_url,
            client_id: client_id.into(),
            client_auth,
            scope: scope.map(Into::into),
            audience: audience.map(Into::into),
        })
    }

    pub(super) fn shown(&self) -> Json {
        let (method, is_assertion, key_id) = match &self.client_auth {
            ClientAuth::Basic { .. } => (METHODS[0], false, None),
            ClientAuth::Post { .. } => (METHODS[1], false, None),
            ClientAuth::Assertion(key) => (METHODS[2], true, key.key_id.as_deref()),
        };
        object([
            ("type", Some("oauth2")),
            ("token_url", Some(self.token_url.as_str())),
            ("client_id", Some(&self.client_id)),
            ("client_secret", (!is_assertion).then_some(MASK)),
            ("private_key", is_assertion.then_some(MASK)),
            ("key_id", key_id),
            ("scope", self.scope.as_deref()),
            ("audience", self.audience.as_deref()),
            ("auth_method", Some(method)),
        ])
    }

    /// Whether `text` holds the client's id or secret.
    pub fn is_told_by(&self, text: &str) -> bool {
        let secret = match &self.client_auth {
            ClientAuth::Basic { secret } | ClientAuth::Post { secret } => Some(secret),
            ClientAuth::Assertion(_) => None,
        };
        text.contains(&*self.client_id) || secret.is_some_and(|secret| text.contains(&**secret))
    }
}

impl fmt::Debug for OAuth2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OAuth2({})", self.shown())
    }
}

fn client_auth(fields: &Fields) -> Result<ClientAuth, BadAuth> {
    let method = fields.optional("auth_method")?.unwrap_or(METHODS[0]);
    let unused = |name: &str, fix: &str| match fields.has(name) {
        true => Err(fields.bad(name, &format!("{method} does not use this"), fix)),
        false => Ok(()),
    };
    match method {
        "client_secret_basic" | "client_secret_post" => {
            let fix = "remove it, or set auth_method to \"private_key_jwt\"";
            unused("private_key", fix)?;
            unused("key_id", fix)?;
            let secret = fields.filled("client_secret")?.into();
            Ok(match method {
                "client_secret_post" => ClientAuth::Post { secret },
                _ => ClientAuth::Basic { secret },
            })
        }
        "private_key_jwt" => {
            unused("client_secret", "remove it")?;
            let key = AssertionKey::read(fields)?;
            Ok(ClientAuth::Assertion(key))
        }
        other => {
            let known = format!("write one of {}", METHODS.join(", "));
            let fix = nearest(other, METHODS.into_iter())
                .map_or(known, |meant| format!("did you mean {meant:?}?"));
            Err(fields.bad("auth_method", "this method is unknown", &fix))
        }
    }
}

/// RFC 6749, 3.3.
fn is_scope(text: &str) -> bool {
    let is_token = |token: &str| {
        !token.is_empty()
            && token
                .bytes()
                .all(|c| c.is_ascii_graphic() && c != b'"' && c != b'\\')
    };
    text.split(' ').all(is_token)
}

impl AssertionKey {
    fn read(fields: &Fields) -> Result<AssertionKey, BadAuth> {
        let pem = fields.pem("private_key", MAX_KEY)?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let key = key.ok().and_then(|key| any_supported_type(&key).ok());
        let found = key.and_then(|key| {
            let algorithm = match key.algorithm() {
                SignatureAlgorithm::RSA => Algorithm::Rs256,
                SignatureAlgorithm::ECDSA => Algorithm::Es256,
                SignatureAlgorithm::ED25519 => Algorithm::EdDsa,
                _ => return None,
            };
            key.choose_scheme(&[algorithm.scheme()])?;
            Some((key, algorithm))
        });
        let Some((key, algorithm)) = found else {
            let problem = "this is not a private key in PEM that outboxd can sign with";
            let fix =
                "give one of RSA (2048 to 4096 bits), ECDSA on P-256, or Ed25519, not encrypted";
            return Err(fields.bad("private_key", problem, fix));
        };
        let key_id = fields.optional("key_id")?.filter(|text| !text.is_empty());
        Ok(AssertionKey {
            key,
            algorithm,
            key_id: key_id.map(Into::into),
            digest: Sha256::digest(pem).into(),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What signs with this key. `None` never happens: the key was asked when it was read.
    pub fn signer(&self) -> Option<Box<dyn Signer>> {
        self.key.choose_scheme(&[self.algorithm.scheme()])
    }
}

impl PartialEq for AssertionKey {
    fn eq(&self, other: &AssertionKey) -> bool {
        self.digest == other.digest && self.key_id == other.key_id
    }
}

impl Eq for AssertionKey {}
