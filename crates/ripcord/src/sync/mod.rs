//! A semaphore, a mutex and channels whose waits end with a [`Context`](crate::Context).
//!
//! Every method that waits takes a context, and returns the context's [`Error`](crate::Error) if the context ends first. The types
//! work on every executor: they are built on tokio's types, but need no tokio runtime. On a thread, wait with
//! [`block_on`](crate::block_on):
//!
//! ```
//! use std::time::Duration;
//!
//! use ripcord::sync::Semaphore;
//! use ripcord::{Context, block_on};
//!
//! let connections = Semaphore::new(1);
//! let permit = connections.try_acquire(1).unwrap();
//! let ctx = Context::background().with_timeout(Duration::from_millis(1));
//! assert!(block_on(connections.acquire(&ctx, 1)).unwrap_err().is_deadline_exceeded());
//! drop(permit);
//! assert!(block_on(connections.acquire(&Context::background(), 1)).is_ok());
//! ```
//!
//! # Which type
//!
//! | you want to | use | in Go |
//! |---|---|---|
//! | limit how many operations run at the same time | [`Semaphore`] | `semaphore.Weighted` |
//! | let one task at a time use a value, and hold the lock across an `.await` | [`Mutex`] | a channel of capacity 1 |
//! | send values from several tasks to one task | [`mpsc::channel`] | `make(chan T, n)` |
//! | send one value, such as a reply | [`oneshot::channel`] | `make(chan T, 1)` |
//!
//! Use [`std::sync::Mutex`] instead if its lock is never held across an `.await`. It is faster, and waits for it are short.
//!
//! # The end of the context
//!
//! All waits behave like [`Context::run`](crate::Context::run). If the context has ended at the first poll, the wait returns
//! the context's error, even if a permit or a value is ready. If a permit or a value is ready at the poll that notices the end
//! of the context, the wait returns the permit or the value.
//!
//! # Cancel safety
//!
//! Every future may be dropped at any time. A permit or a lock that was already assigned to the dropped future goes to the next
//! waiter. A dropped receive takes no value from the channel. A dropped send sends nothing, and drops its value. To wait again,
//! call the method again: the new future waits at the end of the queue.
//!
//! A waker that panics may keep the other waiters of the same semaphore or channel from being woken, as with tokio's types.
//!
//! # Example
//!
//! A worker receives questions from a queue. Each caller passes its own context, which limits how long it waits for a place in the
//! queue and for the reply:
//!
//! ```
//! use ripcord::sync::{mpsc, oneshot};
//! use ripcord::{Cause, Context, Error, block_on};
//!
//! struct Question {
//!     number: u64,
//!     reply: oneshot::Sender<u64>,
//! }
//!
//! async fn square(ctx: &Context, worker: &mpsc::Sender<Question>, number: u64) -> Result<u64, Cause> {
//!     let (reply, mut answer) = oneshot::channel();
//!     worker.send(ctx, Question { number, reply }).await?;
//!     answer.recv(ctx).await?.ok_or_else(|| Cause::from("the worker has stopped"))
//! }
//!
//! async fn work(ctx: &Context, mut questions: mpsc::Receiver<Question>) -> Result<(), Error> {
//!     while let Some(Question { number, reply }) = questions.recv(ctx).await? {
//!         // This fails if the caller no longer waits.
//!         let _unheard = reply.send(number * number);
//!     }
//!     Ok(())
//! }
//!
//! let (worker, questions) = mpsc::channel(16);
//! let (server, stop) = Context::background().with_cancel();
//! let thread = std::thread::spawn(move || block_on(work(&server, questions)));
//! assert_eq!(block_on(square(&Context::background(), &worker, 12)).unwrap(), 144);
//!
//! stop.cancel();
//! assert!(thread.join().unwrap().is_err());
//! assert_eq!(block_on(square(&Context::background(), &worker, 5)).unwrap_err().to_string(), "the channel is closed");
//! ```

mod mutex;
mod semaphore;

pub mod mpsc;
pub mod oneshot;

pub use mutex::{Mutex, MutexGuard};
pub use semaphore::{Permit, Semaphore};
