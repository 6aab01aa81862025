//! A semaphore, a mutex and channels whose waits end with a [`Context`](crate::Context).
//!
//! Every method that waits takes a context and returns its [`Error`](crate::Error) if the context ends first. These types work on
//! every executor: they need no tokio runtime, although they are built on tokio's types. On a thread, wait with
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
//! | limit how much runs at a time | [`Semaphore`] | `semaphore.Weighted` |
//! | let one task at a time use a value, across awaits | [`Mutex`] | a channel of capacity 1 |
//! | pass values from tasks to a task | [`mpsc::channel`] | `make(chan T, n)` |
//! | pass one value, such as a reply | [`oneshot::channel`] | `make(chan T, 1)` |
//!
//! Use [`std::sync::Mutex`] for a value that is never held across an await. It is faster, and nobody waits long for it.
//!
//! # Ties and cancel safety
//!
//! All waits follow [`Context::run`](crate::Context::run). If the context is done at the call, the result is its error, even if a
//! permit or a value is ready. During the wait, a permit or a value that is ready at the same poll as the end of the context wins.
//!
//! Every future may be dropped at any time. A permit, a lock or a value that it was about to return goes to the next waiter or
//! stays in the channel. A waiter that is dropped loses its place in the queue.
//!
//! # Example
//!
//! A worker behind a queue. Whoever asks waits as long as its own context allows, for a place in the queue and for the reply:
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
//!         // The error is the answer of someone who has given up.
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
