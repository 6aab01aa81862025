//! The future that waits until a list of tasks is empty.

use std::fmt;
use std::pin::Pin;
use std::task::{self, Poll};

use super::list::Tasks;
use crate::context::Context;
use crate::error::Error;
use crate::future::DoneOwned;

/// The future that [`Tasks::wait`] returns. Ready with `Ok` when the list is empty, or with an error when the context that
/// was passed to `wait` has ended.
///
/// Dropping this future has no effect on the tasks.
#[must_use = "futures do nothing unless polled"]
pub struct WaitForTasks {
    tasks: Tasks,
    /// The key of the waker in the list, once a waker was stored.
    key: Option<u64>,
    done: DoneOwned,
}

impl WaitForTasks {
    pub(super) fn new(tasks: Tasks, other: &Context) -> Self {
        WaitForTasks { tasks, key: None, done: other.done_owned() }
    }
}

impl Future for WaitForTasks {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if !this.tasks.inner().add_waiter(&mut this.key, task.waker()) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.done).poll(task).map(Err)
    }
}

impl Drop for WaitForTasks {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.tasks.inner().remove_waiter(key);
        }
    }
}

impl fmt::Debug for WaitForTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitForTasks").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}
