//! Policies around calls to other services: retry, circuit breaker, rate limiter, bulkhead, hedge, fallback, cache and worker
//! pool.
//!
//! Every policy takes a [`ripcord::Context`]. The context *ends* when it is canceled or when its deadline passes. When the
//! context ends, a policy stops waiting and makes no further attempt. The policy passes the context to the call, and the call
//! must observe it: see [Running calls](#running-calls). Use a policy alone, or combine several policies in a [`Stack`].
//!
//! The guide in `docs/guide` of the repository has chapters about retry, breaker, cache, pool and limiter, and about
//! migrating from other crates.
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
//! This program makes a call through a retry and a circuit breaker. All attempts together may take two seconds. Each attempt
//! has a context of its own, with a timeout of half a second.
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
//! | stop calling a service that keeps failing | [`CircuitBreaker`]; [`KeyedCircuitBreaker`] keeps one breaker per key |
//! | limit the rate of calls | [`RateLimiter`]; [`KeyedLimiter`] has one limit per key |
//! | limit the calls in flight | [`Bulkhead`] |
//! | make a second attempt when the first is slow | [`Hedge`] |
//! | return another value when a call fails | [`Fallback`] |
//! | cache values, and load each key once at a time | [`Cache`] |
//! | run work on a fixed number of workers | [`WorkerPool`] |
//! | combine several policies around one call | [`Stack`] |
//! | wrap a tower service in a policy | `tower::PolicyLayer`, feature `tower` |
//!
//! # How policies are used
//!
//! All policies have the same shape:
//!
//! * `X::builder()`, settings and `build()?` create a policy. If a setting is invalid, `build` returns a [`ConfigError`] that
//!   names the setting. For a cache and a worker pool, `build` takes a context. The cache or pool closes when this context
//!   ends.
//! * `run(&ctx, |ctx| ..)` makes a call. The closure gets a context by value. This context is `ctx` or a context derived from
//!   `ctx`.
//! * If the call fails or is refused, `run` returns an [`Error`]. An operation that makes no call, such as waiting for a token
//!   of a rate limiter, returns [`Refused`].
//! * An [`Outcome`] tells the policies whether the called service works. An error of the call, an attempt timeout and a panic
//!   are failures. If a policy refused the call or the caller's context ended, the outcome is neutral: the call says nothing
//!   about the service.
//! * `stats()` returns [`CallStats`] and the policy's own counters.
//! * The builder's method `clock` sets the clock by which a policy measures time, for example a manual clock in a test.
//!   [`StackBuilder::clock`](stack::StackBuilder::clock) sets the clock of a stack, and of the layers that are passed as
//!   builders.
//! * A clone is another handle to the same policy.
//!
//! # Rules
//!
//! * If a policy knows that a wait would end at or after the deadline of the context, it does not wait. The operation fails at
//!   once.
//! * Attempts do not multiply when one retry runs inside another: see [`Attempt`].
//! * Dropping the future of `run` drops the call and releases its permits, unspent tokens and breaker probes. A load of a
//!   cache and a job of a worker pool run in tasks of their own: see their docs.
//! * The context of a call does not end when the call succeeds, so that a response can still be read afterwards. The context
//!   still ends at its deadline, and when the caller's context ends. The context of a cache load is an exception: see
//!   [`Cache::run`].
//! * No function panics because of an argument. Hooks and classifiers run outside all locks. A panicking hook affects only the
//!   call that ran the hook.
//!
//! # Running calls
//!
//! The table shows the effect on a call in flight when the context passed to `run` ends.
//!
//! | policy | effect |
//! |---|---|
//! | [`Retry`], [`CircuitBreaker`], [`KeyedCircuitBreaker`], [`RateLimiter`], [`KeyedLimiter`], [`Bulkhead`], [`Fallback`] | none; the call must observe the context, for example with [`Context::run`](ripcord::Context::run) |
//! | [`Hedge`] | all attempts are canceled and dropped |
//! | [`Stack`] | the attempt is dropped |
//! | [`Cache`] | the caller stops waiting; the load is dropped if no other caller waits for it |
//! | [`WorkerPool`] | an async job is dropped; a blocking job must observe the context |
//!
//! # What an error looks like
//!
//! If a call returns an error after its context has ended, the policy reports how the context ended. The call's own error is
//! the source of the reported error. A success is returned even if the context has ended.
//!
//! The table shows the error of each policy. The *callee* is the called service. The *caller* is the code that calls `run`.
//! Unless the row says otherwise, the call observes its context, and returns its own error "connection closed" when the
//! context ends. `app.rs` stands for the line in your program that canceled the context, set the deadline or timeout, or called
//! `builder` or `new` of the policy.
//! `request` is the name of the caller's context. In the second column, "the policy:" means that the policy refused or ended
//! the call itself, and "it" and "its" refer to the policy of the row. The column `{}` contains the short text of the error.
//! The column `{:#}` contains the long text. "Sources" are the errors in the [`source`](std::error::Error::source) chain.
//! "Outcome" is [`Error::outcome`].
//!
//! A panic of a call goes to the caller of `run`. A panic of a cache load or of a pool job becomes an error, because these run
//! in tasks that the policy spawned.
//!
#![doc = include_str!("../docs/ends.md")]
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items.
//!
//! - `metrics` adds a method `record_metrics` to every policy, which reports the statistics through the crate `metrics`. See
//!   `describe_metrics`. Leave it off if you install no recorder. Cost: the crate `metrics`, and the
//!   cost of the feature `metrics` of `ripcord`, which it turns on.
//! - `tower` adds `tower::PolicyLayer`, which wraps a tower service in a policy. Cost: the crates `tower-layer` and
//!   `tower-service`, which contain only traits.
#![forbid(unsafe_code)]

mod attempt;
mod cache_padded;
mod config;
mod error;
mod idle_map;
#[cfg(feature = "metrics")]
mod metrics;
mod outcome;
mod panics;
mod random;
mod semaphore;
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
pub use error::{Error, Panicked, Refused, SharedError, StopReason};
pub use fallback::Fallback;
pub use hedge::Hedge;
pub use limiter::{ExceedsBurst, KeyedLimiter, Quota, Rate, RateLimiter, Reservation};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use outcome::Outcome;
pub use pool::{JobHandle, WorkerPool};
pub use random::Random;
pub use retry::{Jitter, Retry, RetryBudget, RetryEvent};
pub use stack::Stack;
pub use stats::CallStats;

/// Runs the README's program as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Runs every line of the README's table for Go programmers as a test.
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
