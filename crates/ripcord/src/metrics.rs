//! Metrics through the facade crate `metrics`.
//!
//! The recorder is foreign code. So it is called with no lock held, and its panics are contained.

use std::borrow::Cow;
use std::sync::Arc;

use ::metrics::{
    Gauge, SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::background;
use crate::clock::Clock;
use crate::context::Context;

const CONTEXTS_ENDED: &str = "ripcord_contexts_ended_total";
const CALL_TIME_LEFT: &str = "ripcord_call_time_left_seconds";
const CALL_OVERRUN: &str = "ripcord_call_overrun_seconds";
const TASKS: &str = "ripcord_tasks";
const TASK_OVERRUN: &str = "ripcord_task_overrun_seconds";

/// Registers the help texts of this crate's metrics with the recorder of the crate `metrics`.
///
/// Call this function once, after the recorder was installed. The call is optional: without it, the metrics have no help
/// texts. Without a recorder, nothing is recorded. With the feature `metrics`, this crate records:
///
/// | metric | type | labels | meaning |
/// |---|---|---|---|
/// | `ripcord_contexts_ended_total` | counter | `kind`, `name` | contexts that ended. `kind` is `canceled`, `dropped` (a dropped `Canceler`) or `deadline_exceeded` (a deadline or an idle timeout). `name` is the name of the context or of its nearest ancestor with a name |
/// | `ripcord_call_time_left_seconds` | histogram | `call` | time left when a [`Span`](crate::Span) started, if its context had a deadline. `call` is the span's name |
/// | `ripcord_call_overrun_seconds` | histogram | `call` | time from the end of a span's context to the end of the span, if a cancel, a deadline or an idle timeout ended the context first |
/// | `ripcord_tasks` | gauge | `task` | tasks that have not been dropped: spawned tasks, tasks of a group, and tasks with a [`TaskGuard`](crate::TaskGuard). `task` is the name of the task's context or of its nearest ancestor with a name |
/// | `ripcord_task_overrun_seconds` | histogram | `task` | time from the end of a task's context until the task was dropped, if a cancel, a deadline or an idle timeout ended the context |
///
/// `ripcord_contexts_ended_total` counts only the context that was canceled or whose deadline passed, not the contexts
/// derived from it. A server cancels the context of each request when its response was sent, so `canceled` also counts
/// successful requests. A cancel is counted immediately. A deadline or an idle timeout that has passed is counted when code checks
/// the context or a context derived from it, or when it wakes code that waits for the end. If no code checks or waits, it is
/// not counted.
///
/// The labels `name` and `task` are empty if neither the context nor an ancestor has a name. Context names and span
/// names become labels, so use a small set of names.
pub fn describe_metrics() {
    describe_counter!(CONTEXTS_ENDED, Unit::Count, "Contexts that ended, by kind of end and by name.");
    describe_histogram!(CALL_TIME_LEFT, Unit::Seconds, "Time left when a call started.");
    describe_histogram!(CALL_OVERRUN, Unit::Seconds, "Time from the end of a context to the end of its call.");
    describe_gauge!(TASKS, Unit::Count, "Tasks that are not gone, by name.");
    describe_histogram!(TASK_OVERRUN, Unit::Seconds, "Time from the end of a context until its task was gone.");
}

/// The kind of an end, as a label.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Canceled,
    Dropped,
    DeadlineExceeded,
}

/// Counts the end of a context. `name` is the name of the context or of its nearest ancestor with a name.
pub(crate) fn context_ended(kind: Kind, name: Option<&Arc<Cow<'static, str>>>) {
    let kind = match kind {
        Kind::Canceled => "canceled",
        Kind::Dropped => "dropped",
        Kind::DeadlineExceeded => "deadline_exceeded",
    };
    background::shielded(|| counter!(CONTEXTS_ENDED, "kind" => kind, "name" => label(name)).increment(1));
}

/// Records the start of a call.
pub(crate) fn call_started(name: impl Into<SharedString>, ctx: &Context) {
    if let Some(left) = ctx.remaining() {
        background::shielded(|| histogram!(CALL_TIME_LEFT, "call" => name.into()).record(left.as_secs_f64()));
    }
}

/// Records the end of a call. The context of the call may have ended earlier.
pub(crate) fn call_ended(name: impl Into<SharedString>, ctx: &Context, clock: &Clock) {
    if let Some(overrun) = overrun(ctx, clock) {
        background::shielded(|| histogram!(CALL_OVERRUN, "call" => name.into()).record(overrun));
    }
}

/// A task that still exists. Dropped with the task.
pub(crate) struct RunningTask {
    ctx: Context,
    tasks: Option<Gauge>,
}

// A recorder's panic is contained, and leaves no part of this value in an inconsistent state.
impl std::panic::UnwindSafe for RunningTask {}
impl std::panic::RefUnwindSafe for RunningTask {}

impl RunningTask {
    pub(crate) fn new(ctx: &Context) -> Self {
        let mut tasks = None;
        background::shielded(|| {
            let gauge = gauge!(TASKS, "task" => task_name(ctx));
            gauge.increment(1);
            tasks = Some(gauge);
        });
        RunningTask { ctx: ctx.clone(), tasks }
    }
}

impl Drop for RunningTask {
    fn drop(&mut self) {
        background::shielded(|| {
            if let Some(tasks) = &self.tasks {
                tasks.decrement(1);
            }
            if let Some(overrun) = overrun(&self.ctx, &self.ctx.clock()) {
                histogram!(TASK_OVERRUN, "task" => task_name(&self.ctx)).record(overrun);
            }
        });
    }
}

fn task_name(ctx: &Context) -> SharedString {
    label(ctx.node().and_then(|node| node.name()))
}

/// Returns the seconds since the end of a context that has ended.
fn overrun(ctx: &Context, clock: &Clock) -> Option<f64> {
    let overrun = clock.now().saturating_duration_since(ctx.ended_at()?);
    Some(overrun.as_secs_f64())
}

fn label(name: Option<&Arc<Cow<'static, str>>>) -> SharedString {
    match name.map(|name| &**name) {
        None => SharedString::const_str(""),
        Some(Cow::Borrowed(name)) => SharedString::const_str(name),
        Some(Cow::Owned(name)) => name.clone().into(),
    }
}
