//! Loads in flight, which callers share. The [table](super::table) holds them by key.
//!
//! # Invariants
//!
//! 1. The table holds at most one flight per key. A remove, an insert and a clear take the key's flight out of the table: its
//!    waiters still get its result, the store does not.
//! 2. A flight has as many waiters as there are [`Waiter`]s. When the last one is dropped, the flight is closed for good:
//!    nobody joins it any more, and its context is canceled, at the latest before another flight takes its place.
//! 3. The outcome is set once, before the waiters are woken.
//! 4. Lock order: a shard of the table, then the store. The state of a flight is locked alone. Wakers, contexts and users'
//!    drops run under none of these locks: a context that is created, or asked whether it has ended, may find that its
//!    deadline has passed, and then wakes its waiters.
//! 5. A flight is put into the table only if, under the lock of the table's shard, the store lacks what the flight would
//!    load. A result goes into the store under the same lock as its flight leaves the table. So no key is loaded again right
//!    after another load has stored it.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use ripcord::{CancelHandle, Context};
use tokio::sync::Notify;

use super::waits::{InLoad, Load, Wait};
use crate::panics::BoxFuture;
use crate::sync::{Mutex, MutexGuard, OnceLock};
use crate::{Panicked, SharedError};

/// A caller's loader.
pub(super) type Loader<V> = Box<dyn FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send>;

/// The load of one key, from the first request until it has ended.
pub(super) struct Flight<V> {
    /// Ends when the last waiter leaves, and with the cache.
    ctx: Context,
    cancel: CancelHandle,
    load: Arc<Load>,
    /// The line of the request that started the load.
    location: &'static Location<'static>,
    state: Mutex<State<V>>,
    outcome: OnceLock<Outcome<V>>,
    finished: Notify,
}

struct State<V> {
    waiters: BTreeMap<u64, Waiting<V>>,
    next_waiter: u64,
    is_closed: bool,
    /// The deadline of the loader that runs, once it has started. The inner `None`: it has none.
    deadline: Option<Option<Instant>>,
}

/// What a flight knows of a waiter.
struct Waiting<V> {
    /// When the waiter gives up. `None`: never.
    limit: Option<Limit>,
    /// The waiter's own loader, if the one that runs has less time than the waiter.
    loader: Option<Loader<V>>,
}

/// The latest instant until which a caller waits, and the line that set this deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) instant: Instant,
    pub(super) location: &'static Location<'static>,
}

#[derive(Debug)]
pub(super) enum Outcome<V> {
    Loaded(V),
    Failed(SharedError),
    Panicked(Panicked),
    /// The load's context ended.
    Ended(ripcord::Error),
}

/// One caller that waits for a flight. Dropping it leaves the flight.
pub(super) struct Waiter<V> {
    flight: Arc<Flight<V>>,
    id: u64,
    _waits: Vec<Wait>,
}

impl Limit {
    /// The limit of a caller with the context `ctx`.
    pub(super) fn new(ctx: &Context) -> Option<Self> {
        Some(Self { instant: ctx.deadline()?, location: ctx.deadline_origin()?.location() })
    }
}

impl<V> Flight<V> {
    /// Creates a flight without waiters.
    pub(super) fn new(ctx: &Context, load: Arc<Load>, location: &'static Location<'static>) -> Arc<Self> {
        let (ctx, canceler) = ctx.with_cancel();
        let cancel = canceler.handle();
        // A load that returns does not end its context: its value may depend on it.
        canceler.detach();
        let state = State { waiters: BTreeMap::new(), next_waiter: 0, is_closed: false, deadline: None };
        Arc::new(Self {
            ctx,
            cancel,
            load,
            location,
            state: Mutex::new(state),
            outcome: OnceLock::new(),
            finished: Notify::new(),
        })
    }

    pub(super) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Returns the context for the loader that is about to run. Its deadline is that of the most patient waiter.
    pub(super) fn loader_ctx(&self) -> Context {
        let mut state = self.lock();
        let limit = state.latest_limit();
        state.deadline = Some(limit.map(|limit| limit.instant));
        drop(state);
        let ctx = match limit {
            Some(limit) => self.ctx.with_deadline_at(limit.instant, limit.location),
            None => self.ctx.clone(),
        };
        ctx.with_name("cache load").with_value(InLoad(Arc::clone(&self.load)))
    }

    /// Returns the loader of the most patient waiter, after a loader has run out of its time. If no waiter has more time, closes
    /// the flight and returns `None`.
    pub(super) fn next_loader(&self) -> Option<Loader<V>> {
        let mut state = self.lock();
        let waiters = state.waiters.values_mut().filter(|waiting| waiting.loader.is_some());
        // Of two limits the later one counts; none is the latest.
        let most_patient = waiters.max_by_key(|waiting| {
            let instant = waiting.limit.map(|limit| limit.instant);
            (instant.is_none(), instant)
        });
        match most_patient {
            Some(waiting) => waiting.loader.take(),
            None => {
                state.is_closed = true;
                None
            }
        }
    }

    /// Returns whether a caller that joins now gets the result. (Invariant 2.)
    pub(super) fn is_open(&self) -> bool {
        // Invariant 4: asked before the lock is taken.
        !self.ctx.is_done() && !self.lock().is_closed
    }

    /// Returns whether the flight's context has ended, rather than the deadline of a loader's.
    pub(super) fn is_canceled(&self) -> bool {
        self.ctx.is_done()
    }

    /// Sets the outcome and wakes the waiters. The first outcome wins.
    pub(super) fn finish(&self, outcome: Outcome<V>) {
        if self.outcome.set(outcome).is_ok() {
            self.finished.notify_waiters();
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Cancels the context of a closed flight. (Invariant 2.)
    pub(super) fn cancel_if_closed(&self) {
        let is_closed = self.lock().is_closed;
        // Invariant 4: a context's end runs callbacks.
        if is_closed && !self.is_finished() {
            self.cancel.cancel_at("every caller has left", self.location);
        }
    }

    /// Ends the flight's context, if it has not ended, and returns its error.
    pub(super) fn abandon(&self) -> ripcord::Error {
        self.cancel.cancel_at("the load was dropped by its runtime", self.location);
        self.ctx.err().unwrap_or_else(|| unreachable!("the context was just canceled"))
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> State<V> {
    /// The limit of the most patient waiter. `None`: a waiter has no limit.
    fn latest_limit(&self) -> Option<Limit> {
        let mut latest: Option<Limit> = None;
        for waiting in self.waiters.values() {
            let limit = waiting.limit?;
            if latest.is_none_or(|latest| limit.instant > latest.instant) {
                latest = Some(limit);
            }
        }
        latest
    }

    /// Whether a waiter with `limit` has more time than the loader that runs.
    fn outlasts_loader(&self, limit: Option<Limit>) -> bool {
        match (self.deadline, limit) {
            (Some(Some(deadline)), Some(limit)) => limit.instant > deadline,
            (Some(Some(_)), None) => true,
            (Some(None) | None, _) => false,
        }
    }
}

impl<V> Waiter<V> {
    /// Joins `flight`. `None` if it is closed. (Invariant 2.) Takes `loader` if the flight may need it.
    pub(super) fn join(
        flight: &Arc<Flight<V>>,
        limit: Option<Limit>,
        waits: Vec<Wait>,
        loader: &mut Option<Loader<V>>,
    ) -> Option<Self> {
        // Invariant 4: asked before the lock is taken.
        if flight.ctx.is_done() {
            return None;
        }
        let mut state = flight.lock();
        if state.is_closed {
            return None;
        }
        let loader = if state.outlasts_loader(limit) { loader.take() } else { None };
        let id = state.next_waiter;
        state.next_waiter += 1;
        state.waiters.insert(id, Waiting { limit, loader });
        drop(state);
        Some(Self { flight: Arc::clone(flight), id, _waits: waits })
    }

    /// Waits for the outcome. Dropping this future has no effect; dropping the waiter leaves the flight.
    pub(super) async fn outcome(&self) -> &Outcome<V> {
        loop {
            let mut finished = std::pin::pin!(self.flight.finished.notified());
            // Registered before looking, so that an outcome that is set after the look wakes this waiter. (Invariant 3.)
            finished.as_mut().enable();
            if let Some(outcome) = self.flight.outcome.get() {
                return outcome;
            }
            finished.await;
        }
    }
}

impl<V> Drop for Waiter<V> {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        let left = state.waiters.remove(&self.id);
        let is_last = state.waiters.is_empty();
        // Invariant 2.
        state.is_closed |= is_last;
        drop(state);
        if is_last {
            self.flight.cancel_if_closed();
        }
        // Invariant 4: the loader of the waiter is user code, and so is its drop.
        drop(left);
    }
}
