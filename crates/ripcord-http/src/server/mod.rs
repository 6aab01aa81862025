//! A Context for every request of an HTTP server.
//!
//! [`ContextLayer`] gives a request its [`Context`](ripcord::Context), in the request's extensions, and ends it when the request
//! ends:
//!
//! | what happens | the handler | its Context | the client |
//! |---|---|---|---|
//! | it answers | | canceled once the body has been sent | its answer |
//! | the deadline passes | dropped | deadline exceeded | 504, or a body cut short |
//! | the server cancels | dropped | canceled, the server's cause | 503, or a body cut short |
//! | it panics | gone | canceled, the panic as the cause | 500, or a body cut short |
//! | the client goes away | dropped | canceled, [`ClientDisconnected`] | |
//!
//! A handler that watches its Context is polled once more before it is dropped, so it can log, and even answer: at the
//! deadline, a result that is ready wins. What it spawned is not dropped with it, but holds the Context, and is told.

mod body;
#[cfg(feature = "connection")]
pub mod connection;
mod deadline_source;
mod detach;
mod disconnected;
mod ended;
mod ending;
#[cfg(feature = "axum")]
mod extract;
mod future;
mod headers;
#[cfg_attr(not(feature = "inspector"), path = "no_inspection.rs")]
mod inspection;
mod layer;
mod life;
#[cfg(not(feature = "connection"))]
mod no_attendance;
#[cfg_attr(not(feature = "tracing"), path = "no_own_trace.rs")]
mod own_trace;
mod request;
mod service;
mod stats;

use std::any::Any;

pub use body::ContextBody;
#[cfg(feature = "connection")]
use connection::Attendance;
pub use deadline_source::DeadlineSource;
pub use detach::{Detached, RunDetached, detach};
pub use disconnected::ClientDisconnected;
pub use ended::Ended;
pub use ending::{Ending, Outcome};
#[cfg(feature = "axum")]
pub use extract::{Ctx, CtxRejection, CtxValue, matched_path, method_and_path};
pub use future::ResponseFuture;
#[cfg(feature = "inspector")]
pub(crate) use inspection::place_of;
pub use layer::{ContextLayer, HalfClose};
#[cfg(not(feature = "connection"))]
use no_attendance::Attendance;
pub use service::ContextService;
#[cfg(feature = "inspector")]
pub(crate) use stats::Counters;
pub use stats::ServerStats;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What `panic!` was given, for nearly every panic.
fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&'static str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "of an unknown kind".to_owned()
    }
}
