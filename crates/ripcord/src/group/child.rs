//! One task of a group, from its first poll to its end.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use super::Shared;
use crate::background;
use crate::cause::Cause;
use crate::task::TaskGuard;

/// What a child runs.
type Task = Pin<Box<dyn Future<Output = Result<(), Cause>> + Send>>;

/// A task that counts itself out of its group once, however it ends.
pub(super) struct Child {
    shared: Arc<Shared>,
    /// Where the task was given to the group.
    location: &'static Location<'static>,
    /// None once it has ended.
    task: Option<Task>,
    /// Keeps it in the lists of tasks until it is gone.
    guard: Option<TaskGuard>,
    begun: bool,
}

impl Child {
    pub(super) fn new(
        shared: Arc<Shared>,
        location: &'static Location<'static>,
        task: impl Future<Output = Result<(), Cause>> + Send + 'static,
    ) -> Self {
        let guard = Some(shared.lists.guard(&shared.ctx, location));
        Child { shared, location, task: Some(Box::pin(task)), guard, begun: false }
    }

    /// Drops the future, which may panic, and then counts it out.
    fn end(&mut self, result: Result<(), Cause>) {
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(self.task.take())));
        drop(self.guard.take());
        match dropped {
            Ok(()) => self.shared.finish(result, self.location),
            Err(panic) => self.shared.finish_panicked(panic, self.location),
        }
    }
}

impl Future for Child {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if !this.begun {
            this.begun = true;
            if let Some(error) = this.shared.ctx.err() {
                this.end(Err(Cause::from(error)));
                return Poll::Ready(());
            }
        }
        let Some(future) = &mut this.task else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => this.end(result),
            Err(panic) => {
                // It is broken, and so may be its drop: what that panics with is the same failure.
                background::shielded(|| drop(this.task.take()));
                drop(this.guard.take());
                this.shared.finish_panicked(panic, this.location);
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.task.is_some() {
            let dropped = match self.shared.ctx.err() {
                Some(error) => Cause::from(error),
                None => Cause::from("the executor dropped a task of the group before its end"),
            };
            self.end(Err(dropped));
        }
    }
}
