//! The requests of a connection: how they join, leave, report to and upgrade the connection.

use std::sync::Arc;

use ripcord::Context;

use super::{
    executor::{self, UpgradedStream},
    peer::{Peer, Shared, Upgraded},
};
use crate::server::{
    ClientDisconnected,
    lifetime::Lifetime,
    on_connection::{Connection, Member, OnConnection, UpgradedRequest, Upload},
};

impl Peer {
    pub(super) fn handle(&self, upload: Option<Upload>) -> OnConnection {
        OnConnection { connection: Arc::clone(&self.0) as Arc<dyn Connection>, upload }
    }

    /// Returns the contexts that end the requests in flight, even if their client has disconnected.
    pub(super) fn limits(&self) -> Vec<Context> {
        let lifetimes: Vec<_> = self.lock().requests.iter().map(|(_, request)| Arc::clone(&request.lifetime)).collect();
        lifetimes.iter().map(|lifetime| lifetime.limit()).collect()
    }

    /// Returns a context that ends when the upgraded connection is closed, or `None` if the connection was not upgraded.
    pub(super) fn upgraded(&self) -> Option<Context> {
        self.lock().upgraded.as_ref().map(|upgraded| upgraded.open.clone())
    }

    /// Handles the drop of the stream.
    pub(super) fn closed(&self) {
        let upgraded = self.lock().upgraded.take();
        if let Some(upgraded) = upgraded {
            for request in upgraded.requests {
                request.closed();
            }
        }
    }
}

impl Connection for Shared {
    fn join(&self, request: Member) -> usize {
        let (lifetime, half_close) = (Arc::clone(&request.lifetime), request.half_close);
        let server = request.settings.server.clone();
        let (key, going, before) = {
            let mut state = self.lock();
            let before = state.server.replace(server);
            (state.requests.insert(request), state.going, before)
        };
        // Dropped outside the lock, because it may be the last reference.
        drop(before);
        if going.is_some_and(|going| going.ends(half_close)) {
            lifetime.client_gone(ClientDisconnected);
        }
        key
    }

    fn leave(&self, key: usize) {
        // Dropped outside the lock, because it may be the last reference.
        let removed = self.lock().requests.try_remove(key);
        drop(removed);
    }

    fn sending(&self, lifetime: &Arc<Lifetime>) {
        executor::sending(lifetime);
    }

    fn upgrade(self: Arc<Self>, request: Box<dyn UpgradedRequest>) {
        let busy = Peer(Arc::clone(&self)).busy();
        let stream = executor::upgrade(UpgradedStream::new(request, busy));
        let Some(request) = stream.and_then(UpgradedStream::into_request) else { return };
        let (open, close) = Context::background().with_cancel();
        let unused = {
            let mut state = self.lock();
            let fresh = Upgraded { requests: Vec::new(), open, _close: close };
            let (upgraded, unused) = match &mut state.upgraded {
                Some(upgraded) => (upgraded, Some(fresh)),
                none => (none.insert(fresh), None),
            };
            upgraded.requests.push(request);
            unused
        };
        drop(unused);
    }
}
