//! Work that every worker does for the whole queue: moving delayed jobs that are due, and removing dead workers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{BATCH, milliseconds_up, scripts};
use super::held::Holder;

/// The longest time between two checks of the delayed jobs. A worker checks earlier if a job is due earlier, or if the worker has
/// delayed a job.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(holder: Arc<Holder>) {
    let mut forget_at = Instant::now();
    while !holder.is_closed() {
        let pause = match promote(&holder).await {
            Some(due) => due.min(LOOK),
            None => LOOK,
        };
        if Instant::now() >= forget_at {
            forget_at = Instant::now() + holder.queue.lease.max(LOOK);
            forget(&holder, "").await;
        }
        let _timed_out = tokio::time::timeout(pause, holder.job_delayed.notified()).await;
    }
}

/// Moves the jobs that are due. Returns the time until the next job is due. After a failure, the next check moves the jobs.
async fn promote(holder: &Holder) -> Option<Duration> {
    let mut script = holder.queue.prepare(&scripts::PROMOTE);
    script.arg(BATCH);
    let next: i64 = holder.queue.invoke(&holder.commands, holder.location, "promote", &script).await.ok()?;
    u64::try_from(next).ok().map(Duration::from_millis)
}

/// Removes the workers that hold no jobs and have not asked for jobs for a long time, and the worker `name`.
async fn forget(holder: &Holder, name: &str) {
    // A worker asks for jobs several times a second, but it may be paused or cut off for a while.
    let silent = holder.queue.lease.saturating_mul(10).max(Duration::from_secs(600));
    let mut script = holder.queue.prepare(&scripts::FORGET);
    script.arg(milliseconds_up(silent)).arg(name);
    let _repaired_later = holder.queue.invoke::<i64>(&holder.commands, holder.location, "forget", &script).await;
}

/// Removes this worker, which has ended.
pub(super) async fn leave(holder: &Holder) {
    forget(holder, &holder.name).await;
}
