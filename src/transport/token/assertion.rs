//! Assertions by which a client authenticates itself (RFC 7523, 3; RFC 7515, 3).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::auth::{Algorithm, AssertionKey, OAuth2};
use crate::domain::json::write_string;
use crate::domain::time::Timestamp;

/// For how long an assertion is good. It is used at once.
const LIFETIME: Duration = Duration::from_secs(120);

/// An assertion for the token server. `None` if the key does not sign.
pub(super) fn sign(
    oauth2: &OAuth2,
    key: &AssertionKey,
    now: Timestamp,
    random: u128,
) -> Option<String> {
    let mut head = format!(r#"{{"alg":"{}","typ":"JWT""#, key.algorithm().as_str());
    if let Some(key_id) = &key.key_id {
        head.push_str(r#","kid":"#);
        write_string(key_id, &mut head);
    }
    head.push('}');
    let mut claims = String::new();
    for (name, value) in [
        (r#"{"iss":"#, &*oauth2.client_id),
        (r#","sub":"#, &*oauth2.client_id),
        (r#","aud":"#, oauth2.token_url.as_str()),
        (r#","jti":"#, &format!("{random:032x}")),
    ] {
        claims.push_str(name);
        write_string(value, &mut claims);
    }
    let (issued, expires) = (now.as_secs(), (now + LIFETIME).as_secs());
    claims.push_str(&format!(r#","iat":{issued},"exp":{expires}}}"#));
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(head.as_bytes()), encode(claims.as_bytes()));
    let signature = key.signer()?.sign(signed.as_bytes()).ok()?;
    let signature = match key.algorithm() {
        Algorithm::Es256 => encode(&fixed(&signature)?),
        Algorithm::Rs256 | Algorithm::EdDsa => encode(&signature),
    };
    Some(format!("{signed}.{signature}"))
}

/// A signature of ECDSA on P-256 as JWS has it: two numbers of 32 bytes (RFC 7518, 3.4). TLS has
/// them in DER (RFC 3279, 2.2.3).
fn fixed(der: &[u8]) -> Option<[u8; 64]> {
    let (numbers, rest) = element(0x30, der)?;
    let (r, numbers) = element(0x02, numbers)?;
    let (s, numbers) = element(0x02, numbers)?;
    if !rest.is_empty() || !numbers.is_empty() {
        return None;
    }
    let mut out = [0; 64];
    let (left, right) = out.split_at_mut(32);
    for (number, place) in [(r, left), (s, right)] {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let number = number.get(zeros..)?;
        let begin = place.len().checked_sub(number.len())?;
        place.get_mut(begin..)?.copy_from_slice(number);
    }
    Some(out)
}

/// The content of the first element, which is shorter than 128 bytes, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let length = usize::from(*length);
    (length < 128 && length <= rest.len()).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A number of DER without needless zeros.
    fn integer(bytes: &[u8; 32]) -> Vec<u8> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(31);
        let mut number = bytes[zeros..].to_vec();
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        [&[2, number.len() as u8][..], &number].concat()
    }

    proptest! {
        #[test]
        fn numbers_of_der_get_their_fixed_length(r: [u8; 32], s: [u8; 32], zeros in 0usize..32) {
            let mut r = r;
            r[..zeros].fill(0);
            let numbers = [integer(&r), integer(&s)].concat();
            let der = [&[0x30, numbers.len() as u8][..], &numbers].concat();
            prop_assert_eq!(fixed(&der), Some([r, s].concat().try_into().unwrap()));
            prop_assert_eq!(fixed(&der[..der.len() - 1]), None);
        }

        #[test]
        fn no_bytes_panic(der in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = fixed(&der);
        }
    }
}
