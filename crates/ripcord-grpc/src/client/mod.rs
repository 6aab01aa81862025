//! The client side: a call ends with its context, and tells the server the time left, the request ID and the trace.
//!
//! [`ClientLayer`] is [`ripcord_http::client::ClientLayer`] for gRPC. A call sends what that module describes, with the deadline in
//! `grpc-timeout`.
//!
//! The deadline holds for the whole call: until the head of the response, and then for every message of a stream. A call that its context
//! ends is reset, so that the server learns of it. The request stream is dropped with it.
//!
//! | answer of the server | result |
//! |---|---|
//! | a status | unchanged |
//! | `CANCELLED`, after the call's own deadline | `DEADLINE_EXCEEDED` |
//! | `grpc-status-details-bin` that is not base64 | the status, without the details |
//! | none: it cannot be reached, it resets the stream, the connection is lost | an [`Error`](crate::Error) with a code |

mod answer;
mod future;
mod layer;

pub use answer::ResponseBody;
pub use future::ResponseFuture;
pub use layer::{Client, ClientLayer};
