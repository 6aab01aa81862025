//! The counters of every policy.
//!
//! Counting costs about a nanosecond: each of the first threads writes a slot of its own, without an atomic addition. A policy
//! that has counted little has one slot for all threads, so that a policy per key or per call stays small.
//!
//! # Invariants
//!
//! 1. A thread owns at most one slot number, and no two live threads own the same one. Only its owner writes an owned
//!    slot, so a plain load and store lose nothing.
//! 2. A thread without a number writes the shared slot, by atomic addition, and so does every thread while there are no owned
//!    slots.
//! 3. A number changes hands under the lock of [`FREE`], so the new owner sees all that the old one wrote.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use ripcord::Context;

use crate::cache_padded::CachePadded;
use crate::panics::{begin_catching, keep_catching};
use crate::stats::{Call, CallStats};
use crate::{Error, Outcome};

/// Threads that own a slot; all others share one more.
const OWNED: usize = 16;
/// Stands for the shared slot, in place of a number.
const SHARED: usize = OWNED;
/// A counter that has not reached this needs no slots for single threads.
const FEW: u64 = 32;
/// A thread that has not asked for a slot yet.
const UNASKED: usize = usize::MAX;

/// Slot numbers nobody owns.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Slot numbers handed out so far, those given back included.
static ISSUED: Mutex<usize> = Mutex::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(UNASKED) };
    static OWNERSHIP: Cell<Option<Ownership>> = const { Cell::new(None) };
}

/// What a policy counts: its calls, and `N` figures of its own. Summed over the slots when read.
pub(crate) struct Tally<const N: usize> {
    shared: Slot<N>,
    /// Allocated when a counter of the shared slot has reached [`FEW`].
    owned: OnceLock<Box<[CachePadded<Slot<N>>; OWNED]>>,
}

/// One thread's share.
struct Slot<const N: usize> {
    calls: [AtomicU64; CALLS],
    own: [AtomicU64; N],
}

const CALLS: usize = Call::Rejected as usize + 1;

impl<const N: usize> Tally<N> {
    pub(crate) fn new() -> Self {
        Tally { shared: Slot::new(), owned: OnceLock::new() }
    }

    /// Counts the start of a call, whose end the guard counts.
    #[inline]
    pub(crate) fn begin(&self) -> CallGuard<'_, N> {
        self.count(Call::Started);
        CallGuard { tally: self, end: Call::Canceled }
    }

    /// Makes a call under `ctx`, and counts its start and its end. A panic counts as a failure and goes on to the caller. If `ctx`
    /// has ended, the call counts as rejected, and `refused` makes its error.
    pub(crate) async fn call<T, E, Fut>(
        &self,
        ctx: &Context,
        refused: impl FnOnce(ripcord::Error) -> Error<E>,
        call: impl FnOnce() -> Fut,
    ) -> Result<T, Error<E>>
    where
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        if let Err(end) = ctx.check() {
            self.count(Call::Rejected);
            return Err(refused(end));
        }
        let guard = self.begin();
        let result = match begin_catching(call) {
            Ok(future) => keep_catching(pin!(future)).await,
            Err(panic) => Err(panic),
        };
        match result {
            Ok(result) => {
                guard.end(Outcome::new(&result, Error::outcome));
                result
            }
            Err(panic) => {
                guard.end(Outcome::Failure);
                resume_unwind(panic)
            }
        }
    }

    /// Adds one to a counter of calls.
    #[inline]
    pub(crate) fn count(&self, call: Call) {
        self.add_to(|slot| &slot.calls[call as usize], 1);
    }

    /// Adds one to the policy's own figure number `index`.
    #[inline]
    pub(crate) fn bump(&self, index: usize) {
        self.add(index, 1);
    }

    /// Adds `by` to the policy's own figure number `index`.
    #[inline]
    pub(crate) fn add(&self, index: usize, by: u64) {
        self.add_to(|slot| &slot.own[index], by);
    }

    #[inline]
    fn add_to(&self, counter: impl Fn(&Slot<N>) -> &AtomicU64, by: u64) {
        let mut slot = SLOT.get();
        if slot == UNASKED {
            slot = ask_for_slot();
        }
        match self.owned.get() {
            Some(owned) if slot != SHARED => {
                // Invariant 1: nobody else writes here.
                let counter = counter(&owned[slot]);
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
            }
            _ => {
                // Invariant 2: others write here too.
                let before = counter(&self.shared).fetch_add(by, Ordering::Relaxed);
                if before >= FEW && slot != SHARED {
                    self.owned.get_or_init(|| Box::new(std::array::from_fn(|_| CachePadded::new(Slot::new()))));
                }
            }
        }
    }

    /// Returns the counters of calls.
    pub(crate) fn calls(&self) -> CallStats {
        let sum = |call: Call| self.sum(|slot| &slot.calls[call as usize]);
        CallStats {
            started: sum(Call::Started),
            succeeded: sum(Call::Succeeded),
            failed: sum(Call::Failed),
            canceled: sum(Call::Canceled),
            rejected: sum(Call::Rejected),
        }
    }

    /// Returns the policy's own figures.
    pub(crate) fn read(&self) -> [u64; N] {
        std::array::from_fn(|index| self.sum(|slot| &slot.own[index]))
    }

    fn sum(&self, counter: impl Fn(&Slot<N>) -> &AtomicU64) -> u64 {
        let owned = self.owned.get().into_iter().flat_map(|slots| slots.iter().map(|slot| &**slot));
        owned.chain([&self.shared]).map(|slot| counter(slot).load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }
}

impl<const N: usize> Slot<N> {
    fn new() -> Self {
        Slot { calls: [const { AtomicU64::new(0) }; CALLS], own: [const { AtomicU64::new(0) }; N] }
    }
}

impl<const N: usize> fmt::Debug for Tally<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("calls", &self.calls()).field("own", &self.read()).finish()
    }
}

/// A call in flight. Dropped before [`end`](CallGuard::end), it counts as canceled.
pub(crate) struct CallGuard<'a, const N: usize> {
    tally: &'a Tally<N>,
    end: Call,
}

impl<const N: usize> CallGuard<'_, N> {
    /// Counts the end of the call.
    #[inline]
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.end = outcome.into();
    }
}

impl<const N: usize> Drop for CallGuard<'_, N> {
    #[inline]
    fn drop(&mut self) {
        self.tally.count(self.end);
    }
}

/// Gives its number back when the thread ends.
struct Ownership(usize);

impl Drop for Ownership {
    fn drop(&mut self) {
        // Destructors of other thread-locals may still count; from here on they share.
        SLOT.set(SHARED);
        // Invariant 3: after the last write by this owner.
        FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

#[cold]
fn ask_for_slot() -> usize {
    // Invariant 3: before the first write by the new owner.
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = free.pop().unwrap_or_else(|| {
        let mut issued = ISSUED.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*issued).min(SHARED);
        *issued = next + 1;
        next
    });
    drop(free);
    SLOT.set(slot);
    if slot != SHARED {
        // A thread that is already tearing down cannot promise to give its number back: it shares instead.
        if OWNERSHIP.try_with(|ownership| ownership.set(Some(Ownership(slot)))).is_err() {
            SLOT.set(SHARED);
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
            return SHARED;
        }
    }
    slot
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use crate::Outcome;

    #[test]
    fn more_threads_than_slots_lose_no_count() {
        let tally = Tally::<2>::new();
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..40 {
                    scope.spawn(|| (0..1000).for_each(|_| tally.bump(1)));
                }
            });
        }
        assert_eq!(tally.read(), [0, 120_000]);
    }

    #[test]
    fn tally_gets_slots_for_single_threads_when_it_has_counted_enough() {
        let tally = Tally::<1>::new();
        (0..super::FEW).for_each(|_| tally.bump(0));
        assert!(tally.owned.get().is_none());
        (0..10).for_each(|_| tally.bump(0));
        assert_eq!((tally.owned.get().is_some(), tally.read()), (true, [super::FEW + 10]));
    }

    #[test]
    fn dropped_guard_counts_its_call_as_canceled() {
        let tally = Tally::<0>::new();
        drop(tally.begin());
        tally.begin().end(Outcome::Success);
        tally.begin().end(Outcome::Failure);
        let in_flight = tally.begin();
        let calls = tally.calls();
        assert_eq!((calls.started, calls.succeeded, calls.failed, calls.canceled), (4, 1, 1, 1));
        assert_eq!(calls.in_flight(), 1);
        drop(in_flight);
    }
}
