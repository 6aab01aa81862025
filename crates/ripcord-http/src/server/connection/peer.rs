//! The shared state of a connection: its client, and the requests on it.
//!
//! The stream, the service and the watch of a connection share one [`Peer`].
//!
//! # Invariants
//!
//! 1. Lifetimes are ended outside the lock, because that wakes tasks.
//! 2. A request that has upgraded its connection is kept here until that is dropped. The request keeps this state alive, so dropping the stream removes
//!    the request.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use ripcord::{Canceler, Context};
use slab::Slab;

use super::executor::{self, UpgradedStream};
use crate::server::{
    ClientDisconnected, HalfClose,
    on_connection::{Connection, Member, OnConnection, Upload},
    request::InFlight,
};

#[derive(Clone, Default)]
pub(super) struct Peer(Arc<Shared>);

#[derive(Default)]
struct Shared {
    // Relaxed: no other memory depends on these. The stream and the watch are in one task. A stream of HTTP/2 is in its own.
    /// Whether the last write had to wait.
    takes_nothing: AtomicBool,
    /// The number of successful writes.
    writes: AtomicU64,
    /// Requests whose response has not been sent, and upgraded streams of HTTP/2.
    in_flight: AtomicUsize,
    /// The number of requests so far.
    started: AtomicU64,
    /// Whether something was read since the last request ended.
    has_read: AtomicBool,
    is_http2: AtomicBool,
    /// Whether the last answer has been sent, and what the client still sends is being dropped.
    is_lingering: AtomicBool,
    /// Whether a request's body was dropped before its end.
    has_unread_body: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    going: Option<Going>,
    requests: Slab<Member>,
    /// The server's Context of the last request.
    server: Option<Context>,
    /// The context whose end closes the connection.
    until: Option<Context>,
    upgraded: Option<Upgraded>,
}

struct Upgraded {
    requests: Vec<InFlight>,
    open: Context,
    _close: Canceler,
}

/// The number of successful writes at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writes(u64);

/// The activity of a connection. It changes whenever a phase starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) phase: Phase,
    started: u64,
    writes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for the head of the first request, or for the rest of a head.
    Head,
    /// A request is in flight, or data is left to send.
    Busy,
    /// Waiting for the next request.
    Idle,
}

/// How a client has disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Going {
    /// A FIN: the client sends nothing more, and may have closed the connection.
    Closed,
    /// A reset or a failed write: the client does not read either.
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

// ===== The client =====

impl Peer {
    /// Ends the requests that this ends, including later ones.
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

    /// A write has found room.
    pub(super) fn takes(&self) {
        self.0.takes_nothing.store(false, Ordering::Relaxed);
        self.0.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// A write has found no room.
    pub(super) fn takes_nothing(&self) {
        self.0.takes_nothing.store(true, Ordering::Relaxed);
    }

    /// Returns how many writes have found room, if the last one did not.
    pub(super) fn stalled(&self) -> Option<Writes> {
        let is_stalled = self.0.takes_nothing.load(Ordering::Relaxed);
        is_stalled.then(|| Writes(self.0.writes.load(Ordering::Relaxed)))
    }

    /// The client has sent something.
    pub(super) fn has_read(&self) {
        if self.0.in_flight.load(Ordering::Relaxed) == 0 {
            self.0.has_read.store(true, Ordering::Relaxed);
        }
    }
}

// ===== The requests =====

/// Work that keeps a connection busy, until this is dropped.
#[derive(Debug)]
pub(super) struct OnPeer(Peer);

impl OnPeer {
    pub(super) fn peer(&self) -> &Peer {
        &self.0
    }
}

impl Drop for OnPeer {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Peer {
    pub(super) fn begin_request(&self, is_http2: bool) -> OnPeer {
        self.0.is_http2.store(is_http2, Ordering::Relaxed);
        self.0.has_read.store(false, Ordering::Relaxed);
        self.0.started.fetch_add(1, Ordering::Relaxed);
        self.busy()
    }

    /// Keeps the connection busy until the result is dropped.
    fn busy(&self) -> OnPeer {
        self.0.in_flight.fetch_add(1, Ordering::Relaxed);
        OnPeer(self.clone())
    }

    pub(super) fn handle(&self, upload: Option<Upload>) -> OnConnection {
        OnConnection { connection: Arc::clone(&self.0) as Arc<dyn Connection>, upload }
    }

    pub(super) fn is_http2(&self) -> bool {
        self.0.is_http2.load(Ordering::Relaxed)
    }

    pub(super) fn activity(&self) -> Activity {
        let shared = &*self.0;
        let is_busy = shared.in_flight.load(Ordering::Relaxed) > 0
            || shared.takes_nothing.load(Ordering::Relaxed)
            || shared.is_lingering.load(Ordering::Relaxed);
        let started = shared.started.load(Ordering::Relaxed);
        // A client of HTTP/2 sends other things than requests.
        let is_head = started == 0 || (shared.has_read.load(Ordering::Relaxed) && !self.is_http2());
        let phase = match (is_busy, is_head) {
            (true, _) => Phase::Busy,
            (false, true) => Phase::Head,
            (false, false) => Phase::Idle,
        };
        // Writes that answer other frames than requests do not count.
        let writes = if phase == Phase::Idle && !self.is_http2() { shared.writes.load(Ordering::Relaxed) } else { 0 };
        Activity { phase, started, writes }
    }

    pub(super) fn has_unread_body(&self) -> bool {
        self.0.has_unread_body.load(Ordering::Relaxed)
    }

    pub(super) fn set_unread_body(&self, is_unread: bool) {
        self.0.has_unread_body.store(is_unread, Ordering::Relaxed);
    }

    pub(super) fn set_lingering(&self, is_lingering: bool) {
        self.0.is_lingering.store(is_lingering, Ordering::Relaxed);
    }

    /// Returns what ends the requests in flight, whether or not their client is there.
    pub(super) fn limits(&self) -> Vec<Context> {
        let lifetimes: Vec<_> = self.lock().requests.iter().map(|(_, request)| Arc::clone(&request.lifetime)).collect();
        lifetimes.iter().map(|lifetime| lifetime.limit()).collect()
    }

    /// Returns the server's Context of the last request, for its clock and its end. A connection without one uses the system's
    /// clock.
    pub(super) fn server(&self) -> Context {
        let state = self.lock();
        state.server.as_ref().or(state.until.as_ref()).cloned().unwrap_or_else(Context::background)
    }

    /// Returns a context that is never canceled, to count the connection's own time.
    pub(super) fn clock(&self) -> Context {
        let state = self.lock();
        let ctx = state.until.as_ref().or(state.server.as_ref()).cloned();
        drop(state);
        ctx.map_or_else(Context::background, |ctx| ctx.without_cancel())
    }

    pub(super) fn set_until(&self, until: &Context) {
        self.lock().until = Some(until.clone());
    }

    /// Returns a context that ends when the upgraded connection is closed. `None` if the connection was not upgraded.
    pub(super) fn upgraded(&self) -> Option<Context> {
        self.lock().upgraded.as_ref().map(|upgraded| upgraded.open.clone())
    }

    /// The stream has been dropped.
    pub(super) fn closed(&self) {
        let upgraded = self.lock().upgraded.take();
        if let Some(upgraded) = upgraded {
            for request in upgraded.requests {
                request.closed();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that panics runs under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        // Outside of the lock, because it may be the last reference.
        drop(before);
        if going.is_some_and(|going| going.ends(half_close)) {
            lifetime.client_gone(ClientDisconnected);
        }
        key
    }

    fn leave(&self, key: usize) {
        // Outside of the lock, because it may be the last reference.
        let removed = self.lock().requests.try_remove(key);
        drop(removed);
    }

    fn upgrade(self: Arc<Self>, request: InFlight) {
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

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Peer").field("going", &state.going).field("requests", &state.requests.len()).finish()
    }
}
