//! Policies around calls to other services: retry, circuit breaker, rate limiter, bulkhead, hedge, fallback, cache and worker
//! pool.
//!
//! Every policy takes a [`ripcord::Context`], and so knows how much time the caller has left and whether the caller has gone.
//! It starts nothing that cannot finish before the deadline, and stops as soon as the context ends. Use a policy alone, or
//! combine several in a [`Stack`].
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = "0.1"
//! ripcord-policy = "0.1"
//! tokio = { version = "1", features = ["macros", "rt"] }
//! ```
//!
//! This program makes a call through three policies. The call gets the context of its attempt. That context has a timeout of half a second.
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
//! | call again after a temporary failure | [`Retry`], with a [`RetryBudget`] |
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
//! # How policies are used
//!
//! All policies have the same shape:
//!
//! * `X::builder()`, settings and `build()?` create one. An invalid setting fails in `build` with a [`ConfigError`] that names
//!   it. A cache and a pool are built under a context, whose end closes them.
//! * `run(&ctx, |ctx| ..)` makes a call. The call gets a context by value: the caller's, or one derived from it.
//! * A call fails with [`Error`]. An operation without a call, such as waiting for a token, fails with [`Refused`].
//! * [`Outcome`] is how the policies judge a call. The end of the caller's context and local rejections are neutral; an attempt
//!   timeout and a panic are failures.
//! * `stats()` returns [`CallStats`] and the policy's own figures.
//! * `.clock(..)` sets the clock of a policy that measures time between calls. [`StackBuilder::clock`](stack::StackBuilder::clock)
//!   sets the clock of all layers.
//! * A clone is another handle to the same policy.
//!
//! # Rules
//!
//! * A deadline is a budget: what cannot finish in time does not start, and fails at once.
//! * Retries inside retries do not multiply: see [`Attempt`].
//! * Dropping a future releases everything that it holds: permits, tokens, probes and loads.
//! * A call's context does not end because the call returns, with a success or an error: a response can still be read after the call.
//! * No function panics because of an argument. Hooks and classifiers run outside all locks. A panicking hook harms only the
//!   call that ran it.
//!
//! # What an end looks like
//!
//! If the context has ended and the call then returns an error, the policy reports the end, with the call's error as its source.
//! A success counts, however late it is. In the table, the call observes its context and returns its own error, "connection
//! closed", when the context ends, unless the row says otherwise. `app.rs` stands for the line in your program that canceled the
//! context or set the limit. A panic goes on to the caller, except from a task that the policy spawned.
//!
#![doc = include_str!("../docs/ends.md")]
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items.
//!
//! - `metrics`: reports the statistics of every policy through the facade crate `metrics`: see `describe_metrics`.
//! - `tower`: puts policies around tower services: see `tower::PolicyLayer`.
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
