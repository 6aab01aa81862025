//! The link between a request and the connection that it came over.

use std::{fmt, sync::Arc};

use http::Extensions;

use super::{HalfClose, layer::Settings, lifetime::Lifetime, request::InFlight};

/// A connection that knows its requests in flight, and cancels them when the client disconnects.
pub(super) trait Connection: Send + Sync {
    fn join(&self, request: Member) -> usize;

    fn leave(&self, key: usize);

    /// Keeps an upgraded request until the connection, or the stream of HTTP/2, is closed.
    fn upgrade(self: Arc<Self>, request: InFlight);
}

/// The connection, in the extensions of each of its requests.
#[derive(Clone)]
pub(super) struct OnConnection(pub(super) Arc<dyn Connection>);

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
    /// Joins the connection in these extensions. Returns `None` if the connection is not watched.
    pub(super) fn begin(extensions: &Extensions, settings: &Arc<Settings>, lifetime: &Arc<Lifetime>) -> Option<Self> {
        let OnConnection(connection) = extensions.get::<OnConnection>()?;
        let (half_close, lifetime, settings) = (settings.half_close, Arc::clone(lifetime), Arc::clone(settings));
        let key = connection.join(Member { half_close, lifetime, settings });
        Some(Membership { connection: Arc::clone(connection), key })
    }

    pub(super) fn connection(&self) -> Arc<dyn Connection> {
        Arc::clone(&self.connection)
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
