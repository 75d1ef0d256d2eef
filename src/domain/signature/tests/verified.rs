//! Checking what came in.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::time::Timestamp;

fn now() -> Timestamp {
    Timestamp::from_millis(AT * 1000)
}

fn got(signature: &str) -> Headers<'_> {
    Headers {
        id: ID,
        timestamp: "1614265330",
        signature,
    }
}

fn check(signature: &str) -> Result<(), NotVerified> {
    verify_with(&[secret(SECRET)], &[], signature)
}

fn verify_with(
    secrets: &[Secret],
    public_keys: &[PublicKey],
    signature: &str,
) -> Result<(), NotVerified> {
    let headers = got(signature);
    verify(
        secrets,
        public_keys,
        headers,
        BODY,
        now(),
        DEFAULT_TOLERANCE,
    )
}

#[test]
fn the_official_vectors_sign_and_verify() {
    let symmetric = secret(SECRET);
    assert_eq!(symmetric.sign(ID, AT, BODY).to_string(), V1);
    assert_eq!(header_value(&[symmetric], ID, AT, BODY), V1);
    assert_eq!(check(V1), Ok(()));

    let signing = secret(SIGNING_KEY);
    assert_eq!(signing.sign(ID, AT, BODY).to_string(), V1A);
    assert_eq!(header_value([&signing], ID, AT, BODY), V1A);
    let public = PublicKey::parse(PUBLIC_KEY).unwrap();
    assert_eq!(verify_with(&[], &[public], V1A), Ok(()));
    assert_eq!(verify_with(&[signing], &[], V1A), Ok(()));
}

#[test]
fn the_longest_secret_signs_as_elsewhere() {
    let signed = secret(LONG_SECRET).sign(ID, AT, BODY).to_string();
    assert_eq!(signed, "v1,LZ5zuwHTqQH3VM8ERUusjzVQq1FXzemvpR8Mk7Ivp5c=");
}

#[test]
fn any_v1_signature_may_match_and_other_versions_are_ignored() {
    let other = Secret::from_bytes(&[9; 32]).unwrap();
    let wrong = other.sign(ID, AT, BODY).to_string();
    assert_eq!(check(&format!("{wrong} {V1}")), Ok(()));
    assert_eq!(check(&format!("v1a,zzz v2,{V1} {V1}")), Ok(()));
    assert_eq!(check(&wrong), Err(NotVerified::Mismatch));
    assert_eq!(check("v1,not-base64 v1,AAAA"), Err(NotVerified::Mismatch));
    let asymmetric = V1.replace("v1,", "v1a,");
    for none in ["", " ", "v2,AAAA", &V1[3..], &asymmetric, V1A] {
        assert_eq!(check(none), Err(NotVerified::NoSignature("v1")), "{none}");
    }
}

#[test]
fn each_key_checks_its_own_version() {
    let (symmetric, public) = (secret(SECRET), PublicKey::parse(PUBLIC_KEY).unwrap());
    let other = Secret::generate_ed25519([9; 32])
        .unwrap()
        .public_key()
        .unwrap();
    let both = format!("{V1} {V1A}");
    assert_eq!(verify_with(&[], &[other, public], &both), Ok(()));
    assert_eq!(
        verify_with(&[], &[other], &both),
        Err(NotVerified::Mismatch)
    );
    assert_eq!(
        verify_with(std::slice::from_ref(&symmetric), &[other], &both),
        Ok(()),
        "one that fits is enough"
    );
    assert_eq!(
        verify_with(&[], &[public], V1),
        Err(NotVerified::NoSignature("v1a"))
    );
    assert_eq!(
        verify_with(&[symmetric], &[public], "v2,AAAA"),
        Err(NotVerified::NoSignature("v1 or v1a"))
    );
    let none = verify_with(&[], &[], &both);
    assert_eq!(none, Err(NotVerified::NoSecret));
    // A v1 signature's bytes under the other name, and one that is too short.
    for forged in [V1.replace("v1,", "v1a,"), "v1a,AAAA".to_owned()] {
        let verdict = verify_with(&[], &[public], &forged);
        assert_eq!(verdict, Err(NotVerified::Mismatch));
    }
}

#[test]
fn only_so_many_asymmetric_signatures_are_looked_at() {
    let public = [PublicKey::parse(PUBLIC_KEY).unwrap()];
    let with = |others: usize| "v1a,AAAA ".repeat(others) + V1A;
    assert_eq!(verify_with(&[], &public, &with(15)), Ok(()));
    assert_eq!(
        verify_with(&[], &public, &with(16)),
        Err(NotVerified::Mismatch)
    );
}

#[test]
fn during_a_rotation_either_secret_verifies() {
    let (new, old) = (Secret::generate([1; 32]), secret(SECRET));
    let value = header_value(&[new.clone(), old.clone()], ID, AT, BODY);
    assert_eq!(value, format!("{} {V1}", new.sign(ID, AT, BODY)));
    for secret in [new, old] {
        assert_eq!(verify_with(&[secret], &[], &value), Ok(()));
    }
}

#[test]
fn the_timestamp_is_a_number_near_now() {
    let secrets = [secret(SECRET)];
    let at = |timestamp: &str, now_s: u64| {
        let sent: u64 = timestamp.parse().unwrap_or(0);
        let signature = secrets[0].sign(ID, sent, BODY).to_string();
        let headers = Headers {
            id: ID,
            timestamp,
            signature: &signature,
        };
        let now = Timestamp::from_millis(now_s * 1000);
        verify(&secrets, &[], headers, BODY, now, DEFAULT_TOLERANCE)
    };
    let by = Duration::from_secs(301);
    let tolerance = DEFAULT_TOLERANCE;
    assert_eq!(at("1000", 1300), Ok(()));
    assert_eq!(at("1300", 1000), Ok(()));
    assert_eq!(at("1000", 1301), Err(NotVerified::TooOld { by, tolerance }));
    assert_eq!(at("1301", 1000), Err(NotVerified::TooNew { by, tolerance }));
    for bad in [
        "",
        "+1000",
        "-1000",
        "1e3",
        "1000.0",
        " 1000",
        "99999999999999999999999",
    ] {
        assert_eq!(at(bad, 1000), Err(NotVerified::BadTimestamp), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_signed_verifies_and_a_flipped_bit_does_not(
        secret in secrets(),
        id in "[ -~]{1,64}",
        body in proptest::collection::vec(any::<u8>(), 1..300),
        at in 0u64..4_000_000_000,
        flip: prop::sample::Index,
    ) {
        let public: Vec<PublicKey> = secret.public_key().into_iter().collect();
        let secrets = [secret];
        let (now, tolerance) = (Timestamp::from_millis(at * 1000), DEFAULT_TOLERANCE);
        let (timestamp, signature) = (at.to_string(), header_value(&secrets, &id, at, &body));
        let headers = Headers { id: &id, timestamp: &timestamp, signature: &signature };
        prop_assert_eq!(verify(&secrets, &[], headers, &body, now, tolerance), Ok(()));
        if !public.is_empty() {
            prop_assert_eq!(verify(&[], &public, headers, &body, now, tolerance), Ok(()));
        }
        let mut forged = body.clone();
        let bit = flip.index(forged.len() * 8);
        forged[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(
            verify(&secrets, &public, headers, &forged, now, tolerance),
            Err(NotVerified::Mismatch)
        );
    }

    #[test]
    fn no_header_makes_it_panic_or_pass(
        signature in "(v1a?,[A-Za-z0-9+/]{0,90}={0,2} ?){0,4}|.{0,200}",
        timestamp in "1614265330|.{0,30}",
    ) {
        let secrets = [Secret::generate([5; 32])];
        let public = [PublicKey::parse(PUBLIC_KEY).unwrap()];
        let headers = Headers { id: ID, timestamp: &timestamp, signature: &signature };
        prop_assert!(verify(&secrets, &public, headers, BODY, now(), DEFAULT_TOLERANCE).is_err());
    }
}
