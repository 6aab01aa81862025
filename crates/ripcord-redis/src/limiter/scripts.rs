//! The scripts of a limiter. Each is one round trip and decides by the server's clock.

use std::sync::LazyLock;
use std::time::Duration;

use ripcord_policy::{Quota, Rate};

use crate::client::Script;

/// Takes tokens.
pub(super) static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("bucket.lua"), include_str!("claim.lua"))));

/// Returns tokens that were not used.
pub(super) static REFUND: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("bucket.lua"), include_str!("refund.lua"))));

/// Returns the time until a promise is due.
pub(super) static DELAY: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("bucket.lua"), include_str!("delay.lua"))));

/// Returns the number of tokens in a bucket.
pub(super) static TOKENS: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("bucket.lua"), include_str!("tokens.lua"))));

/// Changes the settings, and applies them to the bucket.
pub(super) static SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(include_str!("set.lua"), include_str!("bucket.lua"), include_str!("stored.lua")))
});

/// A rate as the scripts write it: the tokens per period, and the period in nanoseconds.
pub(super) fn write_rate(rate: Rate) -> (f64, u64) {
    let (tokens, period) = rate.tokens_and_period();
    let tokens = if tokens.is_infinite() { -1.0 } else { tokens };
    (tokens, u64::try_from(period.as_nanos()).unwrap_or(u64::MAX))
}

/// Reads a rate that [`write_rate`] wrote.
pub(super) fn read_rate(tokens: f64, period: u64) -> Rate {
    let period = Duration::from_nanos(period);
    match tokens {
        ..0.0 => Rate::INFINITE,
        _ if period == Duration::from_secs(1) => Rate::per_second(tokens),
        // Only a rate with a whole number of tokens has another period.
        _ => Rate::per(tokens as u32, period),
    }
}

/// The arguments with which every script begins, except for the burst.
pub(super) fn write_quota(quota: Quota) -> (f64, u64, u32) {
    let (tokens, period) = write_rate(quota.rate());
    (tokens, period, quota.burst())
}
