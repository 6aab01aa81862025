//! HTTP servers whose requests each have a [`Context`](ripcord::Context).
//!
//! [`ContextLayer`] is a tower layer. It inserts a context into the extensions of each request. The context ends when the request
//! ends:
//!
//! | event | handler | context | response |
//! |---|---|---|---|
//! | the handler responds | done | canceled with the cause [`RequestAnswered`] when the body has been sent | the handler's response |
//! | the deadline passes | polled once more, then dropped | deadline exceeded | 504, or an aborted body |
//! | the server cancels, for example at a shutdown | polled once more, then dropped | canceled with the server's cause | 503, or an aborted body |
//! | the handler panics | done | canceled with the panic as its cause | 500, or an aborted body |
//! | the client disconnects | dropped by the server. On HTTP/1 with `ripcord_http::serve` or `connection::watch`, it continues until the deadline, unless the client resets the connection | canceled with [`ClientDisconnected`] | none, unless the client has only closed its sending half |
//! | a trusted client cancels and sends a cause ([`ContextLayer::remote_cancel`]) | dropped when the client closes the call | canceled with [`ClientCanceled`] | none |
//! | the connection or HTTP/2 stream is upgraded (WebSocket) | done | lives until the connection or stream is closed | 101, or 200 to a CONNECT |
//!
//! A gRPC request gets status 200 and a `grpc-status` instead: 4 at the deadline, 1 for a cancel, 13 for a panic.
//!
//! When the context ends before the handler has responded, the handler is polled once more before it is dropped. In this poll, it
//! can write a log line or return a response. A response that is ready at the deadline is sent. Tasks that the handler has spawned
//! are not dropped. If a task holds the context, it can see that the context has ended.

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
pub use outcome::{ClientCanceled, ClientDisconnected, DeadlineSource, Finished, RequestAnswered, RequestOutcome};
pub use service::ContextService;
pub use settings::HalfClose;
#[cfg(feature = "inspector")]
pub(crate) use stats::Counters;
pub use stats::ServerStats;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Returns the message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    ripcord::panic_message(panic).unwrap_or("no message").to_owned()
}
