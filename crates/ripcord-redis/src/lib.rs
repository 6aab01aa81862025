//! Limits, caches, cancellations, work queues and breaker states that many machines share over Redis or Valkey, under a
//! [`ripcord::Context`].
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | connect to Redis | [`Client`] |
//! | share the state of circuit breakers | [`SharedBreaker`] |
//! | cancel contexts on other machines | [`Hub`] |
//! | limit the rate of calls of all machines together | [`Limiter`], the backend of `RateLimiter` and `KeyedLimiter` |
//! | submit jobs that any machine runs, and run them | [`Queue`], [`Worker`] |
//! | share a cache between processes | [`CacheLevel`] |
//! | see all processes, and what each reports about itself | [`Fleet`] |
//!
//! # Features
//!
//! No feature is on by default.
//!
//! - `metrics` adds a method `record_metrics` to every type with statistics, which reports them through the facade crate
//!   `metrics`. See `describe_metrics`. Leave this feature off if you install no recorder. Cost: the crate `metrics`, and the
//!   cost of the feature `metrics` of `ripcord`, which it turns on.
#![forbid(unsafe_code)]

mod breaker;
mod cache;
mod client;
mod error;
mod fleet;
mod hub;
mod json;
mod limiter;
#[cfg(feature = "metrics")]
mod metrics;
mod queue;

pub use breaker::{SharedBreaker, SharedBreakerStats};
pub use cache::{CacheLevel, CacheLevelBuilder};
pub use client::{Client, ClientBuilder, ClientStats};
pub use error::Error;
pub use fleet::{Fleet, Member};
pub use hub::{BoundContext, ContextExt, Hub, HubBuilder, HubStats, RemoteCancel};
pub use limiter::{Limiter, LimiterStats, Mode, OnOutage};
#[cfg(feature = "metrics")]
pub use metrics::describe_metrics;
pub use queue::{
    CancelOutcome, DeadLetter, DeadReason, InvalidJobId, JobId, JobInfo, JobState, JobSummary, LeaseLost, Queue,
    QueueBuilder, QueueStats, Submission, Worker,
};

/// Tests the README's programs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
