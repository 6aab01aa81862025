//! One phase, and how it is run.

use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use super::drive::NOTICE;
use super::executor::Executor;
use super::report::{PhaseOutcome, PhaseReport};
use crate::background;
use crate::canceler::Canceler;
use crate::cause::Cause;
use crate::context::Context;
use crate::error::Error;
use crate::task::TaskGuard;

/// Marks the types that the future of a [phase](crate::ShutdownBuilder::phase) may return: `()`, and `Result<(), E>` if
/// `E` converts into a [`Cause`].
///
/// Error types, `&str` and `String` convert into a cause. If the future returns an error, the phase has
/// [failed](crate::PhaseOutcome::Failed), and the [report](crate::Report) contains the error. The trait is sealed: other
/// crates cannot implement it.
pub trait PhaseOutput: sealed::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), Cause>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
    impl Sealed for super::Never {}
}

/// The type `!`, the output of a future that always panics or never ends. Stable Rust can name the type only like this.
type Never = <fn() -> ! as Returns>::Output;

#[doc(hidden)]
pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

impl PhaseOutput for () {
    fn into_result(self) -> Result<(), Cause> {
        Ok(())
    }
}

impl<E: Into<Cause>> PhaseOutput for Result<(), E> {
    fn into_result(self) -> Result<(), Cause> {
        self.map_err(Into::into)
    }
}

impl PhaseOutput for Never {
    fn into_result(self) -> Result<(), Cause> {
        self
    }
}

type PhaseFuture = Pin<Box<dyn Future<Output = Result<(), Cause>> + Send>>;

/// A phase that has not run.
pub(super) struct Phase {
    pub(super) name: Cow<'static, str>,
    pub(super) limit: Duration,
    pub(super) location: &'static Location<'static>,
    start: Box<dyn FnOnce(Context) -> PhaseFuture + Send>,
}

impl Phase {
    pub(super) fn new<F, T>(
        name: Cow<'static, str>,
        limit: Duration,
        location: &'static Location<'static>,
        run: F,
    ) -> Self
    where
        F: FnOnce(Context) -> T + Send + 'static,
        T: Future<Output: PhaseOutput> + Send + 'static,
    {
        let start = Box::new(|ctx: Context| {
            let future = run(ctx);
            Box::pin(async { future.await.into_result() }) as PhaseFuture
        });
        Phase { name, limit, location, start }
    }

    /// Runs the phase below `ctx` to its end, or to the end of its time. A phase that blocks its thread cannot be dropped, and
    /// stays in the task list of `ctx`.
    pub(super) async fn run(self, ctx: &Context, executor: &Executor) -> PhaseReport {
        let Phase { name, limit, location, start } = self;
        let ctx = ctx.with_name(name.clone()).with_timeout_at(limit, location);
        let report = |outcome| PhaseReport::new(name, location, outcome);
        if let Some(error) = ctx.err() {
            return report(PhaseOutcome::NotRun(error));
        }

        let (gone, guard) = Context::background().with_cancel();
        let ended = Arc::new(Mutex::new(None));
        let running = Running { ended: Arc::clone(&ended), _task: ctx.task_guard_at(location), _gone: guard };
        let below = ctx.clone();
        let future = async move {
            match below.run(async { start(below.clone()).await }).await {
                Ok(Ok(())) => PhaseOutcome::Completed,
                Ok(Err(cause)) => PhaseOutcome::Failed(cause),
                Err(error) => ended_by(error),
            }
        };
        executor.spawn(Box::pin(running.finish(CatchPanic(Box::pin(future)))));

        // A phase that is ready at its limit is in time.
        if ctx.run(gone.done()).await.is_err() {
            let _ = Context::background().timer(NOTICE).run(gone.done()).await;
        }
        let ended = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outcome = ended.unwrap_or_else(|| match ctx.err() {
            Some(error) => ended_by(error),
            None => PhaseOutcome::Failed(Cause::from("the runtime of the shutdown has been shut down")),
        });
        report(outcome)
    }
}

fn ended_by(error: Error) -> PhaseOutcome {
    match error.is_deadline_exceeded() {
        true => PhaseOutcome::Late(error),
        false => PhaseOutcome::Canceled(error),
    }
}

/// A phase that has started. Its drop tells the driver that the phase has ended.
struct Running {
    ended: Arc<Mutex<Option<PhaseOutcome>>>,
    // The fields are dropped in this order, so that a phase that has ended is in no list.
    _task: TaskGuard,
    _gone: Canceler,
}

impl Running {
    async fn finish(self, phase: CatchPanic) {
        let outcome = match phase.await {
            Ok(outcome) => outcome,
            Err(panic) => PhaseOutcome::Panicked(message(panic)),
        };
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// Runs user code, and returns its panic. The future of the phase is dropped within a poll, so a panic of that drop is also
/// returned.
struct CatchPanic(Pin<Box<dyn Future<Output = PhaseOutcome> + Send>>);

impl Future for CatchPanic {
    type Output = Result<PhaseOutcome, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        // The future is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(task))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// Returns the message of a panic.
fn message(panic: Box<dyn Any + Send>) -> String {
    let message = background::panic_message(&*panic).unwrap_or("no message").to_owned();
    background::shielded(|| drop(panic));
    message
}
