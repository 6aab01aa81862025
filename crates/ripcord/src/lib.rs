//! Go's `context` for Rust: one value, the [`Context`], says how long work may still take, whether it has been called off, by
//! whom and why, and which request-scoped values belong to it.
//!
//! ```
//! use std::time::Duration;
//! use ripcord::{Cause, Context, Error};
//!
//! async fn fetch_user(ctx: &Context) -> Result<&'static str, Error> {
//!     ctx.sleep(Duration::from_millis(1)).await?; // everything that waits takes the context
//!     Ok("gopher")
//! }
//!
//! # futures::executor::block_on(async {
//! let (ctx, cancel) = Context::background().with_cancel();
//! let ctx = ctx.with_timeout(Duration::from_secs(5)).with_name("fetch-user");
//! assert_eq!(fetch_user(&ctx).await?, "gopher");
//!
//! cancel.cancel_with("the client has gone");
//! let error = fetch_user(&ctx).await.unwrap_err();
//! assert_eq!(error.to_string(), "context canceled");
//! assert_eq!(error.cause().map(Cause::to_string).as_deref(), Some("the client has gone"));
//! # Ok::<(), Error>(()) }).unwrap();
//! ```
//!
//! # Features
//!
//! None is on by default. A feature only adds items: it does not change the results of the others. With `tracing`, a subscriber
//! of that crate that wants the target `ripcord` at level info also sees spans start and end.
//!
//! - `tokio`: [`Clock::tokio`](crate::Clock), which follows `tokio::time::pause`; `Context::spawn` and its relatives, and `Group::new`,
//!   which spawn on the running runtime. Leave it off on another executor; contexts work on any.
//! - `tokio-util`: conversions both ways with `tokio_util::sync::CancellationToken`, for code bases that have both.
//! - `signals`: a context that Ctrl-C or TERM ends, and `Shutdown::on_signals`. For binaries.
//! - `metrics`: ended contexts, calls and tasks, through the facade crate `metrics`: see `describe_metrics`. Leave it off if you install
//!   no recorder.
//! - `tracing`: each [`Span`] is also a span of the crate `tracing`, and `Context::tracing_span` returns that span. Leave it off if no
//!   subscriber needs spans.

mod after_func;
mod background;
mod blocking;
mod canceler;
#[cfg(feature = "tokio-util")]
mod cancellation_token;
mod cause;
mod clock;
mod context;
mod error;
mod future;
mod group;
#[cfg(feature = "metrics")]
mod metrics;
mod raw;
mod shutdown;
#[cfg(feature = "signals")]
mod signals;
mod slab;
mod span;
mod sync;
mod task;
mod value;

#[cfg(all(test, ripcord_loom))]
mod loom_models;

pub use after_func::AfterFunc;
pub use blocking::block_on;
pub use canceler::{CancelHandle, Canceler};
pub use cause::Cause;
pub use clock::{Clock, ManualTime, WaitForTimers};
pub use context::Context;
pub use error::{Error, ErrorKind, Origin};
pub use future::{Done, DoneOwned, FutureExt, Run, RunWithGrace, Scope, Sleep, WithContext};
pub use group::{BoxFuture, Group, GroupError};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
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

/// Runs the README's program as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
