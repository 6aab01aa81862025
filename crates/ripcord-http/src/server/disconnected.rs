//! The client's going, as a cause.

use std::{error::Error, fmt};

/// The cause of a request's end when its client has gone away before it was over.
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::server::ClientDisconnected;
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// cancel.cancel_with(ClientDisconnected);
/// assert!(ctx.cause().unwrap().downcast_ref::<ClientDisconnected>().is_some());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientDisconnected;

impl fmt::Display for ClientDisconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client disconnected")
    }
}

impl Error for ClientDisconnected {}
