//! What ends a request's context, and what keeps it alive.
//!
//! 1. A request has one [`Lifetime`], however many layers it passes. Nothing else cancels its context from within this crate.
//! 2. Strong references are held by the request in flight ([`InFlight`](super::request::InFlight)) and by every
//!    [`Detached`](super::Detached). The context has a weak one, so the two do not keep each other alive.
//! 3. The end of the response and a disconnect end the context at once, or when the last `Detached` is dropped. One atomic
//!    number decides whether a `Detached` came first.
//! 4. The outcome is set once: the first layer or event that knows it decides.

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use ripcord::{CancelHandle, Cause, Context};

use super::{ClientDisconnected, Outcome, settings::Settings};

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
    /// The flags above, and how many are detached. Relaxed: the number is all there is to agree on.
    state: AtomicUsize,
    /// What ends the request whether or not its client is there. Inner layers shorten it.
    deadline: Mutex<Option<Instant>>,
    outcome: OnceLock<Outcome>,
    /// The end that the request was answered with, or cut short by.
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

    /// The client has gone: ends the context, unless something is detached.
    pub(super) fn client_gone(&self, cause: impl Into<Cause>) {
        let before = self.state.fetch_or(GONE, Ordering::Relaxed);
        if before < DETACHED && before & GONE == 0 {
            self.cancel_with(cause);
        }
    }

    /// The response has been sent: ends the context, unless something is detached.
    pub(super) fn answered(&self) {
        let before = self.state.fetch_or(ANSWERED, Ordering::Relaxed);
        if before < UPGRADED {
            self.cancel_with(self.settings.answered.clone());
        }
    }

    /// Leaves the context to the server's end from now on: it is answered, and goes on as another protocol.
    pub(super) fn outlives_the_answer(&self) {
        self.state.fetch_or(UPGRADED, Ordering::Relaxed);
    }

    /// Ends the context, unless it has ended.
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
    pub(super) fn settle(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }

    /// Notes the end that the request was answered with, or cut short by.
    pub(super) fn ended(&self, error: ripcord::Error) {
        self.settle(Outcome::from_error(&error));
        let _ = self.error.set(error);
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    pub(super) fn error(&self) -> Option<ripcord::Error> {
        self.error.get().cloned()
    }

    /// Makes the request end at `deadline` at the latest.
    pub(super) fn shorten(&self, deadline: Instant) {
        let mut current = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(current.map_or(deadline, |current| current.min(deadline)));
    }

    /// Removes the deadline: it was for the answer, and there is one.
    pub(super) fn remove_deadline(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns a context that ends when the request must, whether or not its client is there.
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
