//! A mutex.

use std::fmt;
use std::ops::{Deref, DerefMut};

use tokio::sync as inner;

use crate::context::Context;
use crate::error::Error;

/// A mutex whose guard may be held across an await.
///
/// Waiters get the lock in the order of their calls. A panic of a holder unlocks the mutex and does not poison it.
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

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock. The returned guard unlocks the mutex when it is dropped.
    ///
    /// A task that locks a mutex which it holds already waits for the end of its context.
    ///
    /// # Errors
    ///
    /// The context's error, if the context ended first. If it is done at the call, the mutex is not locked.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. It then does not hold the lock, and the next waiter moves up.
    pub async fn lock(&self, ctx: &Context) -> Result<MutexGuard<'_, T>, Error> {
        ctx.run(self.0.lock()).await.map(MutexGuard)
    }

    /// Locks the mutex if it is unlocked. Otherwise returns `None`.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok().map(MutexGuard)
    }

    /// Returns the value, without a lock: the exclusive reference shows that nobody holds it.
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

/// The lock of a [`Mutex`]. Unlocks when dropped.
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
