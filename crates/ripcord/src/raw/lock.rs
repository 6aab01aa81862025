//! A one-byte lock for short critical sections in which no user code runs.
//!
//! `std::sync::Mutex` unlocks with a second read-modify-write, which is half of its cost (13 ns against 6 ns, measured), and
//! rows C7, C8 and C14 take four locks. Here the unlock is a plain store. So a waiter polls, because no thread wakes it.
//! Polling is acceptable because every critical section is a few instructions.

use std::ops::{Deref, DerefMut};

use super::cell::Cell;
use crate::atomic::{Access, AtomicU8, Ordering, back_off};

/// A value behind a one-byte lock.
pub(crate) struct Lock<T> {
    held: AtomicU8,
    value: Cell<T>,
}

// SAFETY: the value is accessed only through a `LockGuard`, and only one guard exists at a time. So threads that share a `Lock`
// have exclusive access in turn, for which `T: Send` suffices.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Lock { held: AtomicU8::new(0), value: Cell::new(Access::new(), value) }
    }

    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        let mut step = 0;
        while self.held.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            back_off(&mut step);
        }
        LockGuard { lock: self }
    }
}

/// Holds a [`Lock`] until dropped.
pub(crate) struct LockGuard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for LockGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one (the compare-exchange in `lock`), so no other thread accesses the value.
        unsafe { &*self.lock.value.read() }
    }
}

impl<T> DerefMut for LockGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes the borrow exclusive within the guard.
        unsafe { &mut *self.lock.value.write() }
    }
}

impl<T> Drop for LockGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.held.store(0, Ordering::Release);
    }
}
