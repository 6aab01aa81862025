//! A weighted semaphore.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore as Inner};

use crate::context::Context;
use crate::error::Error;

/// A weighted semaphore: it has a number of permits, and each operation acquires one or more of them. Go's
/// `semaphore.Weighted`.
///
/// Waiters get permits in the order of their first polls. A waiter for many permits delays later waiters, even if enough
/// permits for them are available. Clones share the permits.
///
/// ```
/// # futures::executor::block_on(async {
/// use ripcord::Context;
/// use ripcord::sync::Semaphore;
///
/// // At most 64 MiB of images in memory, counted in KiB.
/// let memory = Semaphore::new(64 * 1024);
/// let ctx = Context::background();
/// let permit = memory.acquire(&ctx, 512).await?;
/// // The image is decoded here.
/// drop(permit);
/// assert_eq!(memory.available(), memory.size());
/// # Ok::<(), ripcord::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[doc(alias = "Weighted")]
pub struct Semaphore {
    permits: Arc<Inner>,
    size: u32,
}

impl Semaphore {
    /// Creates a semaphore with `size` permits.
    ///
    /// With a size of 0, every [`acquire`](Self::acquire) of one or more permits waits until its context ends. On 32-bit targets, a
    /// size above 2²⁹ - 1 counts as 2²⁹ - 1.
    pub fn new(size: u32) -> Self {
        let size = u32::try_from(Inner::MAX_PERMITS).map_or(size, |max| size.min(max));
        Semaphore { permits: Arc::new(Inner::new(usize::try_from(size).unwrap_or(Inner::MAX_PERMITS))), size }
    }

    /// Returns the number of permits with which the semaphore was created.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Returns the number of permits that are available: no [`Permit`] holds them, and they are not reserved for a waiter.
    pub fn available(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }

    /// Waits until `permits` permits are available, or until `ctx` ends. Acquires the permits and returns a [`Permit`], which
    /// releases them when dropped.
    ///
    /// If `permits` is greater than the [size](Self::size), the call waits until `ctx` ends, and delays no other waiter. Go does
    /// the same.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first. If `ctx` has ended at the first poll, no permit is acquired.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time. Permits that were already assigned to it go to the next waiter.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(2);
    /// let _permit = semaphore.acquire(&Context::background(), 2).await?;
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// assert!(semaphore.acquire(&ctx, 1).await.unwrap_err().is_deadline_exceeded());
    /// # Ok::<(), ripcord::Error>(()) }).unwrap();
    /// ```
    #[doc(alias = "Acquire")]
    pub async fn acquire(&self, ctx: &Context, permits: u32) -> Result<Permit, Error> {
        if permits > self.size {
            return Err(ctx.done().await);
        }
        match ctx.run(Arc::clone(&self.permits).acquire_many_owned(permits)).await? {
            Ok(permit) => Ok(Permit(permit)),
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// Acquires `permits` permits if they are available and no other call waits for permits. Otherwise returns `None`. Never
    /// waits.
    #[doc(alias = "TryAcquire")]
    pub fn try_acquire(&self, permits: u32) -> Option<Permit> {
        Arc::clone(&self.permits).try_acquire_many_owned(permits).ok().map(Permit)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("size", &self.size).field("available", &self.available()).finish()
    }
}

/// The permits that one call has acquired from a [`Semaphore`]. Dropping the `Permit` releases them.
#[must_use = "a permit that is dropped is given back at once"]
#[doc(alias = "Release")]
pub struct Permit(OwnedSemaphorePermit);

impl Permit {
    /// Returns the number of permits that this `Permit` holds.
    pub fn permits(&self) -> u32 {
        u32::try_from(self.0.num_permits()).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.permits()).finish()
    }
}
