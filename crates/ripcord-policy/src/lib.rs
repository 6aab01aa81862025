//! Retry, circuit breaker, rate limiter, cache, worker pool and their kin, which know how much time is left.
//!
//! Every policy here takes a [`ripcord::Context`] where it may block, obeys that context's deadline and cancellation,
//! sleeps on its clock, and works alone or as a layer of a stack.
//!
//! What a policy keeps between calls goes by one clock of its own: a [`CircuitBreaker`], a [`RateLimiter`] and a
//! [`KeyedLimiter`] read the one they were given when they were built, the system's unless another was set, and a
//! [`Cache`] and a [`WorkerPool`] that of the context they were built under. A test gives these and its contexts the
//! same manual clock.
//!
//! They agree on a few things, so that they compose:
//!
//! * one outcome type, [`Outcome`]: the caller's own cancellation and a local rejection are neutral everywhere;
//! * one error shape, [`Error`] for a call through a policy and [`Refused`] for what runs no call;
//! * one stats shape, see [`stats`]; one builder error, [`ConfigError`]; one seedable random source, [`Random`];
//! * a call is lent its caller's own context (`&Context`) by a policy that leaves it as it is, and is given one (`Context`) by
//!   a policy that makes one for it: for an attempt, a load, a task;
//! * a deadline is a budget: what cannot finish in time is not begun, and fails at once;
//! * layers of retries do not multiply: under an attempt's context ([`Attempt`]) a retry makes one
//!   attempt;
//! * every permit is a drop guard: dropping a future gives back what it held.
//!
//! No function of this crate panics for an argument; what is out of bounds is a [`ConfigError`] when it is built.
//! Hooks and classifiers run outside of all locks, and one that panics harms only the call that ran it.

#![forbid(unsafe_code)]

mod attempt;
mod cache_line;
mod caller;
mod config;
mod error;
mod outcome;
mod panics;
mod places;
mod random;
mod shared_error;
#[cfg(all(test, ripcord_shuttle))]
mod shuttle_models;
mod sync;
mod tally;
mod timeline;

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

pub use attempt::Attempt;
pub use breaker::CircuitBreaker;
pub use bulkhead::Bulkhead;
pub use cache::Cache;
pub use config::ConfigError;
pub use error::{Error, Panicked, Refused, Stop};
pub use fallback::Fallback;
pub use hedge::Hedge;
pub use limiter::{ExceedsBurst, KeyedLimiter, LimiterStats, Quota, Rate, RateLimiter, Reservation};
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
