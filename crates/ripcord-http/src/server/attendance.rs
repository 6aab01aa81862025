//! A request's place with the connection that it came over.

use std::{fmt, sync::Arc};

use http::Extensions;

use super::{HalfClose, layer::Settings, lifetime::Lifetime, request::InFlight};

/// A connection that knows the requests on it, and tells them when the client disconnects.
pub(super) trait Connection: Send + Sync {
    fn join(&self, request: Attending) -> usize;

    fn leave(&self, key: usize);

    /// Keeps a request whose connection becomes another protocol's, until that is closed.
    fn upgrade(&self, request: InFlight);
}

/// The connection, in the extensions of each request that comes over it.
#[derive(Clone)]
pub(super) struct OnConnection(pub(super) Arc<dyn Connection>);

/// What a connection knows of a request.
#[cfg_attr(not(feature = "connection"), expect(dead_code, reason = "nothing reads it without that feature"))]
pub(super) struct Attending {
    pub(super) half_close: HalfClose,
    pub(super) lifetime: Arc<Lifetime>,
    pub(super) settings: Arc<Settings>,
}

/// The request's place with its connection, until this is dropped.
pub(super) struct Attendance {
    connection: Arc<dyn Connection>,
    key: usize,
}

impl Attendance {
    /// Joins the connection of the request that has these extensions, if that is watched.
    pub(super) fn begin(extensions: &Extensions, settings: &Arc<Settings>, lifetime: &Arc<Lifetime>) -> Option<Self> {
        let OnConnection(connection) = extensions.get::<OnConnection>()?;
        let (half_close, lifetime, settings) = (settings.half_close, Arc::clone(lifetime), Arc::clone(settings));
        let key = connection.join(Attending { half_close, lifetime, settings });
        Some(Attendance { connection: Arc::clone(connection), key })
    }

    pub(super) fn connection(&self) -> Arc<dyn Connection> {
        Arc::clone(&self.connection)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.connection.leave(self.key);
    }
}

impl fmt::Debug for Attendance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attendance").field("key", &self.key).finish_non_exhaustive()
    }
}
