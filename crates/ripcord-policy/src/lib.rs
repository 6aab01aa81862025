//! Retry, circuit breaker, rate limiter, cache, worker pool and their kin, which know how much time is left.
//!
//! Every policy here takes a [`ripcord::Context`] where it may block. It obeys that context's deadline and cancellation and sleeps
//! on its clock. It works alone or as a layer of a [`Stack`].
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = "0.1"
//! ripcord-policy = "0.1"
//! ```
//!
//! ```
//! use std::time::Duration;
//! use ripcord::Context;
//! use ripcord_policy::{CircuitBreaker, Retry, Stack};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let stack: Stack<String, std::io::Error> = Stack::builder()
//!     .deadline(Duration::from_secs(2))
//!     .retry(Retry::builder().max_attempts(3))
//!     .breaker(CircuitBreaker::builder("users").consecutive_failures(5))
//!     .attempt_timeout(Duration::from_millis(500))
//!     .build()?;
//!
//! let ctx = Context::background().with_timeout(Duration::from_secs(5));
//! let answer = stack.run(&ctx, |_ctx| async { Ok("an answer".to_owned()) }).await?;
//! assert_eq!(answer, "an answer");
//! # Ok(())
//! # }
//! ```
//!
//! # Which policy
//!
//! | you want to | use |
//! |---|---|
//! | call again after a failure that passes | [`Retry`], with a [`RetryBudget`] |
//! | stop calling a service that keeps failing | [`CircuitBreaker`], [`KeyedCircuitBreaker`] |
//! | limit the rate of calls | [`RateLimiter`], [`KeyedLimiter`] |
//! | limit the calls in flight | [`Bulkhead`] |
//! | make a second attempt when the first is slow | [`Hedge`] |
//! | give another answer when a call fails | [`Fallback`] |
//! | keep answers, and load each key once | [`Cache`] |
//! | run work on a fixed number of workers | [`WorkerPool`] |
//! | use several of these around one call | [`Stack`] |
//! | put one around a tower service | `tower::PolicyLayer`, feature `tower` |
//!
//! # One shape
//!
//! * Built by `X::builder()`, settings, `build()?`, which fails with a [`ConfigError`] that names the setting. A cache and a pool are
//!   built under a context.
//! * Run by `run(&ctx, |ctx| ..)`. The call gets a context by value: the caller's, or one of its own below that.
//! * Fails with one [`Error`], or with [`Refused`] where there is no call.
//! * Judges a call by one [`Outcome`]: the caller's own end and local rejections are neutral everywhere, an attempt timeout and a
//!   panic are failures.
//! * Reports `stats()`: one [`CallStats`] and figures of its own. Clones share all state.
//! * Has a `.clock(..)` where it keeps time between calls. [`StackBuilder::clock`](stack::StackBuilder::clock) sets that of all
//!   layers.
//!
//! # Rules
//!
//! * A deadline is a budget: what cannot finish in time does not start, and fails at once.
//! * Retries within retries do not multiply: see [`Attempt`].
//! * Every permit is a drop guard: dropping a future at any await point returns what it held.
//! * Winning and returning end no context.
//! * No function panics because of an argument. Hooks and classifiers run outside all locks, and one that panics harms only the
//!   call that ran it.
//!
//! # What an end looks like
//!
//! When the context has ended and the call then returns an error, the policy reports the end, with the call's error as its source.
//! A success counts, however late it is. In each case below, the call observes its context and returns its own error, "connection
//! closed", when that ends, unless the row says otherwise. `app.rs` stands for the line in your program that canceled the context
//! or set the limit. A panic goes on to the caller, except from a task of the policy's own.
//!
#![doc = include_str!("../docs/ends.md")]
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items.
//!
//! - `metrics`: the statistics of every policy, through the facade crate `metrics`: see `describe_metrics`.
//! - `tower`: policies as tower layers: see `tower::PolicyLayer`.
#![forbid(unsafe_code)]

mod attempt;
mod cache_padded;
mod config;
mod error;
#[cfg(feature = "metrics")]
mod metrics;
mod outcome;
mod panics;
mod random;
mod semaphore;
mod shared_error;
#[cfg(all(test, ripcord_shuttle))]
mod shuttle_models;
mod sync;
mod tally;

pub mod breaker;
pub mod bulkhead;
pub mod cache;
pub mod fallback;
pub mod hedge;
pub mod limiter;
pub mod pool;
pub mod retry;
pub mod stack;
pub mod stats;
#[cfg(feature = "tower")]
pub mod tower;

pub use attempt::Attempt;
pub use breaker::{CircuitBreaker, KeyedCircuitBreaker};
pub use bulkhead::Bulkhead;
pub use cache::Cache;
pub use config::ConfigError;
pub use error::{Error, Panicked, Refused, StopReason};
pub use fallback::Fallback;
pub use hedge::Hedge;
pub use limiter::{ExceedsBurst, KeyedLimiter, LimiterStats, Quota, Rate, RateLimiter, Reservation};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use outcome::Outcome;
pub use pool::{JobHandle, WorkerPool};
pub use random::Random;
pub use retry::{Jitter, Retry, RetryBudget, RetryEvent};
pub use shared_error::SharedError;
pub use stack::Stack;
pub use stats::CallStats;

/// The README's program is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Every line of the README's table for Go programmers.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Attempt, Cache, CircuitBreaker, Rate, RateLimiter, Retry, WorkerPool};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (ctx, n, d, x, rate, burst) = (Context::background(), 2, Duration::from_millis(1), 2.0, 100.0, 10);
/// let (key, value, ttl, interval) = ("key", 1_u32, Duration::from_secs(1), Duration::from_secs(1));
///
/// let cache = Cache::builder().capacity(n).sweep_every(interval).build(&ctx)?;
/// assert_eq!(cache.get(&ctx, &key)?, None);
/// cache.insert_with_ttl(&ctx, key, value, ttl)?;
/// assert_eq!(cache.remove(&ctx, &key)?, Some(1));
/// cache.clear(&ctx)?;
/// cache.close();
///
/// let pool = WorkerPool::builder().workers(2).build(&ctx)?;
/// let mut results = pool.results();
/// drop(pool.submit(&ctx, |_ctx| async move { Ok::<_, std::io::Error>(1) }).await?);
/// assert!(results.next(&ctx).await?.is_some());
/// pool.shutdown(&ctx).await?;
///
/// let limiter = RateLimiter::new(Rate::per_second(rate), burst)?;
/// assert!(limiter.allow());
/// limiter.wait(&ctx).await?;
/// let _reservation = limiter.reserve();
/// limiter.set_rate(Rate::per_second(rate))?;
/// limiter.set_burst(burst)?;
///
/// let retries = 3;
/// let retry = Retry::builder().max_attempts(retries + 1).base(d).max_delay(d).multiplier(x).build()?;
/// let first = retry.run(&ctx, |ctx| async move { Ok::<_, std::io::Error>(Attempt::number(&ctx)) }).await?;
/// assert_eq!(first, 0);
///
/// let breaker = CircuitBreaker::new("name", 3, d)?;
/// breaker.run(&ctx, |_ctx| async { Ok::<_, std::io::Error>(()) }).await?;
/// assert_eq!(breaker.state().to_string(), "CLOSED");
/// # Ok(())
/// # }
/// ```
#[cfg(doctest)]
struct GoTable;
