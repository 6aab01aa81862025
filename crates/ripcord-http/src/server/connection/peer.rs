//! The state that the stream, the service and the watch of a connection share: its client, and the requests on it.
//!
//! `activity.rs` adds the connection's activity. `requests.rs` adds how requests join and leave the connection.
//!
//! # Invariants
//!
//! 1. Lifetimes are ended outside the lock, because this wakes tasks.
//! 2. A request that has upgraded its connection is stored here until the stream is dropped. The request keeps this state alive,
//!    so the drop of the stream removes the request.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ripcord::{Canceler, Context};
use slab::Slab;

use super::activity::Traffic;
use crate::server::{
    ClientDisconnected, HalfClose,
    on_connection::{Member, UpgradedRequest},
};

#[derive(Clone, Default)]
pub(super) struct Peer(pub(super) Arc<Shared>);

#[derive(Default)]
pub(super) struct Shared {
    pub(super) traffic: Traffic,
    state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) going: Option<Going>,
    pub(super) requests: Slab<Member>,
    /// The server's context of the latest request.
    pub(super) server: Option<Context>,
    /// The context whose end closes the connection.
    until: Option<Context>,
    pub(super) upgraded: Option<Upgraded>,
}

/// The requests that have upgraded the connection.
pub(super) struct Upgraded {
    pub(super) requests: Vec<Box<dyn UpgradedRequest>>,
    pub(super) open: Context,
    pub(super) _close: Canceler,
}

/// The way in which a client has disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Going {
    /// A FIN: the client sends no more data, and may have closed the connection.
    Closed,
    /// A reset or a failed write: the client also no longer reads.
    Gone,
}

impl Going {
    pub(super) fn ends(self, half_close: HalfClose) -> bool {
        match half_close {
            HalfClose::Cancel => true,
            HalfClose::Allow => self == Going::Gone,
        }
    }
}

impl Peer {
    /// Records a disconnect. Ends the requests that it affects, including later requests.
    pub(super) fn goes(&self, going: Going) {
        let ended: Vec<_> = {
            let mut state = self.lock();
            if state.going >= Some(going) {
                return;
            }
            state.going = Some(going);
            let ended = state.requests.iter().filter(|(_, request)| going.ends(request.half_close));
            ended.map(|(_, request)| Arc::clone(&request.lifetime)).collect()
        };
        for lifetime in ended {
            lifetime.client_gone(ClientDisconnected);
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.lock().going == Some(Going::Gone)
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.0.traffic
    }

    /// Records the start of a request. The request is in flight until the returned value is dropped.
    pub(super) fn begin_request(&self, is_http2: bool) -> OnPeer {
        self.traffic().begin_request(is_http2);
        self.busy()
    }

    /// Keeps the connection busy until the returned value is dropped.
    pub(super) fn busy(&self) -> OnPeer {
        self.traffic().busy();
        OnPeer(self.clone())
    }

    /// Returns the server's context of the latest request, for its clock and its end. A connection without such a context uses
    /// the system's clock.
    pub(super) fn server(&self) -> Context {
        let state = self.lock();
        state.server.as_ref().or(state.until.as_ref()).cloned().unwrap_or_else(Context::background)
    }

    /// Returns a context that is never canceled, for the connection's own timeouts.
    pub(super) fn clock(&self) -> Context {
        let state = self.lock();
        let ctx = state.until.as_ref().or(state.server.as_ref()).cloned();
        drop(state);
        ctx.map_or_else(Context::background, |ctx| ctx.without_cancel())
    }

    pub(super) fn set_until(&self, until: &Context) {
        self.lock().until = Some(until.clone());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code that panics runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of work that keeps a connection busy until this value is dropped.
#[derive(Debug)]
pub(super) struct OnPeer(Peer);

impl OnPeer {
    pub(super) fn peer(&self) -> &Peer {
        &self.0
    }
}

impl Drop for OnPeer {
    fn drop(&mut self) {
        self.0.traffic().done();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Peer").field("going", &state.going).field("requests", &state.requests.len()).finish()
    }
}
