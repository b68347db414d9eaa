//! Owns what settings of the engine must be beyond the form of their values: not zero where zero
//! stands still, and in order where one is a floor and the other a ceiling.
//!
//! Invariant: an engine with settings that pass makes progress.

use std::time::Duration;

use skep_engine::EngineConfig;
use skep_engine::config::FieldValue;

use super::model::EngineSetting;
use super::problem::{Found, Log};

/// Fields that mean something at zero; every other duration, size and count must be more.
const MAY_BE_ZERO: &[&str] = &[
    "allowed_fast",
    "chatter_max",
    "upload_slots",
    "optimistic_slots",
    "choke_hold_min",
    "seed_quota_pieces",
    "seed_quota_time",
    "pipeline_growth_min",
    "peers_low",
    "udp_retries",
    "udp_retries_failover",
    "redirects_max",
    "web_seeds_max",
    "serve_listing_max",
    "fetch_retries",
    "fetch_redirects_max",
];

/// Smallest `request_bytes_max` and `send_buffer`: one block, or nobody serves anything.
const BLOCK: u64 = skep_engine::ids::BLOCK_BYTES as u64;

/// Fields that must be as large for other reasons: a shorter maximum refuses what honest ends say.
const AT_LEAST_A_BLOCK: &[&str] = &["extended_bytes_max", "tracker_reply_max"];

type Pair = (&'static str, &'static str, fn(&EngineConfig) -> bool);

/// Floors and ceilings, and whether they are in order.
const PAIRS: &[Pair] = &[
    ("optimistic_slots", "upload_slots", |c| {
        c.optimistic_slots <= c.upload_slots
    }),
    ("dial_backoff_min", "dial_backoff_max", |c| {
        c.dial_backoff_min <= c.dial_backoff_max
    }),
    ("request_timeout_min", "request_timeout_max", |c| {
        c.request_timeout_min <= c.request_timeout_max
    }),
    ("fetch_retry_min", "fetch_retry_max", |c| {
        c.fetch_retry_min <= c.fetch_retry_max
    }),
    ("pipeline_start", "pipeline_cap", |c| {
        c.pipeline_start <= c.pipeline_cap
    }),
    ("keepalive_interval", "silence_timeout", |c| {
        c.keepalive_interval < c.silence_timeout
    }),
];

/// Checks the settings of `[engine]` with those of one group over them.
pub(super) fn settings(all: &[EngineSetting], group: &[EngineSetting], log: &mut Log) {
    let mut config = EngineConfig::default();
    for setting in all.iter().chain(group) {
        let name = *setting.field.get_ref();
        let value = setting.value.get_ref();
        if let Some(message) = refused(name, value) {
            log.push(Found::at(setting.value.span(), message));
        }
        if config.set(name, value).is_err() {
            let message = format!("`{name}` does not take this value");
            log.push(Found::at(setting.value.span(), message));
        }
    }
    for (low, high, in_order) in PAIRS {
        let concerned = |s: &&EngineSetting| [low, high].contains(&s.field.get_ref());
        if let Some(setting) = all
            .iter()
            .chain(group)
            .rfind(concerned)
            .filter(|_| !in_order(&config))
        {
            let found = Found::at(setting.value.span(), format!("`{low}` is above `{high}`"));
            log.push(
                found
                    .label("with this value")
                    .help("the one that is not given has its default"),
            );
        }
    }
}

fn refused(name: &str, value: &FieldValue) -> Option<String> {
    let zero = matches!(value, FieldValue::Bytes(0) | FieldValue::Count(0))
        || *value == FieldValue::Duration(Duration::ZERO);
    if zero && !MAY_BE_ZERO.contains(&name) {
        return Some(format!("`{name}` must be more than zero"));
    }
    let small = matches!(value, FieldValue::Bytes(bytes) if *bytes < BLOCK);
    let blocks = ["request_bytes_max", "send_buffer"].contains(&name);
    if small && AT_LEAST_A_BLOCK.contains(&name) {
        return Some(format!("`{name}` must be at least 16 KiB"));
    }
    (small && blocks).then(|| format!("`{name}` must hold at least one block of 16 KiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_order_and_the_names_exist() {
        let config = EngineConfig::default();
        let known = |name: &str| skep_engine::config::FIELDS.iter().any(|f| f.name == name);
        for (low, high, in_order) in PAIRS {
            assert!(
                known(low) && known(high) && in_order(&config),
                "{low} {high}"
            );
        }
        for name in MAY_BE_ZERO
            .iter()
            .chain(&["request_bytes_max", "send_buffer"])
            .chain(AT_LEAST_A_BLOCK)
        {
            assert!(known(name), "{name}");
        }
    }
}
