//! Loads in flight, which callers share. The [table](super::table) holds them by key.
//!
//! # Invariants
//!
//! 1. The table holds at most one flight per key. A remove, an insert and a clear take the key's flight out of the table. The
//!    flight's waiters still get its result, but the store does not.
//! 2. A flight has as many waiters as there are [`Waiter`]s. When the last waiter is dropped before the load has returned a
//!    value, the flight is closed forever. No caller joins a closed flight. Its context is canceled, at the latest before another
//!    flight takes its place.
//! 3. The outcome is set once, before the waiters are woken.
//! 4. Lock order: a shard of the table, then the store. The lock of a flight's state is never held together with another lock.
//!    Wakers, contexts and users' drops run under none of these locks. The reason for contexts: creating a context, checking
//!    whether it has ended, and changing its deadline may find that the deadline has passed, and then wake its waiters. The table
//!    may drop its reference to a flight under the lock, because this is never the last reference: the load's task holds another
//!    reference until its flight has left the table.
//! 5. A flight is put into the table only if the store lacks the value that the flight would load. This is checked under the lock
//!    of the table's shard. A result goes into the store under the same lock as its flight leaves the table. So no key is loaded
//!    again directly after another load has stored it.
//! 6. The deadline of the load's context is the latest limit of its waiters. A joining waiter only moves the deadline later
//!    ([`MovableDeadline::extend`]), so it may do this at any time. All other changes of the deadline happen in the load's own
//!    task. The task moves the deadline earlier after the most patient waiter has left, and removes it when the load has returned
//!    a value. So the limit of a waiter that has left never comes back, and no deadline ends the context of a value.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ripcord::{CancelHandle, Cause, Context, MovableDeadline};
use tokio::sync::Notify;

use super::Key;
use super::waits::{InLoad, Load, Wait};
use crate::panics::BoxFuture;
use crate::sync::{AtomicBool, Mutex, MutexGuard, OnceLock, Ordering, step};
use crate::{Panicked, SharedError};

/// The loader that a caller passes.
pub(super) type Loader<V> = Box<dyn FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send>;

/// The load of one key, from the first request to its end.
pub(super) struct Flight<K, V> {
    /// The context of the loader.
    ctx: Context,
    cancel: CancelHandle,
    deadline: MovableDeadline,
    pub(super) load: Arc<Load<K>>,
    /// The limit of the caller that started the load. The load's first requests to other services carry this limit.
    first_limit: Instant,
    /// The line of code that requested the load first.
    location: &'static Location<'static>,
    state: Mutex<State>,
    /// Notified when the most patient waiter has left.
    left: Notify,
    outcome: OnceLock<LoadResult<V>>,
    finished: Notify,
    /// Whether the load asks the second level. Used under the lock of the table's shard, like `is_outdated`.
    is_asking: AtomicBool,
    /// Whether the key was invalidated since the question began.
    is_outdated: AtomicBool,
}

struct State {
    /// The waiters, ordered by their limits. Each waiter has a number, because limits may be equal.
    waiters: BTreeSet<(Instant, u64)>,
    next_waiter: u64,
    /// Whether the load has returned a value. The value may hold the load's context, so the flight no longer ends this context.
    is_loaded: bool,
}

/// The latest instant until which a caller waits, and the line of code that set this deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) instant: Instant,
    pub(super) location: &'static Location<'static>,
}

#[derive(Debug)]
pub(super) enum LoadResult<V> {
    Loaded(V),
    /// The second level had the value.
    Found(V),
    Failed(SharedError),
    Panicked(Panicked),
    /// The load's context ended.
    Ended(ripcord::Error),
}

/// A caller that waits for a flight. Dropping the waiter leaves the flight.
pub(super) struct Waiter<K, V> {
    pub(super) flight: Arc<Flight<K, V>>,
    position: (Instant, u64),
    _waits: Vec<Wait>,
}

impl<K, V> Flight<K, V> {
    pub(super) fn ctx(&self) -> &Context {
        &self.ctx
    }

    /// Returns whether a caller that joins now gets the result. (Invariant 2.)
    pub(super) fn is_open(&self) -> bool {
        // Invariant 4: the context is checked before the lock is taken.
        !self.ctx.is_done() && !self.lock().is_closed()
    }

    /// Returns whether the load continues although the limit of its first caller has passed.
    pub(super) fn is_past_first_limit(&self) -> bool {
        self.ctx.clock().has_passed(self.first_limit)
    }

    /// Moves the deadline of the load's context earlier each time the most patient waiter leaves. Never returns. The load's task
    /// polls this future. (Invariant 6.)
    pub(super) async fn follow_leaving_waiters(&self) {
        loop {
            self.left.notified().await;
            loop {
                let limit = self.latest_limit();
                if let Some(limit) = limit {
                    step();
                    // Invariant 4: this must not happen under the lock.
                    self.deadline.reset(limit);
                }
                // A waiter that joined meanwhile may have extended the deadline before the reset.
                if self.latest_limit() == limit {
                    break;
                }
            }
        }
    }

    /// Prevents deadlines and leaving waiters from ending the context from now on: the load has returned a value, which may hold
    /// the context. Fails if the context has ended or every caller has left. Called by the load's task. (Invariant 6.)
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

    pub(super) fn begin_asking(&self) {
        self.is_asking.store(true, Ordering::Relaxed);
        self.is_outdated.store(false, Ordering::Relaxed);
    }

    /// Ends the question, and returns whether the answer is not outdated.
    pub(super) fn end_asking(&self) -> bool {
        self.is_asking.store(false, Ordering::Relaxed);
        !self.is_outdated.load(Ordering::Relaxed)
    }

    /// Marks the answer as outdated if the flight asks the second level. Returns whether it does.
    pub(super) fn mark_if_asking(&self) -> bool {
        self.is_outdated.store(true, Ordering::Relaxed);
        self.is_asking.load(Ordering::Relaxed)
    }

    /// Sets the outcome and wakes the waiters. The first outcome wins.
    pub(super) fn finish(&self, outcome: LoadResult<V>) {
        if self.outcome.set(outcome).is_ok() {
            self.finished.notify_waiters();
        }
    }

    /// Returns whether the value came from the second level.
    pub(super) fn has_found(&self) -> bool {
        matches!(self.outcome.get(), Some(LoadResult::Found(_)))
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

    /// Ends the load's context, unless it has ended already. Returns the context's error.
    pub(super) fn cancel(&self, why: impl Into<Cause>) -> ripcord::Error {
        self.cancel_at(why, self.location)
    }

    /// Ends the load's context because the cache's context has ended.
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
    /// Returns whether the last waiter left before the load returned a value. (Invariant 2.)
    fn is_closed(&self) -> bool {
        self.waiters.is_empty() && !self.is_loaded
    }
}

impl<K: Key, V> Waiter<K, V> {
    /// Creates a flight and its first waiter. The loader's context is a child of `ctx`.
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
        // A load that returns a value does not end its context, because the value may hold the context.
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
            is_asking: AtomicBool::new(false),
            is_outdated: AtomicBool::new(false),
        });
        Self { flight, position, _waits: waits }
    }

    /// Joins `flight`. Returns `None` if the flight is closed or its context has ended. (Invariant 2.)
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

    /// Returns whether another caller started the load. Then this caller still has its loader.
    pub(super) fn has_joined(&self) -> bool {
        self.position.1 > 0
    }

    /// Returns whether this caller's limit is later than the limit with which the load started.
    pub(super) fn has_more_time(&self) -> bool {
        self.position.0 > self.flight.first_limit
    }

    /// Waits for the outcome. Dropping this future has no effect. Dropping the waiter leaves the flight.
    pub(super) async fn outcome(&self) -> &LoadResult<V> {
        loop {
            let mut finished = std::pin::pin!(self.flight.finished.notified());
            // The notification is registered before the check, so that an outcome set after the check wakes this waiter.
            // (Invariant 3.)
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
