//! The link between a request and its connection.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::Extensions;
use ripcord::Context;

use super::{HalfClose, lifetime::Lifetime, settings::Settings};

/// A connection that knows its requests in flight, and cancels them when the client disconnects.
pub(super) trait Connection: Send + Sync {
    fn join(&self, request: Member) -> usize;

    fn leave(&self, key: usize);

    /// Reports that the task being polled has passed on a part of a response.
    fn sending(&self, lifetime: &Arc<Lifetime>);

    /// Keeps an upgraded request until its connection or HTTP/2 stream is closed.
    fn upgrade(self: Arc<Self>, request: Box<dyn UpgradedRequest>);
}

/// A request whose connection or HTTP/2 stream has switched to another protocol. The request is in flight until this is dropped.
#[cfg_attr(not(feature = "connection"), expect(dead_code, reason = "only the feature `connection` closes one"))]
pub(super) trait UpgradedRequest: Send {
    /// Handles the close of the connection or stream.
    fn closed(self: Box<Self>);
}

/// An extension of each request: its connection.
#[derive(Clone)]
pub(super) struct OnConnection {
    pub(super) connection: Arc<dyn Connection>,
    /// `None` if the request has no body.
    pub(super) upload: Option<Upload>,
}

/// The contexts whose idle timeout is restarted by each chunk of a request's body. The layers add the contexts, and the body
/// takes them. No user code runs under the lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Upload(Arc<Mutex<Vec<Context>>>);

impl Upload {
    /// Adds `ctx`, the context of a layer with an idle timeout, to the upload in these extensions, if the connection is watched.
    pub(super) fn add(extensions: &Extensions, ctx: &Context) {
        if let Some(upload) = extensions.get::<OnConnection>().and_then(|request| request.upload.as_ref()) {
            upload.lock().push(ctx.clone());
        }
    }

    /// Moves the added contexts to the end of `contexts`.
    #[cfg(feature = "connection")]
    pub(super) fn take(&self, contexts: &mut Vec<Context>) {
        contexts.append(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Context>> {
        // No code that panics runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The data that a connection has about a request.
#[cfg_attr(not(feature = "connection"), expect(dead_code, reason = "only the feature `connection` reads it"))]
pub(super) struct Member {
    pub(super) half_close: HalfClose,
    pub(super) lifetime: Arc<Lifetime>,
    pub(super) settings: Arc<Settings>,
}

/// A request's membership in its connection. Dropping it removes the request.
pub(super) struct Membership {
    connection: Arc<dyn Connection>,
    key: usize,
}

impl Membership {
    /// Joins the connection in these extensions. Returns `None` if there is no watched connection.
    pub(super) fn begin(extensions: &Extensions, settings: &Arc<Settings>, lifetime: &Arc<Lifetime>) -> Option<Self> {
        let OnConnection { connection, .. } = extensions.get::<OnConnection>()?;
        let (half_close, lifetime, settings) = (settings.half_close, Arc::clone(lifetime), Arc::clone(settings));
        let key = connection.join(Member { half_close, lifetime, settings });
        Some(Membership { connection: Arc::clone(connection), key })
    }

    pub(super) fn connection(&self) -> &Arc<dyn Connection> {
        &self.connection
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.connection.leave(self.key);
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("key", &self.key).finish_non_exhaustive()
    }
}
