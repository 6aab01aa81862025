//! A semaphore whose number of permits changes while it is in use.
//!
//! # Invariants
//!
//! 1. The permits in use plus the permits in the semaphore equal the size plus the debt. If the size is lowered while all permits
//!    are in use, the difference becomes debt: a permit that is released while there is debt is not given to another caller.
//! 2. Waiters are served in the order of their calls, and before any later caller.
//! 3. A debt is written before permits are taken out to pay it, and is read after a permit has been put in. So if two threads do
//!    this at the same time, one of them sees the other's change, and no permit stays in the semaphore while there is debt.
//! 4. A panicking waker harms only itself. tokio's semaphore hands out several permits at once and wakes their waiters
//!    afterwards. A panic would then leave later waiters with permits but without a wakeup. So tokio's semaphore gets one permit
//!    at a time while there are waiters.

use tokio::sync::{self, SemaphorePermit, TryAcquireError};

use crate::panics::shielded;
use crate::sync::{AtomicUsize, Ordering, fence, step};

#[derive(Debug)]
pub(crate) struct Semaphore {
    permits: sync::Semaphore,
    debt: AtomicUsize,
}

/// A permit in use. Dropping it releases it.
#[must_use = "dropping it releases the permit"]
pub(crate) struct Permit<'a>(&'a Semaphore);

/// The reason why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPermit {
    /// All permits are in use.
    Full,
    /// The semaphore is closed.
    Closed,
}

impl Semaphore {
    /// The maximum number of permits.
    pub(crate) const MAX_PERMITS: usize = sync::Semaphore::MAX_PERMITS;

    pub(crate) fn new(size: usize) -> Self {
        Self { permits: sync::Semaphore::new(size), debt: AtomicUsize::new(0) }
    }

    /// Acquires a permit if one is free and no caller waits for it.
    pub(crate) fn try_acquire(&self) -> Result<Permit<'_>, NoPermit> {
        match self.permits.try_acquire() {
            Ok(permit) => Ok(self.permit(permit)),
            Err(TryAcquireError::NoPermits) => Err(NoPermit::Full),
            Err(TryAcquireError::Closed) => Err(NoPermit::Closed),
        }
    }

    /// Waits for a permit, in the order of the calls. Dropping the future leaves the queue.
    pub(crate) async fn acquire(&self) -> Result<Permit<'_>, NoPermit> {
        match self.permits.acquire().await {
            Ok(permit) => Ok(self.permit(permit)),
            Err(_) => Err(NoPermit::Closed),
        }
    }

    fn permit(&self, permit: SemaphorePermit<'_>) -> Permit<'_> {
        permit.forget();
        Permit(self)
    }

    /// Releases a permit whose guard was [forgotten](Permit::forget). Wakes a waiter, so it must not be called under a lock.
    pub(crate) fn release(&self) {
        // There is rarely any debt. Without debt, this only reads.
        if self.debt.load(Ordering::Relaxed) > 0 && self.pay(1) == 1 {
            return;
        }
        step();
        self.put_in(1);
        // Invariant 3: the fence puts both sides into one order.
        fence(Ordering::SeqCst);
        if self.debt.load(Ordering::Relaxed) > 0 {
            self.take_out();
        }
    }

    /// Changes the size from `old` to `new`. Wakes waiters, so it must not be called under a lock.
    pub(crate) fn resize(&self, old: usize, new: usize) {
        if new > old {
            self.grow(new - old);
        } else {
            self.debt.fetch_add(old - new, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            self.take_out();
        }
    }

    fn grow(&self, count: usize) {
        self.put_in(count - self.pay(count));
        self.take_out();
    }

    /// Takes free permits out of the semaphore to pay the debt.
    fn take_out(&self) {
        let debt = self.debt.load(Ordering::Relaxed);
        if debt > 0 {
            let taken = self.permits.forget_permits(debt);
            // Permits released meanwhile may have paid a part of the debt.
            self.put_in(taken - self.pay(taken));
        }
    }

    /// Lowers the debt by at most `count`. Returns the number of permits paid.
    fn pay(&self, count: usize) -> usize {
        let paid = |debt: usize| debt.min(count);
        let change = |debt| Some(debt - paid(debt));
        match self.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change) {
            Ok(debt) | Err(debt) => paid(debt),
        }
    }

    fn put_in(&self, mut count: usize) {
        // Invariant 4. Once a permit stays in the semaphore, no waiter needs the other permits.
        while count > 1 {
            shielded(|| self.permits.add_permits(1));
            count -= 1;
            if self.permits.available_permits() > 0 {
                break;
            }
        }
        if count > 0 {
            shielded(|| self.permits.add_permits(count));
        }
    }

    /// Closes the semaphore. All waiters get [`NoPermit::Closed`].
    pub(crate) fn close(&self) {
        self.permits.close();
    }
}

impl Permit<'_> {
    /// Drops the guard without releasing the permit. [`Semaphore::release`] releases the permit.
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    use super::{NoPermit, Semaphore};

    /// Acquires all free permits. Returns their number.
    fn take_all(semaphore: &Semaphore) -> usize {
        std::iter::from_fn(|| semaphore.try_acquire().ok()).map(super::Permit::forget).count()
    }

    #[test]
    fn size_lowered_while_all_permits_are_in_use_is_reached_by_releases() {
        let semaphore = Semaphore::new(3);
        (0..3).for_each(|_| semaphore.try_acquire().expect("three permits").forget());
        semaphore.resize(3, 1);
        semaphore.release();
        semaphore.release();
        assert_eq!(semaphore.try_acquire().err(), Some(NoPermit::Full), "one is still in use");
        semaphore.release();
        semaphore.try_acquire().expect("the one permit").forget();
        assert_eq!(semaphore.try_acquire().err(), Some(NoPermit::Full));

        // Growth pays the debt first.
        semaphore.resize(1, 0);
        semaphore.resize(0, 2);
        semaphore.try_acquire().expect("the second of two").forget();
        assert_eq!(semaphore.try_acquire().err(), Some(NoPermit::Full));
    }

    #[test]
    fn permits_released_during_resizes_are_neither_lost_nor_doubled() {
        for round in 0..200 {
            let semaphore = Semaphore::new(4);
            assert_eq!(take_all(&semaphore), 4);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..2).for_each(|_| semaphore.release()));
                }
                scope.spawn(|| {
                    semaphore.resize(4, 1);
                    semaphore.resize(1, 3);
                    semaphore.resize(3, 2);
                });
            });
            assert_eq!(take_all(&semaphore), 2, "round {round}");
        }
    }

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker panics, on purpose");
        }
    }

    #[test]
    fn panicking_waker_leaves_the_other_waiters_their_permits() {
        let semaphore = Semaphore::new(1);
        semaphore.try_acquire().expect("the one permit").forget();
        let mut waiting = [pin!(semaphore.acquire()), pin!(semaphore.acquire()), pin!(semaphore.acquire())];
        let panics = Waker::from(Arc::new(Panics));
        for wait in &mut waiting {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
        }
        semaphore.release();
        semaphore.resize(1, 5);
        for wait in &mut waiting {
            let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let std::task::Poll::Ready(Ok(permit)) = polled else { panic!("it has its permit") };
            permit.forget();
        }
        assert_eq!(take_all(&semaphore), 2);
    }
}
