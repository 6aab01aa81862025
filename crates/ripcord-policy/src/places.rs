//! Places to be had, as many as are wanted at the moment: a semaphore whose size changes while it is in use.
//!
//! # Invariants
//!
//! 1. Places out and permits in the semaphore are together as many as the size, and those owed. A size that is lowered
//!    while all are out leaves the difference owed, and that many are not given to anybody when they come back.
//! 2. Who waits is served in the order of asking, and before anybody who comes later.
//! 3. What is owed is written before permits are taken out for it, and is read after one has been put in. So of two who do
//!    so at the same moment one sees the other: no permit stays there while a place is owed.
//! 4. A waker that panics does so alone. The semaphore hands several permits out at once and wakes after that, and would
//!    then leave those behind it with permits that they never hear of: so it is given one at a time while somebody waits.

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

use crate::panics::shielded;
use crate::sync::{AtomicUsize, Ordering, fence};

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
        if self.owed.load(Ordering::Relaxed) > 0 && self.settle(1) == 1 {
            return;
        }
        self.put_in(1);
        // Invariant 3, which wants both sides in one order.
        fence(Ordering::SeqCst);
        if self.owed.load(Ordering::Relaxed) > 0 {
            self.take_out();
        }
    }

    /// Makes the size `old` into `new`. Wakes who waits: not to be called under a lock.
    pub(crate) fn resize(&self, old: usize, new: usize) {
        if new > old {
            self.grow(new - old);
        } else {
            self.owed.fetch_add(old - new, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.take_out();
        }
    }

    fn grow(&self, count: usize) {
        self.put_in(count - self.settle(count));
        self.take_out();
    }

    /// Takes out what permits there are for places that are owed.
    fn take_out(&self) {
        let owed = self.owed.load(Ordering::Relaxed);
        if owed > 0 {
            let taken = self.semaphore.forget_permits(owed);
            // Those that came back meanwhile have settled some of it.
            self.put_in(taken - self.settle(taken));
        }
    }

    /// Counts up to `count` places as not owed any more; returns how many.
    fn settle(&self, count: usize) -> usize {
        let settled = |owed: usize| owed.min(count);
        let change = |owed| Some(owed - settled(owed));
        match self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change) {
            Ok(owed) | Err(owed) => settled(owed),
        }
    }

    fn put_in(&self, mut count: usize) {
        // Invariant 4. Once a permit stays there, nobody waits for the others.
        while count > 1 {
            shielded(|| self.semaphore.add_permits(1));
            count -= 1;
            if self.semaphore.available_permits() > 0 {
                break;
            }
        }
        if count > 0 {
            shielded(|| self.semaphore.add_permits(count));
        }
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
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::{NoPlace, Places};

    /// Takes all that there are, and returns how many.
    fn take_all(places: &Places) -> usize {
        std::iter::from_fn(|| places.try_take().ok()).map(super::Place::keep).count()
    }

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

    #[test]
    fn places_that_come_back_while_the_size_changes_are_neither_lost_nor_doubled() {
        for round in 0..200 {
            let places = Places::new(4);
            assert_eq!(take_all(&places), 4);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..2).for_each(|_| places.give_back()));
                }
                scope.spawn(|| {
                    places.resize(4, 1);
                    places.resize(1, 3);
                    places.resize(3, 2);
                });
            });
            assert_eq!(take_all(&places), 2, "round {round}");
        }
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's own affair");
        }
    }

    #[test]
    fn a_waker_that_panics_is_the_only_one_not_to_hear_of_its_place() {
        let places = Places::new(1);
        places.try_take().expect("the one place").keep();
        let mut waiting = [pin!(places.take()), pin!(places.take()), pin!(places.take())];
        let panics = Waker::from(Arc::new(Panics));
        for wait in &mut waiting {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
        }
        places.give_back();
        places.resize(1, 5);
        for wait in &mut waiting {
            let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let std::task::Poll::Ready(Ok(place)) = polled else { panic!("it has its place") };
            place.keep();
        }
        assert_eq!(take_all(&places), 2);
    }
}
