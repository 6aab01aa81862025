//! Go's `context` for Rust. A [`Context`] carries a deadline, a cancellation signal and request-scoped values from a request to all
//! functions that work for it. An error contains the line of code that canceled the work or set the deadline, and the cause.
//!
//! The crate works with any executor and with plain threads.
//!
//! The guide in `docs/guide` of the repository has a chapter for each task, and tables for users of Go's `context`
//! and of `CancellationToken`.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = { version = "0.1", features = ["tokio"] }
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! use ripcord::{Context, Error};
//!
//! // Every function that waits takes a context.
//! async fn fetch_user(ctx: &Context, id: u64) -> Result<String, Error> {
//!     ctx.sleep(Duration::from_millis(1)).await?; // a fast network
//!     Ok(format!("user {id}"))
//! }
//!
//! #[tokio::main]
//! async fn main() {
//!     let (ctx, cancel) = Context::background().with_name("GET /users").with_cancel();
//!     let ctx = ctx.with_timeout(Duration::from_secs(5));
//!     assert_eq!(fetch_user(&ctx, 7).await.unwrap(), "user 7");
//!
//!     cancel.cancel_with("the client has disconnected");
//!     let error = fetch_user(&ctx, 8).await.unwrap_err();
//!     println!("{error:#}");
//!     // context canceled: the client has disconnected (canceled at src/main.rs:17:12 in GET /users, just now)
//! #   assert!(format!("{error:#}").starts_with("context canceled: the client has disconnected (canceled at "));
//! }
//! ```
//!
//! # Which type
//!
//! | you want to | use |
//! |---|---|
//! | create the first context | [`Context::background`] |
//! | limit the time of work | [`Context::with_timeout`], [`Context::with_deadline`] |
//! | move a deadline, or end work that makes no progress | [`Context::with_movable_deadline`], [`Context::with_idle_timeout`] |
//! | cancel work | [`Context::with_cancel`], [`Canceler`], [`CancelHandle`] |
//! | end a future when the context ends | [`Context::run`], or [`FutureExt::with_context`] at the end of a chain |
//! | sleep, wait or check | [`Context::sleep`], [`Context::done`], [`Context::check`]; [`Context::wait`] on threads |
//! | end reads and writes when the context ends | `Context::io` (feature `tokio`); [`Context::io_blocking`] on threads |
//! | wait for a permit, a lock or a message | `sync::Semaphore`, `sync::Mutex`, `sync::mpsc`, `sync::oneshot` (feature `sync`) |
//! | find out why work ended | [`Error`], its [`Cause`] and its [`Origin`] |
//! | carry values of a request | [`Value`], [`Context::with_value`], [`Context::value`] |
//! | run a function when the context ends | [`Context::after_func`] |
//! | end work when either of two contexts ends | [`Context::merge`] |
//! | clean up after the context has ended | [`Context::run_with_grace`], [`Context::shielded`] |
//! | spawn tasks and wait for them | `Context::spawn` (feature `tokio`), [`Context::with_tasks`], [`Tasks`] |
//! | run the tasks of one operation, and stop at the first error | [`Group`] |
//! | stop a service in order: finish running requests, then clean up | [`Shutdown`] |
//! | record the calls of a request | [`Context::start_span`], [`Span`] |
//! | control time in tests | [`Clock::manual`], [`ManualTime`] |
//! | call async code from a thread | [`block_on`] |
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items and does not change what the other items return. The feature `tracing`
//! has one more effect: a `tracing` subscriber that enables the target `ripcord` at level `INFO` receives the spans.
//!
//! - `tokio` adds [`Clock::tokio`](crate::Clock), which follows `tokio::time::pause`. It also adds `Context::spawn`,
//!   `Context::spawn_with_grace`, `Context::spawn_blocking` and `Group::new`, which spawn tasks on the current runtime, and
//!   `Context::io`, for types with tokio's I/O traits. Leave it off if you use another executor: contexts work without it.
//!   Cost: the crate `tokio` with its features `rt`, `sync` and `time`.
//! - `sync` adds the module `sync` with a semaphore, a mutex and channels. They work on every executor and on threads. Cost:
//!   the crate `tokio` with its feature `sync`, which contains no runtime.
//! - `tokio-util` adds conversions from and to `tokio_util::sync::CancellationToken`, for programs that use both types. Cost:
//!   the crate `tokio-util`, which depends on `tokio`.
//! - `signals` adds `Context::with_signals` and `Shutdown::on_signals`, which react to Ctrl-C and SIGTERM. Use it in binaries,
//!   not in libraries. Cost: the crate `signal-hook`, and a thread while a context listens for signals.
//! - `metrics` adds metrics about calls, tasks and ended contexts, which the recorder of the facade crate `metrics` receives:
//!   see `describe_metrics`. Leave it off if you install no recorder. Cost: the crate `metrics`, and a call of the recorder at
//!   each of these events.
//! - `tracing` mirrors each [`Span`] in a span of the crate `tracing`, which `Context::tracing_span` returns. Leave it off if
//!   no subscriber needs the spans. Cost: the crate `tracing`, and a second span for each `Span` that the subscriber enables.

// rustdoc lists the methods of `Context` in the order of these modules. The order is from the constructors to the conversions.
mod context;

mod future;

mod after_func;

mod blocking;

mod io;

mod task;

mod span;

mod shutdown;

mod current;

#[cfg(feature = "signals")]
mod signals;

#[cfg(feature = "tokio-util")]
mod cancellation_token;

mod atomic;
mod background;
mod canceler;
mod cause;
mod clock;
mod error;
mod group;
#[cfg(feature = "metrics")]
mod metrics;
mod movable;
mod raw;
mod slab;
#[cfg(feature = "sync")]
pub mod sync;
mod value;

#[cfg(all(test, ripcord_loom))]
mod loom_models;

pub use after_func::AfterFunc;
pub use background::panic_message;
pub use blocking::block_on;
pub use canceler::{CancelHandle, Canceler};
pub use cause::Cause;
pub use clock::{Clock, ManualTime, WaitForTimers};
pub use context::Context;
pub use error::{Error, ErrorKind, Origin};
pub use future::{Done, DoneOwned, FutureExt, Run, RunWithGrace, Scope, Sleep, WithContext};
pub use group::{BoxFuture, Group, GroupBuilder, GroupError, GroupHandle, Join};
#[cfg(feature = "tokio")]
pub use io::Io;
pub use io::{BlockingIo, BlockingStream};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use movable::{IdleTimeout, MovableDeadline};
pub use shutdown::{
    DrainEnded, Draining, PhaseOutcome, PhaseOutput, PhaseReport, Report, RunShutdown, Shutdown, ShutdownBuilder,
};
#[cfg(feature = "signals")]
pub use signals::Signal;
pub use span::{Span, SpanBuilder, SpanGuard, SpanSnapshot};
#[cfg(feature = "tokio")]
pub use task::Task;
pub use task::{TaskError, TaskGuard, TaskInfo, TaskPanic, Tasks, WaitForTasks};
pub use value::Value;

/// Runs the program in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
