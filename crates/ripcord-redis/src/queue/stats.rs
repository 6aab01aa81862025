//! The statistics of a queue.

use std::panic::Location;

use ripcord::Context;

use super::{Inner, Queue, scripts};
use crate::error::Error;

/// Statistics of a [`Queue`] for all machines together. Returned by [`Queue::stats`]. Redis keeps them.
///
/// The first four fields are gauges. The other fields count events since the queue was first used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Jobs that wait for a worker: a gauge.
    pub waiting: u64,
    /// Jobs that a worker runs or is about to run: a gauge.
    pub running: u64,
    /// Jobs that wait until their delay is over: a gauge.
    pub delayed: u64,
    /// Dead letters: a gauge.
    pub dead: u64,
    /// Jobs submitted. A submission with the idempotency key of an earlier job adds no job and does not count.
    pub submitted: u64,
    /// Jobs whose handler returned `Ok`.
    pub done: u64,
    /// Failed attempts after which the job was delayed for another attempt.
    pub retried: u64,
    /// Jobs that became dead letters.
    pub buried: u64,
    /// Dead letters that were put back into the queue by [`Queue::resend`] or [`Queue::resend_all`].
    pub resent: u64,
    /// Jobs that were deleted because they were canceled.
    pub canceled: u64,
    /// How often a worker took over a job that another worker had started and not finished.
    pub taken_over: u64,
    /// Runs that ended because their worker lost the lease.
    pub lost_leases: u64,
}

/// The names of the counters in Redis, in the order of the fields.
const COUNTERS: [&str; 8] = ["submitted", "done", "retried", "dead", "resent", "canceled", "taken_over", "lost_leases"];

impl<J> Queue<J> {
    /// Reads the statistics of the queue in Redis.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    #[track_caller]
    pub fn stats<'a>(&'a self, ctx: &'a Context) -> impl Future<Output = Result<QueueStats, Error>> + Send + 'a {
        read(&self.inner, ctx, Location::caller())
    }
}

pub(super) async fn read(
    queue: &Inner,
    ctx: &Context,
    location: &'static Location<'static>,
) -> Result<QueueStats, Error> {
    let mut script = queue.prepare(&scripts::STATS);
    for name in COUNTERS {
        script.arg(name);
    }
    let answer: Vec<u64> = queue.invoke(ctx, location, "stats", &script).await?;
    let [waiting, running, delayed, dead, submitted, done, retried, buried, resent, canceled, taken_over, lost_leases] =
        answer[..]
    else {
        return Err(super::unexpected("stats", location, &format!("{answer:?}")));
    };
    Ok(QueueStats {
        waiting,
        running,
        delayed,
        dead,
        submitted,
        done,
        retried,
        buried,
        resent,
        canceled,
        taken_over,
        lost_leases,
    })
}

#[cfg(feature = "metrics")]
impl QueueStats {
    /// Copies the statistics to the recorder of the crate `metrics`. `queue` becomes the label `queue` of each metric. Pass the
    /// name of the queue.
    ///
    /// | metric | type | labels |
    /// |---|---|---|
    /// | `ripcord_redis_queue_jobs` | gauge | `queue`, `state`: `waiting`, `running`, `delayed`, `dead` |
    /// | `ripcord_redis_queue_events_total` | counter | `queue`, `event`: `submitted`, `done`, `retried`, `buried`, `resent`, `canceled`, `taken_over`, `lost_lease` |
    ///
    /// A state or an event is the field of `QueueStats` with the same name, and `lost_lease` is the field `lost_leases`.
    ///
    /// The statistics are the same on all machines, so it is enough if one process per queue calls this method.
    pub fn record_metrics(&self, queue: &str) {
        let states =
            [("waiting", self.waiting), ("running", self.running), ("delayed", self.delayed), ("dead", self.dead)];
        for (state, jobs) in states {
            metrics::gauge!("ripcord_redis_queue_jobs", "queue" => queue.to_owned(), "state" => state).set(jobs as f64);
        }
        let events = [
            ("submitted", self.submitted),
            ("done", self.done),
            ("retried", self.retried),
            ("buried", self.buried),
            ("resent", self.resent),
            ("canceled", self.canceled),
            ("taken_over", self.taken_over),
            ("lost_lease", self.lost_leases),
        ];
        for (event, count) in events {
            metrics::counter!("ripcord_redis_queue_events_total", "queue" => queue.to_owned(), "event" => event)
                .absolute(count);
        }
    }
}
