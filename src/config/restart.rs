//! Separates the changes that take effect at a reload from those that need a restart.

use super::{Backup, Config};

/// The new configuration with the old values of the keys that need a restart, and those of these
/// keys whose values differ.
pub fn without_restart(old: &Config, new: Config) -> (Config, Vec<&'static str>) {
    let (was, is) = (&old.listen, &new.listen);
    let (old_s3, new_s3) = (&old.backup.s3, &new.backup.s3);
    let certificate = was.inbound_cert != is.inbound_cert;
    let differs = [
        ("data_dir", old.data_dir != new.data_dir),
        ("listen.http", was.http != is.http),
        ("listen.unix", was.unix != is.unix),
        ("listen.unix_mode", was.unix_mode != is.unix_mode),
        ("listen.hosts", was.hosts != is.hosts),
        ("listen.inbound", was.inbound != is.inbound),
        ("listen.inbound_cert_file", certificate),
        ("listen.public_url", was.public_url != is.public_url),
        (
            "listen.trusted_proxies",
            was.trusted_proxies != is.trusted_proxies,
        ),
        ("listen.ui", was.ui != is.ui),
        (
            "outbox.segment_size",
            old.outbox.segment_size != new.outbox.segment_size,
        ),
        (
            "outbox.cache_size",
            old.outbox.cache_size != new.outbox.cache_size,
        ),
        (
            "delivery.threads",
            old.delivery.threads != new.delivery.threads,
        ),
        ("log.format", old.log.format != new.log.format),
        ("otlp", old.otlp != new.otlp),
        ("backup.to", old.backup.to != new.backup.to),
        ("backup.key_file", old.backup.key != new.backup.key),
        ("backup.endpoint", old_s3.endpoint != new_s3.endpoint),
        ("backup.region", old_s3.region != new_s3.region),
        (
            "backup.credentials_file",
            old_s3.credentials_file != new_s3.credentials_file,
        ),
    ];
    let named = differs.into_iter().filter(|(_, differs)| *differs);
    let named = named.map(|(key, _)| key).collect();
    let mut config = new;
    config.data_dir = old.data_dir.clone();
    config.listen = old.listen.clone();
    config.outbox.segment_size = old.outbox.segment_size;
    config.outbox.cache_size = old.outbox.cache_size;
    config.delivery.threads = old.delivery.threads;
    config.log.format = old.log.format;
    config.otlp = old.otlp.clone();
    config.backup = Backup {
        interval: config.backup.interval,
        retain: config.backup.retain,
        ..old.backup.clone()
    };
    (config, named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_a_restart_are_named_and_keep_their_values() {
        let old = Config::default();
        let mut new = old.clone();
        new.data_dir = "elsewhere".into();
        new.listen.http = None;
        new.listen.hosts = vec!["a.example".to_owned()];
        new.outbox.cache_size += 1;
        new.outbox.max_size += 1;
        new.delivery.threads = 7;
        new.delivery.max_in_flight = 7;
        let (config, named) = without_restart(&old, new.clone());
        assert_eq!(
            named,
            [
                "data_dir",
                "listen.http",
                "listen.hosts",
                "outbox.cache_size",
                "delivery.threads"
            ]
        );
        assert_eq!(config.listen, old.listen);
        assert_eq!(config.data_dir, old.data_dir);
        assert_eq!(config.outbox.max_size, new.outbox.max_size);
        assert_eq!(config.outbox.cache_size, old.outbox.cache_size);
        assert_eq!(config.delivery.max_in_flight, 7);
        assert_eq!(without_restart(&old, config).1, <[&str; 0]>::default());
    }
}
