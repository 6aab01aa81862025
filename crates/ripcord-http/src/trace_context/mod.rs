//! W3C Trace Context (level 2) and Baggage: a request's trace, and the values that travel with it.
//!
//! # What the spans record
//!
//! With the feature `tracing`, a request of [`ContextLayer::tracing`](crate::server::ContextLayer::tracing) and a call below
//! `with_tracing` each have a span. A deadline, a panic and a status of 500 or more are errors of the span. A cancel is not, whoever
//! canceled: the caller, a disconnected client, a hedge, a group, or a dropped `Canceler`. "own" is a span that the program started
//! with [`Context::start_span`](ripcord::Context::start_span).
//!
//! The last two columns are `ripcord.end.cause` and `ripcord.end.name`. `Context::tracing_span` lists all attributes under `ripcord.`.
//!
#![doc = include_str!("../../docs/telemetry.md")]

mod baggage;
pub(crate) mod hex;
mod link;
mod list;
mod traceparent;
mod tracestate;
#[cfg(feature = "tracing")]
pub(crate) mod with_tracing;

pub use baggage::Baggage;
pub use link::Link;
pub use traceparent::Traceparent;
pub use tracestate::Tracestate;
#[cfg(feature = "tracing")]
pub use with_tracing::with_tracing;
