//! Reading, writing and keeping the keys.

use proptest::prelude::*;

use super::*;

#[test]
fn secrets_keep_their_bounds_and_their_silence() {
    assert_eq!(Secret::parse("MfKQ9r8G"), Err(BadSecret::Prefix));
    assert_eq!(Secret::parse(PUBLIC_KEY), Err(BadSecret::Public));
    assert_eq!(Secret::parse("whsec_***"), Err(BadSecret::Base64("whsec_")));
    assert_eq!(Secret::parse("whsk_***"), Err(BadSecret::Base64("whsk_")));
    assert_eq!(Secret::parse("whsec_"), Err(BadSecret::Length(0)));
    assert_eq!(Secret::parse("whsk_"), Err(BadSecret::KeyLength(0)));
    assert_eq!(
        Secret::parse(&SECRET.replace("whsec_", "whsk_")),
        Err(BadSecret::KeyLength(24))
    );
    for (length, good) in [(23, false), (24, true), (64, true), (65, false)] {
        assert_eq!(
            Secret::from_bytes(&vec![7; length]).is_ok(),
            good,
            "{length}"
        );
    }
    assert_eq!(secret(SECRET).reveal(), SECRET);
    assert_eq!(format!("{:?}", secret(SECRET)), "whsec_…");
    assert_eq!(format!("{:?}", secret(SIGNING_KEY)), "whsk_…");
}

#[test]
fn a_signing_key_is_read_with_or_without_its_public_half() {
    let key = secret(SIGNING_KEY);
    assert_eq!(key.kind(), SecretKind::Ed25519);
    assert_eq!(key.reveal(), SIGNING_KEY);
    assert_eq!(key.public_key().unwrap().to_string(), PUBLIC_KEY);
    assert_eq!(secret(SECRET).public_key(), None);
    // Seed 0, 1, … 31, and the public key that Python's cryptography makes of it.
    let seed = secret("whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    let both = "whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
    assert_eq!(seed.reveal(), both);
    assert!(seed == secret(both));
    assert_eq!(
        seed.public_key().unwrap().to_string(),
        "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    );
}

#[test]
fn halves_that_do_not_fit_are_refused() {
    let mut stored = secret(SIGNING_KEY).to_stored();
    stored[64] ^= 1;
    let damaged = Secret::from_stored(&stored).unwrap();
    assert_eq!(Secret::parse(&damaged.reveal()), Err(BadSecret::Pair));
}

#[test]
fn a_signing_key_alone_is_read_where_one_is_asked_for() {
    assert!(Secret::parse_signing_key(SIGNING_KEY) == Ok(secret(SIGNING_KEY)));
    for wrong in [SECRET, "whsec_", "whsec_*", "", "HUSH"] {
        assert_eq!(
            Secret::parse_signing_key(wrong),
            Err(BadSecret::NotSigning),
            "{wrong}"
        );
    }
    assert_eq!(
        Secret::parse_signing_key(PUBLIC_KEY),
        Err(BadSecret::Public)
    );
    assert_eq!(
        Secret::parse_signing_key("whsk_AA=="),
        Err(BadSecret::KeyLength(1))
    );
}

#[test]
fn public_keys_are_public_keys_only() {
    assert_eq!(
        PublicKey::parse(PUBLIC_KEY).unwrap().to_string(),
        PUBLIC_KEY
    );
    for (text, why) in [
        ("", BadPublicKey::Prefix),
        (SECRET, BadPublicKey::Secret),
        (SIGNING_KEY, BadPublicKey::Secret),
        ("whpk_*", BadPublicKey::Base64),
        ("whpk_AA==", BadPublicKey::Length(1)),
    ] {
        assert_eq!(PublicKey::parse(text), Err(why), "{text}");
    }
}

#[test]
fn a_new_secret_is_of_the_kind_of_the_old_one() {
    for old in [SECRET, SIGNING_KEY] {
        let old = secret(old);
        let new = old.fresh_like([3; 32]).unwrap();
        assert_eq!(new.kind(), old.kind());
        assert!(new != old && new == old.fresh_like([3; 32]).unwrap());
    }
    assert!(Secret::generate([3; 32]) != Secret::generate_ed25519([3; 32]).unwrap());
}

#[test]
fn stored_forms_keep_their_bytes() {
    let key: Vec<u8> = (0..64).collect();
    assert_eq!(secret(LONG_SECRET).to_stored(), key);
    let stored = secret(SIGNING_KEY).to_stored();
    assert_eq!(
        (stored.len(), &stored[..5]),
        (65, &[1, 0xe9, 0x76, 0xff, 0x74][..])
    );
    for unknown in [&[][..], &[7; 23], &[2; 65], &[1; 66]] {
        assert_eq!(Secret::from_stored(unknown), Err(BadSecret::Stored));
    }
}

/// A hundred thousand idle endpoints have one each.
#[test]
fn a_secret_is_as_small_as_the_slice_of_its_bytes() {
    assert_eq!(size_of::<Secret>(), size_of::<Box<[u8]>>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn secrets_come_back_as_they_were(secret in secrets()) {
        prop_assert!(Secret::parse(&secret.reveal()).unwrap() == secret);
        prop_assert!(Secret::from_stored(&secret.to_stored()).unwrap() == secret);
        let shown = format!("{secret:?}");
        prop_assert!(shown == "whsec_…" || shown == "whsk_…");
        if let Some(public) = secret.public_key() {
            prop_assert_eq!(PublicKey::parse(&public.to_string()), Ok(public));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(wh(sec|sk|pk)_)?[A-Za-z0-9+/=]{0,100}", any in ".{0,40}") {
        for text in [text, any] {
            let _ = (Secret::parse(&text), Secret::parse_signing_key(&text));
            let _ = PublicKey::parse(&text);
        }
    }

    #[test]
    fn any_bytes_are_taken_from_the_store_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
        if let Ok(secret) = Secret::from_stored(&bytes) {
            prop_assert_eq!(secret.to_stored(), bytes);
        }
    }
}
