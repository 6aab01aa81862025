//! A context for every request of an HTTP server.
//!
//! [`ContextLayer`] inserts a [`Context`](ripcord::Context) into the extensions of each request, and ends it when the request
//! ends:
//!
//! | event | handler | its context | response |
//! |---|---|---|---|
//! | the handler answers | done | canceled when the body has been sent, [`RequestAnswered`] | the handler's |
//! | the deadline passes | dropped | deadline exceeded | 504, or an aborted body |
//! | the server cancels | dropped | canceled, with the server's cause | 503, or an aborted body |
//! | the handler panics | gone | canceled, with the panic as its cause | 500, or an aborted body |
//! | the client disconnects | dropped | canceled, [`ClientDisconnected`] | none |
//! | a trusted client cancels and says why | dropped | canceled, [`ClientCanceled`], with [`ContextLayer::remote_cancel`] | none |
//! | a connection or a stream of HTTP/2 is upgraded (WebSocket) | done | lives until that is closed | 101, or 200 to a CONNECT |
//!
//! A gRPC request gets status 200 and a `grpc-status` instead: 4 at the deadline, 1 for a cancel, 13 for a panic.
//!
//! A handler that watches its context is polled once more before it is dropped, so it can log or even answer. A result that is
//! ready at the deadline is sent. Tasks that the handler spawned are not dropped with the handler. A task that holds the context
//! sees its end.

// A request passes through these files, in this order: `layer.rs`, `service.rs` (derives the context), `headers.rs`,
// `lifetime.rs` (ends the context), `request.rs` (the request in flight), `future.rs`, `body.rs`, `outcome.rs`. `ended.rs` turns
// an error of the handler into a response.

mod body;
#[cfg(feature = "connection")]
pub mod connection;
mod content;
mod detach;
mod ended;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod grpc;
mod handle;
mod headers;
mod layer;
mod lifetime;
mod observer;
mod on_connection;
mod outcome;
mod own_span;
#[cfg(feature = "policy")]
mod policy;
mod remote_cancel;
mod request;
#[cfg(feature = "tracing")]
mod server_span;
mod service;
mod settings;
mod stats;

use std::any::Any;

pub use body::ContextBody;
pub use detach::{Detached, RunDetached, detach};
pub use ended::Ended;
#[cfg(feature = "axum")]
pub use extract::{Ctx, CtxRejection, CtxValue, matched_path, method_and_path};
pub use future::ResponseFuture;
#[cfg(feature = "inspector")]
pub(crate) use handle::entry_key_for;
pub use layer::ContextLayer;
#[cfg(feature = "inspector")]
pub(crate) use observer::{EntryKey, Observer, StartedRequest};
pub use outcome::{ClientCanceled, ClientDisconnected, DeadlineSource, Finished, Outcome, RequestAnswered};
pub use service::ContextService;
pub use settings::HalfClose;
#[cfg(feature = "inspector")]
pub(crate) use stats::Counters;
pub use stats::ServerStats;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&'static str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "of an unknown kind".to_owned()
    }
}
