//! The queue of promises of tokens that are not earned yet.
//!
//! # Invariants
//!
//! 1. A promise has a span of units. The promise is due when the end of its span has been earned. Spans do not overlap, and later
//!    promises have later spans. Spans move only together. So a new rate or a returned token gives all promises new times without
//!    a change to any single promise.
//! 2. When a promise is given up, its span goes to the promise behind it, which does not become due earlier. The span of the last
//!    promise is free again. So the tokens of a promise that was given up are free again when all promises behind it are given up
//!    too. They are lost when the promise directly behind it is kept.
//! 3. The holder of a reservation knows its time, and the reservation keeps it: see [`Queue::prune`].
//! 4. A returned token makes all waiters due earlier, and each waiter has to be woken to learn its new time. Only the first
//!    waiter is woken at once. Each waiter that leaves the queue wakes the next waiter, which is never due earlier. So a returned
//!    token costs the same for any number of waiters.
//! 5. Wakers are returned to the caller, which wakes or drops them without the lock: both may run any code.

use std::collections::BTreeMap;
use std::task::Waker;

use super::schedule::BASE;

#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The promises. Their positions are `advance` units too high.
    promises: BTreeMap<PromiseId, Promise>,
    next_id: PromiseId,
    /// The number of units by which all promises have moved towards the front.
    advance: u64,
    /// The number of times that all promises have moved towards the front.
    moves: u64,
}

/// The number of a promise. Later promises have higher numbers.
pub(super) type PromiseId = u64;

#[derive(Debug)]
pub(super) struct Promise {
    /// The start of the span, in units.
    pub(super) start: u64,
    /// The end of the span, in units. The promise's own units are the last units of its span.
    pub(super) end: u64,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A waiter: its waker, and the value of `moves` when the waker was set.
    Waiter(Option<(Waker, u64)>),
    Reservation {
        act_at: u64,
    },
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.promises.is_empty()
    }

    pub(super) fn push(&mut self, promise: Promise) -> PromiseId {
        let id = self.next_id;
        self.next_id += 1;
        let (start, end) = (promise.start + self.advance, promise.end + self.advance);
        self.promises.insert(id, Promise { start, end, ..promise });
        id
    }

    /// Returns the end of a promise's span, or `None` if the promise has been removed.
    pub(super) fn end_of(&self, id: PromiseId) -> Option<u64> {
        Some(self.promises.get(&id)?.end.saturating_sub(self.advance))
    }

    /// Replaces the waker of a waiter. Returns the old one.
    pub(super) fn set_waker(&mut self, id: PromiseId, new: Waker) -> Option<Waker> {
        match &mut self.promises.get_mut(&id)?.kind {
            Kind::Waiter(waker) => waker.replace((new, self.moves)).map(|(waker, _)| waker),
            Kind::Reservation { .. } => None,
        }
    }

    pub(super) fn remove(&mut self, id: PromiseId) -> Option<Promise> {
        let promise = self.promises.remove(&id)?;
        let (start, end) = (promise.start.saturating_sub(self.advance), promise.end.saturating_sub(self.advance));
        Some(Promise { start, end, ..promise })
    }

    /// Removes a promise that is given up. Returns the promise and whether its span is free again. (Invariant 2.)
    pub(super) fn give_up(&mut self, id: PromiseId) -> Option<(Promise, bool)> {
        let promise = self.remove(id)?;
        let behind = self.promises.range_mut(id..).next();
        let is_last = behind.is_none();
        if let Some((_, behind)) = behind {
            behind.start = promise.start + self.advance;
        }
        Some((promise, is_last))
    }

    /// Removes the reservations at the front that are due: they can no longer be canceled.
    pub(super) fn prune(&mut self, now: u64) {
        while let Some(first) = self.promises.first_entry() {
            match first.get().kind {
                // A reservation has no waker, so it can be dropped here.
                Kind::Reservation { act_at } if act_at <= now => drop(first.remove()),
                _ => return,
            }
        }
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        let waker = |promise: &mut Promise| match &mut promise.kind {
            Kind::Waiter(waker) => waker.take().map(|(waker, _)| waker),
            Kind::Reservation { .. } => None,
        };
        self.promises.values_mut().filter_map(waker).collect()
    }

    /// Takes the first waiter's waker if the promises have moved since the waker was set. (Invariant 4.)
    pub(super) fn take_stale_waker(&mut self) -> Option<Waker> {
        let first = self.promises.values_mut().find_map(|promise| match &mut promise.kind {
            Kind::Waiter(waker) => Some(waker),
            Kind::Reservation { .. } => None,
        });
        let (waker, _) = first?.take_if(|(_, set_at)| *set_at != self.moves)?;
        Some(waker)
    }

    /// Removes all promises. Their wakers must have been taken before. The numbers of promises stay unique.
    pub(super) fn clear(&mut self) {
        self.promises.clear();
    }

    /// Moves all promises `units` towards the front.
    pub(super) fn move_up(&mut self, units: u64) {
        self.advance += units;
        self.moves += 1;
        // The positions are still far from an overflow.
        if self.advance > BASE {
            self.lower(0);
        }
    }

    /// Lowers every position by `by` and by `advance`, and resets `advance`. A promise whose position would fall below zero has
    /// long been due.
    pub(super) fn lower(&mut self, by: u64) {
        let by = by + std::mem::take(&mut self.advance);
        for promise in self.promises.values_mut() {
            promise.start = promise.start.saturating_sub(by);
            promise.end = promise.end.saturating_sub(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_of_three() -> (Queue, [PromiseId; 3]) {
        let mut queue = Queue::default();
        let mut push = |start, end| queue.push(Promise { start, end, kind: Kind::Waiter(None) });
        let ids = [push(10, 11), push(11, 13), push(13, 14)];
        (queue, ids)
    }

    #[test]
    fn span_given_up_in_the_middle_is_free_when_those_behind_leave() {
        let (mut queue, [_, middle, last]) = queue_of_three();
        assert!(queue.give_up(middle).is_some_and(|(_, is_free)| !is_free));
        assert_eq!(queue.end_of(last), Some(14), "nobody moves");
        let (promise, is_free) = queue.give_up(last).unwrap();
        assert_eq!((promise.start, promise.end, is_free), (11, 14, true));
    }

    #[test]
    fn span_given_up_before_a_promise_that_is_kept_is_lost() {
        let (mut queue, [first, middle, last]) = queue_of_three();
        let _ = queue.give_up(first);
        assert_eq!(queue.remove(middle).map(|kept| kept.start), Some(10));
        assert!(queue.give_up(last).is_some_and(|(promise, is_free)| promise.start == 13 && is_free));
        assert!(queue.is_empty());
    }

    #[test]
    fn promises_that_move_up_keep_their_spans_and_later_ones_follow() {
        let (mut queue, [first, middle, last]) = queue_of_three();
        queue.move_up(4);
        let later = queue.push(Promise { start: 10, end: 12, kind: Kind::Waiter(None) });
        assert_eq!([first, middle, last, later].map(|id| queue.end_of(id)), [7, 9, 10, 12].map(Some));
        queue.lower(1);
        assert_eq!([first, middle, last, later].map(|id| queue.end_of(id)), [6, 8, 9, 11].map(Some));
        queue.move_up(3);
        assert!(queue.give_up(middle).is_some_and(|(promise, is_free)| promise.start == 3 && !is_free));
        assert!(queue.remove(last).is_some_and(|kept| (kept.start, kept.end) == (3, 6)));
        assert!(queue.give_up(later).is_some_and(|(free, is_free)| (free.start, free.end) == (6, 8) && is_free));
    }

    #[test]
    fn reservation_behind_a_waiter_is_not_pruned() {
        let (mut queue, [first, middle, last]) = queue_of_three();
        let kind = Kind::Reservation { act_at: 5 };
        let reservation = queue.push(Promise { start: 14, end: 15, kind });
        queue.prune(5);
        assert_eq!(queue.end_of(reservation), Some(15));
        for id in [first, middle, last] {
            let _ = queue.remove(id);
        }
        queue.prune(4);
        assert_eq!(queue.end_of(reservation), Some(15), "its time has not come");
        queue.prune(5);
        assert!(queue.is_empty());
    }
}
