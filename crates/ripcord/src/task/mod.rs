//! Tasks under a context: spawning them, counting them, listing them.
//!
//! A task list is a value of its context, so it is found wherever values are: below `without_cancel`, and on both sides of a
//! merged context. A task is put into every list at or above its context, by a guard that its future holds.
//!
//! # Invariants
//!
//! 1. A task is in its lists before the call that starts it returns. So a task that starts another one is counted until the
//!    other one is, and no list is empty in between.
//! 2. The guard is dropped after the future (or blocking closure) was dropped, and before the task's handle is ready, unless
//!    the handle is that of a blocking task whose context has ended.
//! 3. A waiter puts its waker in under the list's lock after it saw a task there. Whoever takes the last task out takes the
//!    wakers out under the same lock. So no wake-up is lost.
//! 4. No lock is held while a context is asked or dropped, or a waker cloned, dropped or woken: all of them are users' code.

// In the order in which rustdoc lists their methods of `Context`.
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
