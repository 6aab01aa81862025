//! One task of a group, from its first poll to its end.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use pin_project_lite::pin_project;

use super::shared::Shared;
use crate::background;
use crate::cause::Cause;
use crate::future::{FutureExt, WithContext};
use crate::task::TaskGuard;

pin_project! {
    /// A task of a group. The task is counted out exactly once.
    pub(super) struct Child<F, T> {
        // `None` once the task has ended.
        #[pin]
        task: Option<WithContext<F>>,
        started: bool,
        counted: Counted<T>,
    }

    impl<F, T> PinnedDrop for Child<F, T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.task.is_some() {
                let dropped = match this.counted.shared.ctx.err() {
                    Some(error) => Cause::from(error),
                    None => Cause::from("the executor dropped a task of the group before its end"),
                };
                this.counted.end(Err(dropped), || this.task.set(None));
            }
        }
    }
}

/// The data with which a task is counted out (invariant 1).
pub(super) struct Counted<T> {
    pub(super) shared: Arc<Shared<T>>,
    /// The task's number among the group's outcomes.
    pub(super) number: usize,
    /// Where the task was given to the group.
    pub(super) location: &'static Location<'static>,
    /// Keeps the task in the task lists until its future was dropped.
    pub(super) guard: Option<TaskGuard>,
}

impl<T> Counted<T> {
    /// Drops the future, which may panic, and then counts the task out.
    fn end(&mut self, result: Result<T, Cause>, drop_task: impl FnOnce()) {
        let dropped = catch_unwind(AssertUnwindSafe(drop_task));
        drop(self.guard.take());
        match dropped {
            Ok(()) => self.shared.finish(self.number, result, self.location),
            Err(panic) => {
                background::shielded(|| drop(result));
                self.shared.finish_panicked(self.number, panic, self.location);
            }
        }
    }
}

impl<F: Future, T> Child<F, T> {
    pub(super) fn new(task: F, counted: Counted<T>) -> Self {
        Child { task: Some(task.with_context(&counted.shared.abort)), started: false, counted }
    }
}

impl<F, T, E> Future for Child<F, T>
where
    F: Future<Output = Result<T, E>>,
    E: Into<Cause>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let counted = this.counted;
        if !*this.started {
            *this.started = true;
            if let Some(error) = counted.shared.ctx.err() {
                counted.end(Err(Cause::from(error)), || this.task.set(None));
                return Poll::Ready(());
            }
        }
        let Some(future) = this.task.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        // The conversion of an error is also user code.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.poll(task).map(|result| match result {
                Ok(result) => result.map_err(Into::into),
                Err(aborted) => Err(Cause::from(counted.shared.ctx.err().unwrap_or(aborted))),
            })
        }));
        match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => counted.end(result, || this.task.set(None)),
            Err(panic) => {
                // A future that has panicked may panic again when it is dropped. The second panic is part of the same failure.
                background::shielded(|| this.task.set(None));
                drop(counted.guard.take());
                counted.shared.finish_panicked(counted.number, panic, counted.location);
            }
        }
        Poll::Ready(())
    }
}
