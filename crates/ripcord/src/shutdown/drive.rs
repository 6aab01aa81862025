//! Running the shutdown: the drain, then the phases.

use std::sync::{Arc, Weak};
use std::task::Wake;
use std::time::{Duration, Instant};

use super::Shared;
use super::builder::Limit;
use super::phase::Phase;
use super::report::{Parts, Report};
use crate::context::Context;
use crate::task::TaskInfo;

/// The time that canceled work, or a late phase, has to end. Measured on the system's clock, even if the root has another
/// clock, because threads and executors need that time.
pub(super) const NOTICE: Duration = Duration::from_secs(1);

/// Runs the shutdown to its end.
pub(super) async fn drive(shared: Arc<Shared>, phases: Vec<Phase>, limits: Limits) {
    let canceled = drain(&shared, &limits.drain).await;
    let (ctx, running) = limits.all.with_tasks();
    let mut reports = Vec::new();
    for phase in phases {
        reports.push(phase.run(&ctx, &shared.executor).await);
    }
    let left = [shared.tasks.list(), running.list()].concat();
    let cause = shared.stop_cause();
    let elapsed = shared.root.clock().now().saturating_duration_since(limits.started);
    shared.finish(Report::new(Parts { cause, elapsed, canceled, left, phases: reports }));
}

/// Waits for the work in flight, and ends the context of all work. Returns the canceled work.
async fn drain(shared: &Shared, limit: &Context) -> Vec<TaskInfo> {
    let in_time = shared.tasks.wait(limit).await.is_ok();
    shared.end_drain(in_time);
    let canceled = shared.take_canceled();
    if !canceled.is_empty() {
        // The report lists the work that is left after this wait.
        let _ = shared.tasks.wait(&Context::background().timer(NOTICE)).await;
    }
    canceled
}

/// The contexts whose ends are the limits of the drain and of the whole shutdown. Both are below the root.
pub(super) struct Limits {
    pub(super) started: Instant,
    pub(super) drain: Context,
    pub(super) all: Context,
}

impl Limits {
    pub(super) fn new(root: &Context, started: Instant, drain: Limit, total: Limit) -> Self {
        let all = until(root, started, total);
        Limits { started, drain: until(&all, started, drain), all }
    }
}

/// Returns a context below `ctx` that ends at the limit.
fn until(ctx: &Context, started: Instant, limit: Limit) -> Context {
    match started.checked_add(limit.time) {
        Some(end) => ctx.with_deadline_at(end, limit.location),
        None => ctx.clone(),
    }
}

/// A waker that ends the drain. It cancels work at the end of the drain time, on the thread that observes this end. This works
/// even if the driver's runtime is blocked.
pub(super) struct EndsDrain(pub(super) Weak<Shared>);

impl Wake for EndsDrain {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.end_drain(false);
        }
    }
}

/// A waker that starts the shutdown at the end of the root, on the thread that ends the root. So when `cancel` returns, the
/// shutdown has started.
pub(super) struct StartsShutdown(pub(super) Weak<Shared>);

impl Wake for StartsShutdown {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.0.upgrade() {
            shared.start();
        }
    }
}
