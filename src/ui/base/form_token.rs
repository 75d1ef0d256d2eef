//! The token in every form: a page of another origin cannot know it.
//!
//! It is a MAC of the cookie that the browser holds, so it needs no memory of its own, and one
//! browser's token is worth nothing with the cookie of another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// The name of the field.
pub const FIELD: &str = "form_token";

/// The key of this process.
#[derive(Debug)]
pub struct FormKey(hmac::Key);

impl FormKey {
    /// The key of these random bytes.
    pub fn new(random: [u8; 32]) -> FormKey {
        FormKey(hmac::Key::new(hmac::HMAC_SHA256, &random))
    }

    /// The token of forms for the holder of a cookie.
    pub fn token(&self, cookie: &str) -> String {
        let mac = hmac::sign(&self.0, cookie.as_bytes());
        URL_SAFE_NO_PAD.encode(mac.as_ref())
    }

    /// Whether a form with this token was made for the holder of the cookie.
    pub fn fits(&self, cookie: &str, token: &str) -> bool {
        let given = URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
        hmac::verify(&self.0, cookie.as_bytes(), &given).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_cookie_and_no_other() {
        let key = FormKey::new([1; 32]);
        let token = key.token("a");
        assert!(key.fits("a", &token));
        assert!(!key.fits("b", &token) && !key.fits("a", "") && !key.fits("a", "x"));
        assert!(!FormKey::new([2; 32]).fits("a", &token));
    }
}
