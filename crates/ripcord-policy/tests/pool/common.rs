//! Helpers of the tests: a manual clock, a pool, and checks.

use std::time::Duration;

use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::pool::{WorkerPool, WorkerPoolStats};

pub(crate) type Failed = std::io::Error;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

pub(crate) fn pool(ctx: &Context, workers: usize, queue: usize) -> WorkerPool {
    WorkerPool::builder().workers(workers).queue(queue).build(ctx).unwrap()
}

pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Waits until another thread of this process makes `condition` true.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn sleeper(ctx: Context) -> Result<u32, ripcord::Error> {
    ctx.sleep(SECOND).await?;
    Ok(1)
}

pub(crate) fn at_rest(stats: &WorkerPoolStats) {
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!((stats.queued, stats.running), (0, 0), "{stats:?}");
}
