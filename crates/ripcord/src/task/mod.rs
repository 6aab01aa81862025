//! Tasks under a context: spawning, counting and listing them.
//!
//! A task list is a value of its context. So it is found like any value: in descendants, including those below
//! `without_cancel`, and on both sides of a merged context. A guard adds a task to every list of its context and the ancestors.
//! The task's future holds the guard.
//!
//! # Invariants
//!
//! 1. A task is in its lists before the call that starts it returns. So a task that starts another task stays in its
//!    lists until the other task is in them, and no list is empty in between.
//! 2. The guard is dropped after the future (or blocking closure) was dropped, and before the task's handle is ready. The
//!    exception is the handle of a blocking task whose context has ended.
//! 3. A waiter stores its waker under the list's lock, after it saw a task there. The thread that removes the last task
//!    takes the wakers out under the same lock. So no wakeup is lost.
//! 4. No lock is held while a context is queried or dropped, or a waker is cloned, dropped or woken. All of this is user
//!    code.

// The modules are in the order in which rustdoc lists their methods of `Context`.
#[cfg(feature = "tokio")]
mod spawn;

#[cfg(feature = "tokio")]
mod blocking;

mod list;

mod error;
mod guard;
#[cfg(feature = "tokio")]
mod handle;
mod info;
mod wait;

pub use error::{TaskError, TaskPanic};
pub use guard::TaskGuard;
pub(crate) use guard::TaskLists;
#[cfg(feature = "tokio")]
pub use handle::Task;
pub use info::TaskInfo;
pub use list::Tasks;
pub use wait::WaitForTasks;
