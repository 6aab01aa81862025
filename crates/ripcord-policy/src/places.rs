//! Places to be had, as many as are wanted at the moment: a semaphore whose size changes while it is in use.
//!
//! # Invariants
//!
//! 1. Places out and permits in the semaphore are together as many as the size, and those owed. A size that is lowered
//!    while all are out leaves the difference owed, and that many are not given to anybody when they come back.
//! 2. Who waits is served in the order of asking, and before anybody who comes later.
//!
//! A place that comes back at the very moment the size is lowered may be given out once more; what it leaves owed is
//! settled by the next that comes back.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

#[derive(Debug)]
pub(crate) struct Places {
    semaphore: Semaphore,
    owed: AtomicUsize,
}

/// A place that has been taken. Dropping it gives it back.
#[must_use = "dropping it gives the place back"]
pub(crate) struct Place<'a>(&'a Places);

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All are taken.
    Full,
    /// There will be none any more.
    Closed,
}

impl Places {
    /// More than this many cannot be counted.
    pub(crate) const MOST: usize = Semaphore::MAX_PERMITS;

    pub(crate) fn new(size: usize) -> Self {
        Self { semaphore: Semaphore::new(size), owed: AtomicUsize::new(0) }
    }

    /// A place, if there is one and nobody waits for it.
    pub(crate) fn try_take(&self) -> Result<Place<'_>, NoPlace> {
        match self.semaphore.try_acquire() {
            Ok(permit) => Ok(self.of(permit)),
            Err(TryAcquireError::NoPermits) => Err(NoPlace::Full),
            Err(TryAcquireError::Closed) => Err(NoPlace::Closed),
        }
    }

    /// A place, in the order of asking. Dropping the future gives up the turn.
    pub(crate) async fn take(&self) -> Result<Place<'_>, NoPlace> {
        match self.semaphore.acquire().await {
            Ok(permit) => Ok(self.of(permit)),
            Err(_) => Err(NoPlace::Closed),
        }
    }

    fn of(&self, permit: SemaphorePermit<'_>) -> Place<'_> {
        permit.forget();
        Place(self)
    }

    /// Gives back a place that was [kept](Place::keep). Wakes who waits for it: not to be called under a lock.
    pub(crate) fn give_back(&self) {
        // Nearly always nothing is owed, and then it is only read.
        let settle = |owed: usize| owed.checked_sub(1);
        if self.owed.load(Ordering::Relaxed) == 0
            || self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, settle).is_err()
        {
            self.semaphore.add_permits(1);
        }
    }

    /// Makes the size `old` into `new`. Wakes who waits: not to be called under a lock.
    pub(crate) fn resize(&self, old: usize, new: usize) {
        if new > old {
            self.grow(new - old);
        } else {
            let missed = (old - new) - self.semaphore.forget_permits(old - new);
            self.owed.fetch_add(missed, Ordering::Relaxed);
        }
    }

    fn grow(&self, count: usize) {
        let mut settled = 0;
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| {
            settled = owed.min(count);
            Some(owed - settled)
        });
        self.semaphore.add_permits(count - settled);
    }

    /// No more places are given out: who waits is told so.
    pub(crate) fn close(&self) {
        self.semaphore.close();
    }
}

impl Place<'_> {
    /// Leaves giving it back to whoever holds it from now on, by [`Places::give_back`].
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::{NoPlace, Places};

    #[test]
    fn a_size_lowered_while_all_are_out_is_settled_by_those_that_come_back() {
        let places = Places::new(3);
        (0..3).for_each(|_| places.try_take().expect("three places").keep());
        places.resize(3, 1);
        places.give_back();
        places.give_back();
        assert_eq!(places.try_take().err(), Some(NoPlace::Full), "one is still out");
        places.give_back();
        places.try_take().expect("the one place").keep();
        assert_eq!(places.try_take().err(), Some(NoPlace::Full));

        // What is owed is settled by growth first.
        places.resize(1, 0);
        places.resize(0, 2);
        places.try_take().expect("the second of two").keep();
        assert_eq!(places.try_take().err(), Some(NoPlace::Full));
    }
}
