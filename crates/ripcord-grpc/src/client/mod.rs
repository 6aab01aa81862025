//! gRPC clients whose calls end when a [`Context`](ripcord::Context) ends.
//!
//! [`ClientLayer`] wraps the transport of a gRPC client. Each call sends the time left until the context's deadline in
//! `grpc-timeout`, the request ID and the trace. The module [`ripcord_http::client`] lists the headers.
//!
//! The context applies to the whole call: to the wait for the head of the response, and to every message of the response stream.
//! When the context ends, the HTTP/2 stream is reset, so the server detects the cancel, and the request stream of the call is
//! dropped.
//!
//! | the server | result of the call |
//! |---|---|
//! | responds with a status | the status, unchanged |
//! | responds with `CANCELLED` after the call's own deadline | `DEADLINE_EXCEEDED` |
//! | responds with a `grpc-status-details-bin` that is not base64 | the status, without the details |
//! | does not respond: it cannot be reached, resets the stream, or the connection is lost | an [`Error`](crate::Error) with a code: see [`Error::code`](crate::Error::code) |

mod answer;
mod counted;
mod future;
mod layer;

pub use answer::ResponseBody;
pub use future::ResponseFuture;
pub use layer::{Client, ClientLayer};
