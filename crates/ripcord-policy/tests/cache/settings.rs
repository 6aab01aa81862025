//! The settings of the builder, and invalid settings.

use std::time::Duration;

use ripcord_policy::Random;
use ripcord_policy::cache::Cache;

use crate::common::{SECOND, manual, seconds};

#[tokio::test]
async fn ttl_jitter_shortens_ttls_and_never_lengthens_them() {
    let (ctx, time) = manual();
    let cache = Cache::<u32, u32>::builder()
        .capacity(1000)
        .ttl(Duration::from_secs(100))
        .ttl_jitter(0.1)
        .random(Random::seeded(7))
        .build(&ctx)
        .unwrap();
    for key in 0..500 {
        cache.insert(&ctx, key, key).unwrap();
    }
    let alive = || (0..500).filter(|key| cache.get(&ctx, key).unwrap().is_some()).count();
    time.advance(Duration::from_millis(89_999));
    assert_eq!(alive(), 500);
    time.advance(Duration::from_secs(5));
    assert!((150..350).contains(&alive()));
    time.advance(Duration::from_millis(5_001));
    assert_eq!(alive(), 0);
}

#[test]
fn invalid_setting_is_named_in_the_error() {
    let (ctx, _time) = manual();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let cases = [
        (seconds(1).capacity(0), "capacity must be at least 1, got 0"),
        (seconds(1).capacity(u64::MAX), "capacity must be at most 2^62 - 1, got 18446744073709551615"),
        (Cache::builder(), "capacity must be at least 1, got nothing"),
        (seconds(0), "ttl must be longer than zero, got 0ns"),
        (seconds(1).idle(Duration::ZERO), "idle must be longer than zero, got 0ns"),
        (seconds(1).stale_for(Duration::ZERO), "stale_for must be longer than zero, got 0ns"),
        (seconds(1).negative_ttl(Duration::ZERO), "negative_ttl must be longer than zero, got 0ns"),
        (seconds(1).sweep_every(Duration::ZERO), "sweep_every must be longer than zero, got 0ns"),
        (seconds(1).ttl_jitter(1.5), "ttl_jitter must be between 0 and 1, got 1.5"),
        (seconds(1).ttl_jitter(-0.1), "ttl_jitter must be between 0 and 1, got -0.1"),
        (seconds(1).ttl_jitter(f64::NAN), "ttl_jitter must be between 0 and 1, got NaN"),
        (seconds(1).capacity(1 << 62), "capacity must be at most 2^62 - 1, got 4611686018427387904"),
        (Cache::builder().capacity(1).stale_for(SECOND), "stale_for must be set with a ttl, got 1s without"),
        (Cache::builder().capacity(1).ttl_jitter(0.1), "ttl_jitter must be set with a ttl, got 0.1 without"),
    ];
    let guard = runtime.enter();
    for (builder, message) in cases {
        assert_eq!(builder.build(&ctx).unwrap_err().to_string(), message);
    }
    let never = Cache::<&str, u32>::builder().capacity(1).ttl(Duration::MAX).stale_for(SECOND).ttl_jitter(0.1);
    assert!(never.build(&ctx).is_ok());
    drop(guard);
    assert!(seconds(1).build(&ctx).unwrap_err().to_string().contains("tokio runtime"));
}

#[tokio::test]
async fn cache_goes_by_the_builders_clock() {
    let (ctx, context_time) = manual();
    let (clock, time) = ripcord::Clock::manual();
    let cache = seconds(10).clock(clock).build(&ctx).unwrap();
    cache.insert(&ctx, "a", 1).unwrap();
    context_time.advance(SECOND * 10);
    assert_eq!(cache.get(&ctx, "a").unwrap(), Some(1));
    time.advance(SECOND * 10);
    assert_eq!(cache.get(&ctx, "a").unwrap(), None);
}
