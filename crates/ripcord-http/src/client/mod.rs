//! The client side: a call ends with its context, and tells the peer the time left, the request id and the trace.
//!
//! [`ClientLayer`] is for any tower HTTP client. Feature `reqwest` offers the same for reqwest.
//!
//! # What a call sends
//!
//! | header | value | not sent if |
//! |---|---|---|
//! | the deadline's, in one [`Dialect`](crate::deadline::Dialect) | the time left, rounded down | the context has no deadline |
//! | `x-request-id` | [`RequestId`](crate::RequestId) | |
//! | `traceparent` | the call's own span, below the context's [`Traceparent`](crate::trace_context::Traceparent) | |
//! | `tracestate` | [`Tracestate`](crate::trace_context::Tracestate) | no traceparent is sent |
//! | `baggage` | [`Baggage`](crate::trace_context::Baggage) | the [`BaggageFilter`] does not allow the key; it allows none by default |
//!
//! The last four are values of the context. A value that the context has replaces the request's own headers of that name. Where the
//! context has no value, the request's own header stays.
//!
//! A deadline can only shorten. If the context has a deadline and the request carries relative deadline headers, the shortest of all is
//! sent, in the chosen dialect. A malformed header counts as absent.
//!
//! If no time is left, or less than the dialect can express, the call fails and nothing is sent. The error names the deadline.
//!
//! # How a call ends
//!
//! A call ends with its result or at the end of its context, whichever comes first. A result that is ready when the context ends wins.
//! Dropping the call, or the response's body, cancels it as the client below does: HTTP/1 closes the connection, HTTP/2 resets the
//! stream. The response's body observes the context too: after the end it returns an error instead of data. A body that was read to its
//! end has ended.

mod baggage_filter;
mod body;
mod call;
mod cause;
mod context_end;
mod error;
mod future;
mod layer;
mod outgoing;
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
pub use request_ext::RequestExt;
