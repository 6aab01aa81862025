//! Limits, caches, cancellations, work queues and breaker states that many machines share over Redis or Valkey, under a
//! [`ripcord::Context`].
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | connect to Redis | [`Client`] |
//!
//! # Features
//!
//! No feature is on by default.
//!
//! - `metrics`: reports the statistics through the facade crate `metrics`.
#![forbid(unsafe_code)]

mod client;
mod error;

pub use client::{Client, ClientBuilder, ClientStats};
pub use error::Error;

/// Tests the README's programs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
