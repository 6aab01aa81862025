//! Loads under way: one a key, shared by everybody who waits for it.
//!
//! # Invariants
//!
//! 1. A key has at most one *current* flight, the one in the table. Detaching a flight (a remove, an insert, a clear)
//!    takes it out: its waiters still get its result, the store does not.
//! 2. A flight has as many waiters as there are [`Seat`]s. When the last seat is dropped the flight has ended, for
//!    good: nobody boards it any more and its context is canceled, at the latest before another flight takes its place.
//! 3. An outcome is set once, before anybody is told to look.
//! 4. Lock order: a shard of the table, then the store; a flight's waiters alone. Wakers, contexts and users' drops run
//!    under none of them: a context that is made, or asked whether it has ended, may find that its deadline has passed, and
//!    then wakes whoever waits for it.
//! 5. A flight that somebody boarded who needs a load makes one. It is settled under the lock of its waiters whether it
//!    does, and one that does not has ended by that.

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, PoisonError};

use hashbrown::HashTable;
use ripcord::{CancelHandle, Canceler, Context};
use tokio::sync::Notify;

use super::deadline::{LoadDeadline, Patience};
use super::hashed::{Hashed, Sought};
use crate::sync::{Mutex, MutexGuard, OnceLock};
use crate::{Panicked, SharedError};

const SHARDS: usize = 16;

pub(super) struct Flights<K, V> {
    shards: [Mutex<Shard<K, V>>; SHARDS],
}

/// Users' `Hash` runs outside of it, and their `Eq` only to find what is there, before anything is changed.
struct Shard<K, V>(HashTable<(Hashed<K>, Arc<Flight<V>>)>);

/// One load, from the moment somebody needs it until it lands or is called off.
pub(super) struct Flight<V> {
    ctx: Context,
    cancel: CancelHandle,
    // Dropping a flight that never took off ends its context.
    _canceler: Canceler,
    waiters: Mutex<Waiters>,
    /// When the most patient waiter gives up, which the load's context shows. Changed under the lock of `waiters`.
    deadline: LoadDeadline,
    outcome: OnceLock<Outcome<V>>,
    landed: Notify,
}

#[derive(Debug)]
struct Waiters {
    count: usize,
    /// Why nobody boards any more.
    ended: Option<&'static str>,
    /// The most demanding of all who boarded.
    need: Need,
}

/// When a load is needed, though there may be a value already. The later are more demanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// If there is none, or a stale one whose next load is due.
    IfDue,
    /// If there is none, or a stale one.
    IfAbsent,
    Always,
}

#[derive(Debug)]
pub(super) enum Outcome<V> {
    Loaded(V),
    Failed(SharedError),
    Panicked(Panicked),
    /// The load's own context ended: the cache was closed, or everybody had left.
    Ended(ripcord::Error),
}

/// A waiter's place on a flight; dropping it leaves.
pub(super) struct Seat<V> {
    flight: Arc<Flight<V>>,
}

/// What boarding came to.
pub(super) enum Boarding<J, V> {
    /// There is a flight under way, and this came of it.
    UnderWay(J),
    /// There was none: the caller has to start this one.
    Started(Seat<V>),
}

impl<K: Eq + Clone, V> Flights<K, V> {
    pub(super) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::new(Shard(HashTable::new()))) }
    }

    /// Does `join` with the key's flight or, if there is none or it has ended, of which `join` makes nothing, takes the first
    /// seat on a new one made by `start`.
    pub(super) fn board<J>(
        &self,
        key: &Hashed<K>,
        join: impl Fn(&Arc<Flight<V>>) -> Option<J>,
        start: impl Fn() -> Flight<V>,
    ) -> Boarding<J, V> {
        let mut current = self.current(key);
        let mut new = None;
        loop {
            if let Some(flight) = &current {
                if let Some(joined) = join(flight) {
                    return Boarding::UnderWay(joined);
                }
                // Invariant 2: whoever ended it may not have come to that yet.
                flight.cancel_if_ended();
            }
            // Invariant 4: made before the lock is taken.
            let new = new.get_or_insert_with(|| Arc::new(start()));
            match self.replace(key, current.as_ref(), new) {
                None => return Boarding::Started(Seat { flight: Arc::clone(new) }),
                other => current = other,
            }
        }
    }

    fn current(&self, key: &Hashed<K>) -> Option<Arc<Flight<V>>> {
        self.lock(key.hash).get(key.sought()).cloned()
    }

    /// Makes `new` the key's flight, if there is none or the one that has `ended`. Returns any other. (Invariant 1.)
    fn replace(&self, key: &Hashed<K>, ended: Option<&Arc<Flight<V>>>, new: &Arc<Flight<V>>) -> Option<Arc<Flight<V>>> {
        let key = key.clone();
        let mut shard = self.lock(key.hash);
        if let Some(current) = shard.get(key.sought())
            && !ended.is_some_and(|ended| Arc::ptr_eq(ended, current))
        {
            return Some(Arc::clone(current));
        }
        let replaced = ended.and_then(|ended| shard.take(key.hash, ended));
        shard.insert(key, Arc::clone(new));
        // Invariant 4: dropping a flight or a key may run a user's code.
        drop(shard);
        drop(replaced);
        None
    }

    /// Takes the flight out of the table and, if it was still current, does `store` before anybody else may detach it
    /// or start another. `store` is given the table's key, and must not run user code beyond its `Eq`: what it does not put in it
    /// hands out, to be dropped without the locks.
    pub(super) fn land<R>(&self, hash: u64, flight: &Arc<Flight<V>>, store: impl FnOnce(Hashed<K>) -> R) -> Option<R> {
        let landed;
        let mut shard = self.lock(hash);
        // Invariant 1: what is not current is not stored.
        let (key, current) = shard.take(hash, flight)?;
        // Invariant 4: dropped after the lock, should the `Eq` panic.
        landed = current;
        // Invariant 4: the store's lock comes after the shard's.
        let stored = store(key);
        drop(shard);
        drop(landed);
        Some(stored)
    }

    /// Detaches the key's flight, if there is one, and does `change` with the key before a load can land.
    pub(super) fn detach<B, Q, R>(&self, hash: u64, key: B, change: impl FnOnce(B) -> R) -> R
    where
        B: Borrow<Q>,
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let detached;
        let mut shard = self.lock(hash);
        // Invariant 4: dropped after the lock, should the `Eq` panic.
        detached = shard.remove(Sought { hash, key: key.borrow() });
        let changed = change(key);
        drop(shard);
        drop(detached);
        changed
    }

    /// Detaches every flight.
    pub(super) fn detach_all(&self) {
        for shard in &self.shards {
            let detached = std::mem::take(&mut shard.lock().unwrap_or_else(PoisonError::into_inner).0);
            drop(detached);
        }
    }

    #[cfg(all(test, ripcord_shuttle))]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).0.len()).sum()
    }

    fn lock(&self, hash: u64) -> MutexGuard<'_, Shard<K, V>> {
        // The table goes by the lowest bits and the highest.
        let index = (hash >> 32) as usize % SHARDS;
        // A key whose Eq panics under this lock leaves the table whole: nothing was moved yet.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq, V> Shard<K, V> {
    fn get<Q>(&self, key: Sought<'_, Q>) -> Option<&Arc<Flight<V>>>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.0.find(key.hash, |(kept, _)| key.is(kept)).map(|(_, flight)| flight)
    }

    fn insert(&mut self, key: Hashed<K>, flight: Arc<Flight<V>>) {
        self.0.insert_unique(key.hash, (key, flight), |(key, _)| key.hash);
    }

    fn remove<Q>(&mut self, key: Sought<'_, Q>) -> Option<(Hashed<K>, Arc<Flight<V>>)>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let found = self.0.find_entry(key.hash, |(kept, _)| key.is(kept));
        found.ok().map(|found| found.remove().0)
    }

    /// Takes this one out, if it is there.
    fn take(&mut self, hash: u64, flight: &Arc<Flight<V>>) -> Option<(Hashed<K>, Arc<Flight<V>>)> {
        let found = self.0.find_entry(hash, |(_, current)| Arc::ptr_eq(current, flight));
        found.ok().map(|found| found.remove().0)
    }
}

impl<V> Flight<V> {
    /// A flight with one waiter, under a context of its own.
    pub(super) fn new(ctx: &Context, patience: Patience, need: Need) -> Self {
        let deadline = LoadDeadline::new(patience);
        let (ctx, canceler) = ctx.with_value(deadline.share()).with_cancel();
        Self {
            ctx,
            cancel: canceler.handle(),
            _canceler: canceler,
            waiters: Mutex::new(Waiters { count: 1, ended: None, need }),
            deadline,
            outcome: OnceLock::new(),
            landed: Notify::new(),
        }
    }

    pub(super) fn context(&self) -> &Context {
        &self.ctx
    }

    /// Whether who boards now gets what it brings. (Invariant 2.)
    pub(super) fn is_under_way(&self) -> bool {
        // Invariant 4: asked before the lock is taken.
        !self.ctx.is_done() && self.lock().ended.is_none()
    }

    /// Sets the outcome and tells the waiters. The first wins.
    pub(super) fn finish(&self, outcome: Outcome<V>) {
        if self.outcome.set(outcome).is_ok() {
            self.landed.notify_waiters();
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Ends the flight because of what is there already, which will do for whoever needs no more than `most`, unless somebody
    /// on board does. (Invariant 5.)
    pub(super) fn settle_for_what_is_there(&self, most: Need) -> bool {
        let mut waiters = self.lock();
        if waiters.need <= most {
            waiters.ended.get_or_insert("there was a value already");
        }
        waiters.ended.is_some()
    }

    /// Sees to it that the context of a flight that nobody boards any more is canceled. (Invariant 2.)
    fn cancel_if_ended(&self) {
        let ended = self.lock().ended;
        // Invariant 4: a context's end runs callbacks.
        if let Some(why) = ended {
            self.cancel.cancel_with(why);
        }
    }

    /// The error of the flight's context, which is ended if it was not.
    pub(super) fn call_off(&self) -> ripcord::Error {
        self.cancel.cancel_with("the load was dropped by its runtime");
        self.ctx.err().unwrap_or_else(|| unreachable!("the context was just canceled"))
    }

    /// Ends the flight when its most patient waiter's deadline passes, also when nobody polls that waiter.
    pub(super) async fn end_at_latest_deadline(&self) {
        while let Some(latest) = self.deadline.own() {
            let left = latest.saturating_duration_since(self.ctx.clock().now());
            if self.end_if_too_late() || self.ctx.sleep(left).await.is_err() {
                return;
            }
        }
    }

    /// Ends the flight if its most patient waiter's deadline has passed, and says whether it has.
    pub(super) fn end_if_too_late(&self) -> bool {
        let now = self.ctx.clock().now();
        let mut waiters = self.lock();
        // Asked under the lock, where nobody boards who has more time.
        if self.deadline.own().is_none_or(|latest| now < latest) {
            return false;
        }
        waiters.ended.get_or_insert("every caller's deadline has passed");
        drop(waiters);
        self.cancel_if_ended();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Seat<V> {
    /// None when the flight has ended. (Invariant 2.)
    pub(super) fn take(flight: &Arc<Flight<V>>, patience: Patience, need: Need) -> Option<Self> {
        // Invariant 4: asked before the lock is taken.
        if flight.ctx.is_done() {
            return None;
        }
        let mut waiters = flight.lock();
        if waiters.ended.is_some() {
            return None;
        }
        waiters.count += 1;
        waiters.need = waiters.need.max(need);
        flight.deadline.add(patience);
        drop(waiters);
        Some(Self { flight: flight.clone() })
    }

    pub(super) fn flight(&self) -> &Arc<Flight<V>> {
        &self.flight
    }

    /// Waits for the outcome. Dropping this future leaves nothing behind; dropping the seat leaves the flight.
    pub(super) async fn outcome(&self) -> &Outcome<V> {
        loop {
            let landed = self.flight.landed.notified();
            let mut landed = std::pin::pin!(landed);
            // Registered before looking: a landing after the look is noticed. (Invariant 3.)
            landed.as_mut().enable();
            if let Some(outcome) = self.flight.outcome.get() {
                return outcome;
            }
            landed.await;
        }
    }
}

impl<V> Drop for Seat<V> {
    fn drop(&mut self) {
        let mut waiters = self.flight.lock();
        waiters.count -= 1;
        let last = waiters.count == 0;
        if last {
            // Invariant 2.
            waiters.ended.get_or_insert("every caller has left");
        }
        drop(waiters);
        if last && !self.flight.is_finished() {
            self.flight.cancel_if_ended();
        }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}
