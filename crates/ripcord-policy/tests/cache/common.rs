//! Helpers of the tests: a manual clock, and a cache of a hundred entries.

use std::time::Duration;

use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::cache::{Cache, CacheBuilder};

pub(crate) type Failed = std::io::Error;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

/// Returns a builder of a cache whose values live for `ttl` seconds.
pub(crate) fn seconds(ttl: u64) -> CacheBuilder<&'static str, u32> {
    Cache::builder().capacity(100).ttl(Duration::from_secs(ttl))
}

/// Lets the spawned tasks of this single-threaded runtime run until they wait.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
