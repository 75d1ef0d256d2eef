//! `[backup]`: its faults, and what `check` warns of.

use super::*;
use crate::config::{BackupUrl, without_restart};

#[test]
fn faults_of_the_place_are_told_with_place_and_fix() {
    let fix = "s3://bucket/prefix";
    let to = "backup.to";
    check_cases(&[
        (
            "[backup]\nto = \"/mnt/x\"",
            2,
            6,
            to,
            "neither file:// nor s3://",
            fix,
        ),
        (
            "[backup]\nto = \"file://x\"",
            2,
            6,
            to,
            "an absolute path",
            fix,
        ),
        (
            "[backup]\nto = \"s3://B\"",
            2,
            6,
            to,
            "the name of a bucket",
            fix,
        ),
        (
            "[backup]\nto = \"s3://abc/a//b\"",
            2,
            6,
            to,
            "single slashes",
            fix,
        ),
        (
            "[backup]\ninterval = \"10ms\"",
            2,
            12,
            "backup.interval",
            "too small",
            "100ms",
        ),
        (
            "[backup]\nkey_file = \"/nonexistent/key\"",
            2,
            12,
            "backup.key_file",
            "cannot read",
            "LoadCredential=",
        ),
        (
            "[backup]\nendpoint = \"s3.example.com\"",
            2,
            12,
            "backup.endpoint",
            "not an absolute URL",
            "https://s3.example.com",
        ),
        (
            "[backup]\nto = \"file:///mnt/x\"\nregion = \"eu\"",
            2,
            6,
            to,
            "are for s3://",
            "s3://",
        ),
    ]);
}

#[test]
fn a_key_is_32_bytes_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let text = format!("[backup]\nto = \"file:///mnt/x\"\nkey_file = {path:?}");
    for bad in ["", "s3cret", "MTIzNDU2"] {
        std::fs::write(&path, bad).unwrap();
        let faults = faults(&text);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(
            faults[0].problem.contains("32 bytes in base64"),
            "{faults:?}"
        );
        assert!(!format!("{faults:?}").contains("s3cret"));
    }
    std::fs::write(&path, "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\n").unwrap();
    let config = good(&text).config;
    assert!(!format!("{:?}", config.backup).contains("49, 50"));
    assert_eq!(
        config.backup.key.unwrap().0,
        *b"12345678901234567890123456789012"
    );
}

#[test]
fn what_is_not_sealed_and_what_keeps_old_versions_is_warned_of() {
    assert!(good("").config.backup.warnings().is_empty());
    let of_file = good("[backup]\nto = \"file:///mnt/x\"")
        .config
        .backup
        .warnings();
    assert!(matches!(&of_file[..], [one] if one.contains("backup.key_file is not set")));
    let of_s3 = good("[backup]\nto = \"s3://abc/p/\"").config.backup;
    let (bucket, prefix) = ("abc".to_owned(), "p".to_owned());
    assert_eq!(of_s3.to, Some(BackupUrl::S3 { bucket, prefix }));
    assert!(of_s3.warnings().iter().any(|one| one.contains("versions")));
}

#[test]
fn another_place_takes_a_restart_and_another_interval_does_not() {
    let old = good("[backup]\nto = \"file:///mnt/x\"").config;
    let new = good("[backup]\nto = \"file:///mnt/y\"\ninterval = \"2s\"").config;
    let (config, named) = without_restart(&old, new.clone());
    assert_eq!(named, ["backup.to"]);
    assert_eq!(config.backup.to, old.backup.to);
    assert_eq!(config.backup.interval, new.backup.interval);
}
