//! The signing keys from before a rotation, which sign for a while only, in a definition as it is
//! stored.

use super::checked::{EARLIER_KEYS, Given};
use crate::domain::json::Json;
use crate::domain::time::Timestamp;

/// When the first of them is past its time.
pub fn next_expiry(given: &Given) -> Option<Timestamp> {
    match given.get(EARLIER_KEYS) {
        Some(Json::Array(items)) => {
            let untils = items.iter().filter_map(earlier_key);
            untils.map(|(_, until)| until).min()
        }
        _ => None,
    }
}

/// Takes out those that are past their time.
pub fn expire(given: &mut Given, now: Timestamp) {
    let Some(Json::Array(items)) = given.get_mut(EARLIER_KEYS) else {
        return;
    };
    items.retain(|item| earlier_key(item).is_some_and(|(_, until)| until > now));
    if items.is_empty() {
        given.shift_remove(EARLIER_KEYS);
    }
}

/// A key and until when it signs, of a pair that [`Shaping::with_signing_key`] wrote.
///
/// [`Shaping::with_signing_key`]: super::Shaping::with_signing_key
pub(super) fn earlier_key(pair: &Json) -> Option<(&str, Timestamp)> {
    let Json::Array(pair) = pair else {
        return None;
    };
    let [Json::String(key), Json::Number(until)] = pair.as_slice() else {
        return None;
    };
    Some((key, Timestamp::from_millis(until.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Given {
        match Json::parse(text.as_bytes()) {
            Ok(Json::Object(given)) => given,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_past_their_time_go_and_the_others_stay() {
        let text = r#"{"signing_key":"a","earlier_signing_keys":[["b",70],["c",90]]}"#;
        let at = Timestamp::from_millis;
        let mut stored = given(text);
        assert_eq!(next_expiry(&stored), Some(at(70)));
        expire(&mut stored, at(69));
        assert_eq!(Json::Object(stored.clone()).to_string(), text);
        expire(&mut stored, at(70));
        let left = r#"{"signing_key":"a","earlier_signing_keys":[["c",90]]}"#;
        assert_eq!(Json::Object(stored.clone()).to_string(), left);
        expire(&mut stored, at(1000));
        let left = r#"{"signing_key":"a"}"#;
        assert_eq!(Json::Object(stored.clone()).to_string(), left);
        assert_eq!(next_expiry(&stored), None);
    }
}
