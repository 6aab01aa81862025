//! The client's half: a call that ends with its Context and tells the peer what that says.
//!
//! [`ClientLayer`] is for any tower HTTP client; feature `reqwest` has the same for reqwest.
//!
//! # What a call sends
//!
//! | header | from | unless |
//! |---|---|---|
//! | the deadline's, in one [`Dialect`](crate::deadline::Dialect) | what is left, rounded down | the Context has no deadline |
//! | `x-request-id` | [`RequestId`](crate::RequestId) | |
//! | `traceparent` | a child of [`Traceparent`](crate::trace_context::Traceparent) | |
//! | `tracestate` | [`Tracestate`](crate::trace_context::Tracestate) | there is no traceparent of ours for it |
//! | `baggage` | [`Baggage`](crate::trace_context::Baggage) | its key is not allowed: none is, by default |
//!
//! The last four are values of the Context, and only what it has is sent. That is then the only header of its name: one that
//! the request carried already is replaced. Where the Context has nothing to say, the request's own stays.
//!
//! A deadline can only shorten: when the Context has one and the request carries headers of the known dialects, set by hand or
//! copied from an incoming request, the shortest of all is sent, in the dialect chosen, and no other. A malformed one counts
//! as absent.
//!
//! When nothing is left, the call fails and nothing is sent. That is so too when what is left is less than the dialect can say.
//!
//! # How a call ends
//!
//! With its result, or at the Context's end, whichever is first; a result that is ready when the end comes wins. Dropping
//! the call, or the response's body, cancels it as the client below does: HTTP/1 closes the connection, HTTP/2 resets the stream.
//! The response's body obeys the Context as well: after the end it gives an error, not data, but a body that was read
//! to its end has ended.

mod baggage_filter;
mod body;
mod error;
mod future;
mod layer;
mod outgoing;
mod request_ext;
#[cfg(feature = "reqwest")]
pub mod reqwest;
mod span;
mod under;

pub use baggage_filter::BaggageFilter;
pub use body::ResponseBody;
pub use error::Error;
pub use future::ResponseFuture;
pub use layer::{Client, ClientLayer};
pub use request_ext::RequestExt;
