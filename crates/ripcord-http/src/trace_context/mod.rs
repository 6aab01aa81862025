//! W3C Trace Context (level 2) and Baggage: a request's trace, and the values that travel with it.

mod baggage;
pub(crate) mod hex;
mod link;
mod list;
#[cfg(feature = "tracing")]
pub(crate) mod server_span;
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
