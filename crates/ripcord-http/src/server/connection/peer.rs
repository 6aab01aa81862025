//! The client's end of a connection, as its requests see it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use http::Extensions;
use ripcord::Context;
use slab::Slab;

use crate::server::{HalfClose, layer::Settings, life::Life, request::Limit};

/// The client's end of a connection, in the extensions of every request that comes over it.
///
/// It knows the requests on their way. Their lives are ended outside of its lock, since that wakes tasks.
#[derive(Clone, Default)]
pub(super) struct Peer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    // Relaxed: both are written and read in the task of the connection.
    /// Whether the last write found no room.
    takes_nothing: AtomicBool,
    /// The writes that did.
    writes: AtomicU64,
    state: Mutex<State>,
}

/// How often a client has taken something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writes(u64);

#[derive(Default)]
struct State {
    going: Option<Going>,
    requests: Slab<Attending>,
    /// What the last of the requests was below.
    server: Option<Context>,
}

/// A request on its way.
struct Attending {
    half_close: HalfClose,
    life: Arc<Life>,
    limit: Limit,
}

/// How far a client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Going {
    /// It sends nothing more, which may be all of it: a FIN.
    Closed,
    /// It takes nothing more either: a reset, or a failed write.
    Gone,
}

impl Going {
    fn ends(self, half_close: HalfClose) -> bool {
        match half_close {
            HalfClose::Cancel => true,
            HalfClose::Allow => self == Going::Gone,
        }
    }
}

impl Peer {
    /// Ends the requests that end by this, those to come included.
    pub(super) fn goes(&self, going: Going) {
        let ended: Vec<_> = {
            let mut state = self.lock();
            if state.going >= Some(going) {
                return;
            }
            state.going = Some(going);
            let ended = state.requests.iter().filter(|(_, request)| going.ends(request.half_close));
            ended.map(|(_, request)| Arc::clone(&request.life)).collect()
        };
        for life in ended {
            life.client_gone();
        }
    }

    /// A write has found room.
    pub(super) fn takes(&self) {
        self.0.takes_nothing.store(false, Ordering::Relaxed);
        self.0.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A write has found no room.
    pub(super) fn takes_nothing(&self) {
        self.0.takes_nothing.store(true, Ordering::Relaxed);
    }

    /// Whether the last write found no room, and how many had before it.
    pub(super) fn stalled(&self) -> Option<Writes> {
        let is_stalled = self.0.takes_nothing.load(Ordering::Relaxed);
        is_stalled.then(|| Writes(self.0.writes.load(Ordering::Relaxed)))
    }

    /// What ends the requests on their way, whether or not their client is there.
    pub(super) fn limits(&self) -> Vec<Context> {
        let limits: Vec<_> = self.lock().requests.iter().map(|(_, request)| request.limit.clone()).collect();
        // Outside of the lock, for whatever goes on where a Context is made.
        limits.iter().map(Limit::context).collect()
    }

    /// What the requests are below, for its clock and its end. A connection that no layer has seen a request of goes by the
    /// system's clock.
    pub(super) fn server(&self) -> Context {
        self.lock().server.clone().unwrap_or_else(Context::background)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics runs under it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Peer").field("going", &state.going).field("requests", &state.requests.len()).finish()
    }
}

/// A request's place with its peer, until it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Attendance {
    peer: Peer,
    key: usize,
}

impl Attendance {
    /// With the peer of the request that these extensions are of, if its connection has one.
    pub(in crate::server) fn begin(
        extensions: &Extensions,
        settings: &Settings,
        ctx: &Context,
        life: &Arc<Life>,
    ) -> Option<Self> {
        let peer = extensions.get::<Peer>()?;
        let (limit, half_close) = (Limit::of(&settings.server, ctx), settings.half_close);
        let server = settings.server.clone();
        let (key, going, before) = {
            let mut state = peer.lock();
            let before = state.server.replace(server);
            (state.requests.insert(Attending { half_close, life: Arc::clone(life), limit }), state.going, before)
        };
        // Outside of the lock it may be the last reference.
        drop(before);
        if going.is_some_and(|going| going.ends(half_close)) {
            life.client_gone();
        }
        Some(Attendance { peer: peer.clone(), key })
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        // Outside of the lock it may be the last reference to the life, which ends a Context then.
        let removed = self.peer.lock().requests.try_remove(self.key);
        drop(removed);
    }
}
