//! The client's end of a connection, as its requests see it.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::Extensions;
use slab::Slab;

use crate::server::{HalfClose, life::Life};

/// The client's end of a connection, in the extensions of every request that comes over it.
///
/// It knows the requests on their way. Their lives are ended outside of its lock, since that wakes tasks.
#[derive(Clone, Default)]
pub(super) struct Peer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    going: Option<Going>,
    requests: Slab<(HalfClose, Arc<Life>)>,
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
            let ended = state.requests.iter().filter(|(_, (half_close, _))| going.ends(*half_close));
            ended.map(|(_, (_, life))| Arc::clone(life)).collect()
        };
        for life in ended {
            life.client_gone();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that panics runs under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(in crate::server) fn begin(extensions: &Extensions, half_close: HalfClose, life: &Arc<Life>) -> Option<Self> {
        let peer = extensions.get::<Peer>()?;
        let (key, going) = {
            let mut state = peer.lock();
            (state.requests.insert((half_close, Arc::clone(life))), state.going)
        };
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
