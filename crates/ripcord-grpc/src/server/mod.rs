//! The server side: a context for every call.
//!
//! [`ServerLayer`] completes [`ContextLayer`](ripcord_http::server::ContextLayer), which already answers gRPC requests in gRPC's terms:
//!
//! | part of a call | added |
//! |---|---|
//! | the context | values from [`Metadata`](crate::Metadata) of trusted clients |
//! | the request stream | it ends with the context, even in a task that the handler has spawned. Each message is progress for an idle timeout |
//! | the response | `ripcord-cause` leaves only to trusted clients, also if it came from an upstream |
//! | the end of the call | the code, for logs and metrics |
//!
//! A request that is not gRPC's passes unchanged.

mod body;
mod call;
mod layer;
mod service;

pub use body::{RequestBody, ResponseBody};
pub use call::{Call, method};
pub use layer::ServerLayer;
pub use service::{CallFuture, CallService, ServerService};
