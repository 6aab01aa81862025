//! Rate limits, caches, cancellation, work queues and circuit breakers that many machines share over Redis 7 or Valkey, under a
//! [`ripcord::Context`].
//!
//! A program creates one [`Client`] and passes it to the other types. The page of each type has an example, and says what the type
//! does while Redis is unavailable.
//!
//! The guide in `docs/guide` of the repository has a chapter about services on many machines.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = "0.1"
//! ripcord-policy = "0.1"                               # limiter, cache, circuit breaker, retry
//! ripcord-redis = "0.1"
//! serde = { version = "1", features = ["derive"] }     # for cached values, jobs and reports
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! The README of the crate has a whole program.
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | connect to Redis | [`Client`] |
//! | limit the rate of calls, for all machines together | [`Limiter`], a backend of `RateLimiter` and `KeyedLimiter` |
//! | share a cache between processes | [`CacheLevel`], a second level of `Cache` |
//! | share the state of circuit breakers | [`SharedBreaker`] |
//! | cancel contexts on other machines | [`Hub`] |
//! | submit jobs that any machine runs, and run them | [`Queue`], [`Worker`] |
//! | publish a report of this process, and read the reports of all processes | [`Fleet`] |
//!
//! `RateLimiter`, `KeyedLimiter`, `Cache` and `CircuitBreaker` are types of [`ripcord_policy`].
//!
//! # Features
//!
//! No feature is on by default.
//!
//! - `metrics` adds the function `describe_metrics`, and a method `record_metrics` to [`Client`], [`Limiter`], [`Hub`],
//!   [`SharedBreaker`] and [`QueueStats`]. The method copies the statistics to the recorder of the crate `metrics`. Leave this
//!   feature off if you install no recorder. Cost: the crate `metrics`, and the cost of the feature `metrics` of `ripcord`, which
//!   it turns on.
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
