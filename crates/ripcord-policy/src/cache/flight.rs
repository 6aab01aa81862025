//! Loads in flight, which callers share. The [table](super::table) holds them by key.
//!
//! # Invariants
//!
//! 1. The table holds at most one flight per key. A remove, an insert and a clear take the key's flight out of the table: its
//!    waiters still get its result, the store does not.
//! 2. A flight has as many waiters as there are [`Waiter`]s. When the last one is dropped before the load has returned a value,
//!    the flight is closed for good: nobody joins it any more, and its context is canceled, at the latest before another flight
//!    takes its place.
//! 3. The outcome is set once, before the waiters are woken.
//! 4. Lock order: a shard of the table, then the store. The state of a flight is locked alone. Wakers, contexts and users'
//!    drops run under none of these locks: a context that is created, asked whether it has ended, or given another deadline,
//!    may find that its deadline has passed, and then wakes its waiters. The table may drop its reference to a flight under
//!    the lock, since it is never the last one: the load's task holds another until it has left the table.
//! 5. A flight is put into the table only if, under the lock of the table's shard, the store lacks what the flight would
//!    load. A result goes into the store under the same lock as its flight leaves the table. So no key is loaded again right
//!    after another load has stored it.
//! 6. The deadline of the load's context is the latest limit of its waiters. A waiter that joins moves the deadline only later
//!    ([`MovableDeadline::extend`]), so it may do that at any time. Everything else that moves the deadline happens in the
//!    load's own task: earlier after the most patient waiter has left, and no deadline once the load has returned a value.
//!    So nobody brings back the limit of a waiter that has left, and no deadline ends the context of a value.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ripcord::{CancelHandle, Cause, Context, MovableDeadline};
use tokio::sync::Notify;

use super::Key;
use super::waits::{InLoad, Load, Wait};
use crate::panics::BoxFuture;
use crate::sync::{Mutex, MutexGuard, OnceLock, step};
use crate::{Panicked, SharedError};

/// A caller's loader.
pub(super) type Loader<V> = Box<dyn FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send>;

/// The load of one key, from the first request until it has ended.
pub(super) struct Flight<K, V> {
    /// The loader's context.
    ctx: Context,
    cancel: CancelHandle,
    deadline: MovableDeadline,
    pub(super) load: Arc<Load<K>>,
    /// The limit of the caller that started the load: what the load's first requests to others were sent with.
    first_limit: Instant,
    /// The line of the request that started the load.
    location: &'static Location<'static>,
    state: Mutex<State>,
    /// Notified when the most patient waiter has left.
    left: Notify,
    outcome: OnceLock<LoadResult<V>>,
    finished: Notify,
}

struct State {
    /// The waiters, ordered by their limits. Each has a number, since limits may be equal.
    waiters: BTreeSet<(Instant, u64)>,
    next_waiter: u64,
    /// Whether the load has returned a value, which may hold the load's context: the flight no longer ends this context.
    is_loaded: bool,
}

/// The latest instant until which a caller waits, and the line that set this deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) instant: Instant,
    pub(super) location: &'static Location<'static>,
}

#[derive(Debug)]
pub(super) enum LoadResult<V> {
    Loaded(V),
    Failed(SharedError),
    Panicked(Panicked),
    /// The load's context ended.
    Ended(ripcord::Error),
}

/// One caller that waits for a flight. Dropping it leaves the flight.
pub(super) struct Waiter<K, V> {
    pub(super) flight: Arc<Flight<K, V>>,
    position: (Instant, u64),
    _waits: Vec<Wait>,
}

impl<K, V> Flight<K, V> {
    /// Returns the loader's context.
    pub(super) fn ctx(&self) -> &Context {
        &self.ctx
    }

    /// Returns whether a caller that joins now gets the result. (Invariant 2.)
    pub(super) fn is_open(&self) -> bool {
        // Invariant 4: asked before the lock is taken.
        !self.ctx.is_done() && !self.lock().is_closed()
    }

    /// Returns whether the load goes on although the caller that started it had no more time.
    pub(super) fn is_past_first_limit(&self) -> bool {
        self.ctx.clock().has_passed(self.first_limit)
    }

    /// Moves the deadline of the load's context earlier each time the most patient waiter has left. Never returns. To be polled
    /// by the load's task. (Invariant 6.)
    pub(super) async fn follow_leaving_waiters(&self) {
        loop {
            self.left.notified().await;
            loop {
                let limit = self.latest_limit();
                if let Some(limit) = limit {
                    step();
                    // Invariant 4: not under the lock.
                    self.deadline.reset(limit);
                }
                // A waiter that has joined meanwhile may have extended the deadline before the reset.
                if self.latest_limit() == limit {
                    break;
                }
            }
        }
    }

    /// Keeps deadlines and leaving waiters from ending the context from now on: the load has returned a value, which may hold
    /// it. Fails if the context has ended or every caller has left. To be called by the load's task. (Invariant 6.)
    pub(super) fn release_ctx(&self) -> Result<(), ripcord::Error> {
        let mut state = self.lock();
        state.is_loaded = !state.is_closed();
        let is_closed = state.is_closed();
        drop(state);
        if is_closed {
            return Err(self.cancel("every caller has left"));
        }
        self.deadline.reset_after(Duration::MAX);
        self.ctx.check()
    }

    /// Sets the outcome and wakes the waiters. The first outcome wins.
    pub(super) fn finish(&self, outcome: LoadResult<V>) {
        if self.outcome.set(outcome).is_ok() {
            self.finished.notify_waiters();
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Cancels the context of a closed flight. (Invariant 2.)
    pub(super) fn cancel_if_closed(&self) {
        let is_closed = self.lock().is_closed();
        // Invariant 4: a context's end runs callbacks.
        if is_closed && !self.is_finished() {
            self.cancel("every caller has left");
        }
    }

    /// Ends the load's context, if it has not ended, and returns its error.
    pub(super) fn cancel(&self, why: impl Into<Cause>) -> ripcord::Error {
        self.cancel_at(why, self.location)
    }

    /// Ends the load's context because the cache's has ended.
    pub(super) fn cancel_with_cache(&self, end: &ripcord::Error) -> ripcord::Error {
        let why = end.cause().cloned().unwrap_or_else(|| Cause::from("the cache was closed"));
        self.cancel_at(why, end.origin().location())
    }

    fn cancel_at(&self, why: impl Into<Cause>, location: &'static Location<'static>) -> ripcord::Error {
        self.cancel.cancel_at(why, location);
        self.ctx.err().unwrap_or_else(|| unreachable!("the context was just canceled"))
    }

    fn latest_limit(&self) -> Option<Instant> {
        self.lock().waiters.last().map(|(limit, _)| *limit)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the last waiter has left before the load returned a value. (Invariant 2.)
    fn is_closed(&self) -> bool {
        self.waiters.is_empty() && !self.is_loaded
    }
}

impl<K: Key, V> Waiter<K, V> {
    /// Creates a flight and its first waiter. The loader's context is below `ctx`.
    pub(super) fn first(
        ctx: &Context,
        load: Arc<Load<K>>,
        limit: Limit,
        waits: Vec<Wait>,
        location: &'static Location<'static>,
    ) -> Self {
        let (ctx, deadline) = ctx.with_movable_deadline_at(limit.instant, limit.location);
        let (ctx, canceler) = ctx.with_cancel();
        let cancel = canceler.handle();
        // A load that returns does not end its context: its value may hold it.
        canceler.detach();
        let ctx = ctx.with_name("cache load").with_value(InLoad(Arc::clone(&load) as Arc<Load>));
        let position = (limit.instant, 0);
        let state = State { waiters: BTreeSet::from([position]), next_waiter: 1, is_loaded: false };
        let flight = Arc::new(Flight {
            ctx,
            cancel,
            deadline,
            load,
            first_limit: limit.instant,
            location,
            state: Mutex::new(state),
            left: Notify::new(),
            outcome: OnceLock::new(),
            finished: Notify::new(),
        });
        Self { flight, position, _waits: waits }
    }

    /// Joins `flight`. `None` if it is closed or its context has ended. (Invariant 2.)
    pub(super) fn join(flight: &Arc<Flight<K, V>>, limit: Limit, waits: Vec<Wait>) -> Option<Self> {
        let mut state = flight.lock();
        if state.is_closed() {
            return None;
        }
        let position = (limit.instant, state.next_waiter);
        state.next_waiter += 1;
        state.waiters.insert(position);
        drop(state);
        let waiter = Self { flight: Arc::clone(flight), position, _waits: waits };
        step();
        flight.deadline.extend(limit.instant).then_some(waiter)
    }

    /// Returns whether another caller started the load, so that this one still has its loader.
    pub(super) fn has_joined(&self) -> bool {
        self.position.1 > 0
    }

    /// Returns whether this caller has more time than the load had at its start.
    pub(super) fn has_more_time(&self) -> bool {
        self.position.0 > self.flight.first_limit
    }

    /// Waits for the outcome. Dropping this future has no effect; dropping the waiter leaves the flight.
    pub(super) async fn outcome(&self) -> &LoadResult<V> {
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

impl<K, V> Drop for Waiter<K, V> {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        let is_most_patient = state.waiters.last() == Some(&self.position);
        state.waiters.remove(&self.position);
        let is_closed = state.is_closed();
        drop(state);
        if is_closed {
            self.flight.cancel_if_closed();
        } else if is_most_patient {
            self.flight.left.notify_one();
        }
    }
}
