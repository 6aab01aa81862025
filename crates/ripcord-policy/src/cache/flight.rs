//! Loads under way: one a key, shared by everybody who waits for it.
//!
//! # Invariants
//!
//! 1. A key has at most one *current* flight, the one in the [table](super::table). Detaching a flight (a remove, an insert, a clear)
//!    takes it out: its waiters still get its result, the store does not.
//! 2. A flight has as many waiters as there are [`Seat`]s. When the last seat is dropped the flight has ended, for
//!    good: nobody boards it any more and its context is canceled, at the latest before another flight takes its place.
//! 3. An outcome is set once, before anybody is told to look.
//! 4. Lock order: a shard of the table, then the store; a flight's waiters alone. Wakers, contexts and users' drops run
//!    under none of them: a context that is made, or asked whether it has ended, may find that its deadline has passed, and
//!    then wakes whoever waits for it.
//! 5. A flight that somebody boarded who needs a load makes one. It is settled under the lock of its waiters whether it
//!    does, and one that does not has ended by that.

use std::sync::{Arc, PoisonError};

use ripcord::{CancelHandle, Canceler, Context};
use tokio::sync::Notify;

use super::deadline::{LoadDeadline, Patience};
use crate::sync::{Mutex, MutexGuard, OnceLock};
use crate::{Panicked, SharedError};

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
    pub(super) fn cancel_if_ended(&self) {
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
    /// The seat that a flight is made with.
    pub(super) fn first(flight: Arc<Flight<V>>) -> Self {
        Self { flight }
    }

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
