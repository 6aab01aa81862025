//! Reads and writes the headers of W3C Trace Context (level 2) and W3C Baggage.
//!
//! [`Traceparent`] and [`Tracestate`] identify the trace of a request. [`Baggage`] contains keys and values that are passed to
//! every service the request reaches. [`ContextLayer`](crate::server::ContextLayer) stores them in the request's context, and
//! [`ClientLayer`](crate::client::ClientLayer) sends them.
//!
//! # What the spans record
//!
//! This section needs the feature `tracing`. If a layer has the setting
//! [`ContextLayer::tracing`](crate::server::ContextLayer::tracing), each of its requests has a span. Each HTTP call made with the
//! context of such a request, or with a context from `with_tracing`, has a span too.
//!
//! A span has the status "error" after a deadline, a panic, or an HTTP status of 500 or above. The span of a call also has this
//! status after an HTTP status of 400 to 499, and after an error of the client, such as a failed connection. A cancel is not an
//! error. It does not matter whether the caller, a disconnected client, a hedge, a group or a dropped `Canceler` has canceled the
//! context.
//!
//! In the table, "own" is a span that the program started with [`Context::start_span`](ripcord::Context::start_span). The last two
//! columns are the attributes `ripcord.end.cause` and `ripcord.end.name`. `Context::tracing_span` lists all attributes that start
//! with `ripcord.`.
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
