//! Who has been promised tokens that are yet to be earned, in order.
//!
//! # Invariants
//!
//! 1. Every promise takes the units right behind those of the promise before it. A waiter's place is not stored: it
//!    follows from what lies before, so those behind move up when one leaves, at no cost.
//! 2. A reservation has been told its time and does not move. It ends at a fixed place, and parts the queue.
//! 3. What a promise called off sets free passes a reservation behind it only as far as that reservation's own units,
//!    and all that has passed it before, leave over: otherwise it and those that moved up could come due at one time
//!    with more than a burst between them.
//! 4. `tail` is the end of the last promise. If the ledger has been spent beyond it since, nothing can be given back:
//!    that was granted from what came after.
//! 5. `widths` holds at the slot of each waiter its lead and its units, and zero at all other slots. Slots are in the order of
//!    the promises. So where a promise lies is found without a walk, also by all who wait when the rate is set.
//! 6. Wakers are handed out, to be called or dropped without the lock: either may run anything.

mod widths;

use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;

use widths::Widths;

/// Fewer slots than this are not worth numbering anew.
const FEW: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Queue {
    promises: BTreeMap<u64, Promise>,
    /// The ids of reservations among them.
    fixed: BTreeSet<u64>,
    widths: Widths,
    /// Where the first promise begins.
    base: u64,
    /// Where the last one ends, or ended if it has left.
    tail: u64,
    /// Units between the last promise still here and the tail.
    gap: u64,
    next_id: u64,
}

/// What a promise leaves behind that was called off.
#[must_use]
pub(super) struct CalledOff {
    /// Units given back, by which the tail has moved.
    pub(super) free: u64,
    /// To be dropped without the lock.
    pub(super) waker: Option<Waker>,
}

#[derive(Debug)]
struct Promise {
    units: u64,
    slot: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Waiter {
        /// Units spent between the promise before this one and this one.
        lead: u64,
        waker: Option<Waker>,
    },
    Fixed {
        /// Where it ends.
        end: u64,
        /// How far those behind it have moved up past its end.
        passed: u64,
        /// When it acts.
        act_at: u64,
    },
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.promises.is_empty()
    }

    pub(super) fn tail(&self) -> u64 {
        self.tail
    }

    pub(super) fn waiters(&self) -> usize {
        self.promises.len() - self.fixed.len()
    }

    /// A waiter for the units from `start` on.
    pub(super) fn push_waiter(&mut self, start: u64, units: u64) -> u64 {
        let lead = start.saturating_sub(self.begin(start)) + self.gap;
        self.push(start + units, units, Kind::Waiter { lead, waker: None })
    }

    /// A reservation of the units from `start` on, to act at `act_at`.
    pub(super) fn push_fixed(&mut self, start: u64, units: u64, act_at: u64) -> u64 {
        self.begin(start);
        let end = start + units;
        let id = self.push(end, units, Kind::Fixed { end, passed: 0, act_at });
        self.fixed.insert(id);
        id
    }

    /// Where the promise ends: it is due when as much has been earned. None for an unknown id.
    pub(super) fn end_of(&self, id: u64) -> Option<u64> {
        let promise = self.promises.get(&id)?;
        Some(promise.after(self.end_before(id, promise.slot)))
    }

    /// Whether nobody is due yet: the first promise's end has not been earned.
    pub(super) fn nobody_due(&self, earned: u64) -> bool {
        self.promises.first_key_value().is_some_and(|(_, first)| first.after(self.base) > earned)
    }

    /// Keeps the waker to be called when the waiter's place may have changed. Returns one to be dropped without the lock.
    pub(super) fn set_waker(&mut self, id: u64, new: Waker) -> Option<Waker> {
        match self.promises.get_mut(&id) {
            Some(Promise { kind: Kind::Waiter { waker, .. }, .. }) => waker.replace(new),
            _ => Some(new),
        }
    }

    /// Takes out a promise that has been kept; nobody moves. Returns its waker, to be dropped without the lock.
    #[must_use]
    pub(super) fn keep(&mut self, id: u64) -> Option<Waker> {
        self.take_out(id, 0)
    }

    /// Takes out a promise that was called off, and gives back what the later ones leave over if `refund` says that
    /// anything can be.
    pub(super) fn call_off(&mut self, id: u64, refund: bool) -> CalledOff {
        let Some(promise) = self.promises.get(&id) else { return CalledOff { free: 0, waker: None } };
        let units = if refund { promise.units } else { 0 };
        let waker = self.take_out(id, units);
        CalledOff { free: self.pass_on(id, units), waker }
    }

    /// Has all promises move up by `units` that lay before them and are free, as far as they can. Returns how many are left
    /// over, by which the tail has moved.
    pub(super) fn move_up(&mut self, units: u64) -> u64 {
        self.base = self.base.saturating_sub(units);
        self.pass_on(0, units)
    }

    /// Moves the reservations from `id` on by what they leave of `free` units before them, and the tail by what all of them
    /// leave, which is returned.
    fn pass_on(&mut self, id: u64, mut free: u64) -> u64 {
        for fixed in self.fixed.range(id..) {
            if free == 0 {
                break;
            }
            if let Some(Promise { units, kind: Kind::Fixed { passed, .. }, .. }) = self.promises.get_mut(fixed) {
                // Invariant 3.
                free = free.saturating_sub(*units + *passed);
                *passed += free;
            }
        }
        self.tail -= free;
        free
    }

    /// Forgets reservations at the front whose time has come: they can no longer be called off.
    pub(super) fn prune(&mut self, now: u64) {
        while let Some(id) = self.fixed.first().copied() {
            match self.promises.first_key_value() {
                Some((first, Promise { kind: Kind::Fixed { act_at, .. }, .. })) if *first == id && *act_at <= now => {
                    // A reservation has no waker.
                    let _ = self.take_out(id, 0);
                }
                _ => break,
            }
        }
    }

    /// The waker of the first waiter, to be called without the lock.
    pub(super) fn first_waker(&mut self) -> Option<Waker> {
        self.promises.values_mut().find_map(|promise| match &mut promise.kind {
            Kind::Waiter { waker, .. } => Some(waker.take()),
            Kind::Fixed { .. } => None,
        })?
    }

    /// All wakers.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        let waker = |promise: &mut Promise| match &mut promise.kind {
            Kind::Waiter { waker, .. } => waker.take(),
            Kind::Fixed { .. } => None,
        };
        self.promises.values_mut().filter_map(waker).collect()
    }

    /// Forgets all promises. Ids stay unique.
    pub(super) fn clear(&mut self) {
        self.promises.clear();
        self.fixed.clear();
        self.widths.clear();
    }

    /// Lowers every place by `by`; what would fall below zero is long past.
    pub(super) fn lower(&mut self, by: u64) {
        self.base = self.base.saturating_sub(by);
        self.tail = self.tail.saturating_sub(by);
        for id in &self.fixed {
            if let Some(Promise { kind: Kind::Fixed { end, .. }, .. }) = self.promises.get_mut(id) {
                *end = end.saturating_sub(by);
            }
        }
    }

    /// Where the promise to be pushed is counted from: the tail, or its own start when it is the first.
    fn begin(&mut self, start: u64) -> u64 {
        if self.promises.is_empty() {
            (self.base, self.tail, self.gap) = (start, start, 0);
            self.widths.clear();
        }
        self.tail
    }

    fn push(&mut self, end: u64, units: u64, kind: Kind) -> u64 {
        self.compact();
        let mut promise = Promise { units, slot: 0, kind };
        promise.slot = self.widths.push(promise.width());
        let id = self.next_id;
        self.next_id += 1;
        self.promises.insert(id, promise);
        (self.tail, self.gap) = (end, 0);
        id
    }

    /// Takes a promise out and lets those directly behind it move up by `free`. Returns its waker.
    fn take_out(&mut self, id: u64, free: u64) -> Option<Waker> {
        let first = self.promises.keys().next() == Some(&id);
        let before = self.end_before(id, self.promises.get(&id)?.slot);
        let promise = self.promises.remove(&id)?;
        self.fixed.remove(&id);
        self.widths.take(promise.slot, promise.width());
        let width = promise.after(before).saturating_sub(before).saturating_sub(free);
        if first {
            self.base = before + width;
        } else {
            match self.promises.range_mut(id..).next() {
                Some((_, Promise { kind: Kind::Waiter { lead, .. }, slot, .. })) => {
                    *lead += width;
                    self.widths.add(*slot, width);
                }
                // It says itself where it ends.
                Some((_, Promise { kind: Kind::Fixed { .. }, .. })) => {}
                None => self.gap += width,
            }
        }
        match promise.kind {
            Kind::Waiter { waker, .. } => waker,
            Kind::Fixed { .. } => None,
        }
    }

    /// Where the promise before this one, which is at `slot`, ends.
    fn end_before(&self, id: u64, slot: usize) -> u64 {
        // Counted from the last reservation before it, which says itself where it ends.
        let fixed = self.fixed.range(..id).next_back().and_then(|fixed| self.promises.get(fixed));
        let (place, since) = fixed.map_or((self.base, 0), |fixed| (fixed.after(0), fixed.slot));
        place + self.widths.before(slot).wrapping_sub(self.widths.before(since))
    }

    /// Numbers the slots anew if most of them are no longer in use, as those who are served leave theirs behind.
    fn compact(&mut self) {
        if self.widths.len() < FEW || self.widths.len() < 2 * self.promises.len() {
            return;
        }
        self.widths.clear();
        for promise in self.promises.values_mut() {
            promise.slot = self.widths.push(promise.width());
        }
    }
}

impl Promise {
    /// What it has in [`Queue::widths`].
    fn width(&self) -> u64 {
        match self.kind {
            Kind::Waiter { lead, .. } => lead + self.units,
            Kind::Fixed { .. } => 0,
        }
    }

    /// Where those behind it begin, if it is counted from `place`.
    fn after(&self, place: u64) -> u64 {
        match &self.kind {
            Kind::Waiter { lead, .. } => place + lead + self.units,
            Kind::Fixed { end, passed, .. } => end.saturating_sub(*passed),
        }
    }
}

#[cfg(test)]
mod tests;
