//! gRPC servers whose calls each have a [`Context`](ripcord::Context).
//!
//! [`ServerLayer`] is a tower layer. It extends the [`ContextLayer`](ripcord_http::server::ContextLayer) of `ripcord-http`, which
//! gives each request a context and responds with gRPC status codes when the context ends. `ServerLayer` adds:
//!
//! | part of a call | addition |
//! |---|---|
//! | the context | values from the [`Metadata`](crate::Metadata) of trusted clients |
//! | the request stream | returns an error when the context ends, even in a task that the handler has spawned; each message restarts the [idle timeout](ripcord_http::server::ContextLayer::idle_timeout) |
//! | the response | `ripcord-cause` is sent only to trusted clients, even if another server has sent it to the handler |
//! | the end of the call | the status code, for logs and metrics: [`ServerLayer::on_end`] |
//!
//! A request that is not a gRPC request has a context from `ContextLayer`, without these additions.

mod body;
mod call;
mod layer;
mod service;

pub use body::{RequestBody, ResponseBody};
pub use call::{Call, method};
pub use layer::ServerLayer;
pub use service::{CallFuture, CallService, ServerService};
