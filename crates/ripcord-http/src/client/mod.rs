//! HTTP clients whose calls end when a [`Context`](ripcord::Context) ends.
//!
//! [`ClientLayer`] wraps any tower HTTP client. The module `reqwest` (feature `reqwest`) does the same for reqwest. Each call sends
//! the time left until the context's deadline, the request ID and the trace to the server.
//!
//! # What a call sends
//!
//! | header | value | not sent if |
//! |---|---|---|
//! | the deadline header, in the chosen [`Dialect`](crate::deadline::Dialect) | the time left, rounded down | the context has no deadline |
//! | `x-request-id` | the context's [`RequestId`](crate::RequestId) | the context has none |
//! | `traceparent` | a child of the context's [`Traceparent`](crate::trace_context::Traceparent), or the call's CLIENT span (`trace_context::with_tracing`) | there is neither |
//! | `tracestate` | the context's [`Tracestate`](crate::trace_context::Tracestate) | the context has none, or no `traceparent` is sent |
//! | `baggage` | the members of the context's [`Baggage`](crate::trace_context::Baggage) that the [`BaggageFilter`] allows | the filter allows none, which is the default |
//!
//! These headers replace headers of the same name that the request already has. The deadline header also replaces the deadline
//! headers of the other dialects. If a call does not send one of the headers in the table, the request's own header is kept. There
//! is one exception: a call that sends a `traceparent` without a `tracestate` removes the request's own `tracestate`, because this
//! `tracestate` belongs to another trace.
//!
//! A call never sends more time than its context has left. If the request already has deadline headers with a shorter time, the
//! shortest time is sent. Malformed deadline headers are ignored.
//!
//! If less time is left than the unit of the deadline header, the call fails and nothing is sent. The unit is 1 ms, or 1 ns for
//! `grpc-timeout`. The error contains the source line that set the deadline.
//!
//! # How a call ends
//!
//! When the context of a call ends, the future of the wrapped client is dropped, and the call returns an error. If the response is
//! ready at that moment, the call returns the response.
//!
//! After the end of the context, reading the body of the response returns an error instead of data. A body that has been read
//! completely is not affected.
//!
//! Dropping the future of the call or the body of the response cancels the call. The wrapped client then
//! closes the connection (HTTP/1) or resets the stream (HTTP/2).

mod baggage_filter;
mod body;
mod call;
mod cause;
mod context_end;
mod error;
mod future;
mod layer;
mod outgoing;
mod progress;
mod request_ext;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod sources;
mod span;

pub use baggage_filter::BaggageFilter;
pub use body::ResponseBody;
#[cfg(feature = "metrics")]
pub(crate) use call::Call;
pub use cause::{CancelNotice, CauseBody, CauseFuture, CauseLayer, CauseService};
pub use error::Error;
pub use future::ResponseFuture;
pub use layer::{Client, ClientLayer};
pub use progress::{ProgressBody, ProgressLayer, ProgressService};
pub use request_ext::RequestExt;
