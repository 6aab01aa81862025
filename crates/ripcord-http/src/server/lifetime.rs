//! The events that end a request's context, and the references that keep it alive.
//!
//! 1. A request has one [`Lifetime`], even if it passes several layers. Nothing else in this crate cancels the request's context.
//! 2. The request in flight ([`InFlight`](super::request::InFlight)) and every [`Detached`](super::Detached) hold strong
//!    references. The context holds a weak reference, so the lifetime and the context do not keep each other alive.
//! 3. The end of the response or a disconnect ends the context at once or, if there is a `Detached`, when the last `Detached` is
//!    dropped. One atomic number decides whether a `Detached` came first.
//! 4. The outcome is set once, by the first layer or event that knows it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use ripcord::{CancelHandle, Cause, Context};

use super::{ClientDisconnected, RequestOutcome, settings::Settings};

/// Set in [`Lifetime::state`] when the client has disconnected.
const GONE: usize = 1;
/// Set in [`Lifetime::state`] when the response has been sent.
const ANSWERED: usize = 2;
/// Set in [`Lifetime::state`] when an unwatched connection was upgraded, so that its end is never seen.
const UPGRADED: usize = 4;
/// One [`Detached`] in [`Lifetime::state`].
const DETACHED: usize = 8;

pub(super) struct Lifetime {
    cancel: CancelHandle,
    settings: Arc<Settings>,
    /// The flags above, and the number of detached pieces of work. Relaxed, because the threads only have to agree on this
    /// number.
    state: AtomicUsize,
    /// The deadline of the request, which counts even after its client has disconnected. Inner layers shorten it.
    deadline: Mutex<Option<Instant>>,
    outcome: OnceLock<RequestOutcome>,
    /// The end of the context that the response reported, or that cut its body short.
    error: OnceLock<ripcord::Error>,
    pub(super) is_grpc: bool,
}

impl Lifetime {
    pub(super) fn new(
        cancel: CancelHandle,
        settings: &Arc<Settings>,
        deadline: Option<Instant>,
        is_grpc: bool,
    ) -> Arc<Self> {
        Arc::new(Lifetime {
            cancel,
            settings: Arc::clone(settings),
            state: AtomicUsize::new(0),
            deadline: Mutex::new(deadline),
            outcome: OnceLock::new(),
            error: OnceLock::new(),
            is_grpc,
        })
    }

    /// Handles a disconnect: ends the context, unless something is detached.
    pub(super) fn client_gone(&self, cause: impl Into<Cause>) {
        let before = self.state.fetch_or(GONE, Ordering::Relaxed);
        if before < DETACHED && before & GONE == 0 {
            self.cancel_with(cause);
        }
    }

    /// Handles the end of the response: ends the context, unless something is detached.
    pub(super) fn answered(&self) {
        let before = self.state.fetch_or(ANSWERED, Ordering::Relaxed);
        if before < UPGRADED {
            self.cancel_with(self.settings.answered.clone());
        }
    }

    /// Lets only the server's end cancel the context from now on. The request is answered, and continues as another protocol.
    pub(super) fn outlives_the_answer(&self) {
        self.state.fetch_or(UPGRADED, Ordering::Relaxed);
    }

    /// Ends the context, unless it has ended already.
    pub(super) fn cancel_with(&self, cause: impl Into<Cause>) {
        self.cancel.cancel_at(cause, self.settings.location);
    }

    pub(super) fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    pub(super) fn detach(&self) {
        self.state.fetch_add(DETACHED, Ordering::Relaxed);
        self.settings.counters.detached.up();
    }

    pub(super) fn attach(&self) {
        self.settings.counters.detached.down();
        let left = self.state.fetch_sub(DETACHED, Ordering::Relaxed) - DETACHED;
        if left >= DETACHED {
            return;
        }
        if left & GONE != 0 {
            self.cancel_with(ClientDisconnected);
        } else if left & ANSWERED != 0 {
            self.answered();
        }
    }

    /// Returns whether the response has been sent.
    pub(super) fn is_answered(&self) -> bool {
        self.state.load(Ordering::Relaxed) & ANSWERED != 0
    }

    /// Records the outcome of the request, unless one is recorded already.
    pub(super) fn settle(&self, outcome: RequestOutcome) {
        let _ = self.outcome.set(outcome);
    }

    /// Records the end of the context that the response reported, or that cut its body short.
    pub(super) fn ended(&self, error: ripcord::Error) {
        self.settle(RequestOutcome::from_error(&error));
        let _ = self.error.set(error);
    }

    pub(super) fn outcome(&self) -> Option<&RequestOutcome> {
        self.outcome.get()
    }

    pub(super) fn error(&self) -> Option<ripcord::Error> {
        self.error.get().cloned()
    }

    /// Moves the deadline of the request to `deadline`, if this is earlier.
    pub(super) fn shorten(&self, deadline: Instant) {
        let mut current = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(current.map_or(deadline, |current| current.min(deadline)));
    }

    /// Removes the deadline, which applied only to the response.
    pub(super) fn remove_deadline(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns a context that ends when the request must end, even if its client has disconnected.
    pub(super) fn limit(&self) -> Context {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let Settings { server, location, .. } = &*self.settings;
        deadline.map_or_else(|| server.clone(), |deadline| server.with_deadline_at(deadline, location))
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetime").field("state", &self.state).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}
