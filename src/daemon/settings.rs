//! The settings that the store gets from the configuration.

use std::sync::Arc;

use crate::config::Config;
use crate::outbox::{Defaults, Keep, LimitRules, Options, Settings};

/// The file with the kernel's id of the current boot.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// The options with which the store is opened.
pub(super) fn options(config: &Config) -> Options {
    let Settings {
        limits,
        keep,
        defaults,
        endpoints,
    } = of_store(config);
    Options {
        data_dir: config.data_dir.clone(),
        segment_size: config.outbox.segment_size,
        cache_size: config.outbox.cache_size,
        max_size: limits.max_size,
        endpoint_share: limits.endpoint_share,
        min_free_disk: limits.min_free_disk,
        idempotency_window: limits.idempotency_window,
        max_in_flight: limits.max_in_flight,
        keep,
        boot_id: boot_id(),
        endpoints,
        defaults,
    }
}

/// The settings that can change while the store is open.
pub(super) fn of_store(config: &Config) -> Settings {
    Settings {
        limits: LimitRules {
            max_size: config.outbox.max_size,
            endpoint_share: config.outbox.endpoint_share,
            min_free_disk: config.outbox.min_free_disk,
            idempotency_window: config.ingest.idempotency_window,
            max_in_flight: config.delivery.max_in_flight,
            segment_size: config.outbox.segment_size,
        },
        keep: Keep {
            delivered: config.retention.delivered,
            dead: config.retention.dead,
            held: config.retention.held,
            erased: config.retention.dead.max(config.ingest.idempotency_window),
            max_size: config.retention.max_size,
            min_free_disk: config.outbox.min_free_disk,
            segment_size: config.outbox.segment_size,
        },
        defaults: Defaults {
            timeout: config.delivery.timeout,
            http2: config.delivery.http2,
            retry: Arc::new(config.retry.clone()),
        },
        endpoints: config.endpoints.clone(),
    }
}

/// The id of this boot of the machine, from `$OUTBOXD_BOOT_ID_FILE` or else from the kernel.
fn boot_id() -> Option<String> {
    let file = std::env::var_os("OUTBOXD_BOOT_ID_FILE").unwrap_or_else(|| BOOT_ID_FILE.into());
    let text = std::fs::read_to_string(file).ok()?;
    let id = text.trim();
    (!id.is_empty() && !id.contains('\n')).then(|| id.to_owned())
}
