//! The counters of every policy.
//!
//! Counting costs about a nanosecond: each of the first threads writes its own slot, without an atomic addition. A policy that
//! has counted little has one slot for all threads, so that a policy per key or per call stays small.
//!
//! # Invariants
//!
//! 1. A thread owns at most one slot number, and no two live threads own the same number. Only its owner writes an owned slot, so
//!    a plain load and store lose no count.
//! 2. A thread without a number writes the shared slot by atomic addition. Every thread does so while there are no owned slots.
//! 3. A number passes to another thread under the lock of [`FREE`], so the new owner sees all writes of the old owner.

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

/// The maximum number of threads that own a slot. All other threads share one more slot.
const OWNED: usize = 16;
/// The value that stands for the shared slot in place of a slot number.
const SHARED: usize = OWNED;
/// The value of a shared counter at which the owned slots are allocated.
const FEW: u64 = 32;
/// The value of a thread that has not asked for a slot yet.
const UNASKED: usize = usize::MAX;

/// The slot numbers without an owner.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// The number of slot numbers issued so far, including returned numbers.
static ISSUED: Mutex<usize> = Mutex::new(0);

thread_local! {
    static SLOT: Cell<usize> = const { Cell::new(UNASKED) };
    static OWNERSHIP: Cell<Option<Ownership>> = const { Cell::new(None) };
}

/// The counters of a policy: its calls, and `N` counters of its own. A read sums them over the slots.
pub(crate) struct Tally<const N: usize> {
    shared: Slot<N>,
    /// The owned slots. Allocated when a counter of the shared slot has reached [`FEW`].
    owned: OnceLock<Box<[CachePadded<Slot<N>>; OWNED]>>,
}

/// The counters of one slot.
struct Slot<const N: usize> {
    calls: [AtomicU64; CALLS],
    own: [AtomicU64; N],
}

const CALLS: usize = Call::Rejected as usize + 1;

impl<const N: usize> Tally<N> {
    pub(crate) fn new() -> Self {
        Tally { shared: Slot::new(), owned: OnceLock::new() }
    }

    /// Counts the start of a call. The guard counts its end.
    pub(crate) fn begin(&self) -> CallGuard<'_, N> {
        self.count(Call::Started);
        CallGuard { tally: self, end: Call::Canceled }
    }

    /// Makes a call under `ctx`, and counts its start and its end. A panic counts as a failure and goes to the caller. If `ctx`
    /// has ended before the call, the call counts as rejected, and `refused` creates its error. If `call` itself refuses, that
    /// counts as a started call that was canceled, so a policy that refuses calls must do so before it calls this method.
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
        let started = match begin_catching(call) {
            Ok(started) => started,
            Err(panic) => {
                guard.end(Outcome::Failure);
                resume_unwind(panic)
            }
        };
        match keep_catching(pin!(started)).await {
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
    pub(crate) fn count(&self, call: Call) {
        self.add_to(|slot| &slot.calls[call as usize], 1);
    }

    /// Adds one to the policy's own counter number `index`.
    pub(crate) fn bump(&self, index: usize) {
        self.add(index, 1);
    }

    /// Adds `by` to the policy's own counter number `index`.
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
                // Invariant 1: no other thread writes here.
                let counter = counter(&owned[slot]);
                counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
            }
            _ => {
                // Invariant 2: other threads write here too.
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

    /// Returns the policy's own counters.
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

/// A call in flight. If it is dropped before [`end`](CallGuard::end), the call counts as canceled.
pub(crate) struct CallGuard<'a, const N: usize> {
    tally: &'a Tally<N>,
    end: Call,
}

impl<const N: usize> CallGuard<'_, N> {
    /// Counts the end of the call.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.end = outcome.into();
    }
}

impl<const N: usize> Drop for CallGuard<'_, N> {
    fn drop(&mut self) {
        self.tally.count(self.end);
    }
}

/// The ownership of a slot number. It returns the number when the thread ends.
struct Ownership(usize);

impl Drop for Ownership {
    fn drop(&mut self) {
        // Destructors of other thread-locals may still count. From here on they use the shared slot.
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
        // A thread that is already ending cannot return its number later, so it uses the shared slot.
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
