//! A mutex.

use std::fmt;
use std::ops::{Deref, DerefMut};

use tokio::sync as inner;

use crate::context::Context;
use crate::error::Error;

/// A mutex whose guard may be held across an `.await`.
///
/// Waiters get the lock in the order of their first polls. If a task panics while it holds the guard, the mutex is unlocked and
/// not poisoned.
///
/// ```
/// # futures::executor::block_on(async {
/// use ripcord::Context;
/// use ripcord::sync::Mutex;
///
/// static ENTRIES: Mutex<Vec<u32>> = Mutex::new(Vec::new());
///
/// async fn add(ctx: &Context, entry: u32) -> Result<(), ripcord::Error> {
///     let mut entries = ENTRIES.lock(ctx).await?;
///     entries.push(entry);
///     Ok(())
/// }
/// add(&Context::background(), 7).await?;
/// assert_eq!(ENTRIES.try_lock().unwrap()[..], [7]);
/// # Ok::<(), ripcord::Error>(()) }).unwrap();
/// ```
#[derive(Default)]
pub struct Mutex<T: ?Sized>(inner::Mutex<T>);

impl<T> Mutex<T> {
    /// Creates an unlocked mutex.
    pub const fn new(value: T) -> Self {
        Mutex(inner::Mutex::const_new(value))
    }

    /// Consumes the mutex and returns its value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the mutex is unlocked, or until `ctx` ends. Locks the mutex and returns a guard, which unlocks it when dropped.
    ///
    /// If a task calls this method while it holds the guard of the same mutex, the call waits until `ctx` ends.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first. If `ctx` has ended at the first poll, the mutex is not locked.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time. If the lock was already assigned to it, the lock goes to the next
    /// waiter.
    pub async fn lock(&self, ctx: &Context) -> Result<MutexGuard<'_, T>, Error> {
        ctx.run(self.0.lock()).await.map(MutexGuard)
    }

    /// Locks the mutex and returns a guard, or returns `None` if the mutex is locked. Never waits.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(MutexGuard)
    }

    /// Returns a mutable reference to the value. This needs no lock, because `&mut self` proves that no guard exists.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A guard that gives access to the value of a [`Mutex`]. Dropping the guard unlocks the mutex.
#[must_use = "a guard that is dropped unlocks the mutex at once"]
pub struct MutexGuard<'a, T: ?Sized>(inner::MutexGuard<'a, T>);

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}
