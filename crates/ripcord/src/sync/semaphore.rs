//! A weighted semaphore.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore as Inner};

use crate::context::Context;
use crate::error::Error;

/// A weighted semaphore: a number of permits, of which each piece of work acquires one or more. Go's `semaphore.Weighted`.
///
/// Waiters get permits in the order of their calls. A waiter for many permits is not overtaken by later waiters for few.
/// Clones share the permits.
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
    /// With a size of 0, every `acquire` waits for the end of its context. On 32-bit targets, at most 2²⁹ - 1 permits are created.
    pub fn new(size: u32) -> Self {
        let size = u32::try_from(Inner::MAX_PERMITS).map_or(size, |max| size.min(max));
        Semaphore { permits: Arc::new(Inner::new(usize::try_from(size).unwrap_or(Inner::MAX_PERMITS))), size }
    }

    /// Returns the number of permits that the semaphore was created with.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Returns the number of permits that nobody holds.
    pub fn available(&self) -> u32 {
        u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX)
    }

    /// Waits for `permits` permits, which the returned [`Permit`] gives back when it is dropped.
    ///
    /// A request for more permits than the [size](Self::size) waits for the end of its context and delays no other waiter, as in Go.
    ///
    /// # Errors
    ///
    /// The context's error, if the context ended first. If it is done at the call, no permit is acquired.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. It then holds no permits, and the next waiter moves up.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord::sync::Semaphore;
    ///
    /// let semaphore = Semaphore::new(2);
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// let _permit = semaphore.acquire(&ctx, 2).await?;
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

    /// Returns `permits` permits if they are available and nobody waits for permits. Otherwise returns `None`.
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

/// Permits of a [`Semaphore`]. Gives them back when dropped.
#[must_use = "a permit that is dropped is given back at once"]
#[doc(alias = "Release")]
pub struct Permit(OwnedSemaphorePermit);

impl Permit {
    /// Returns the number of permits that this value holds.
    pub fn permits(&self) -> u32 {
        u32::try_from(self.0.num_permits()).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.permits()).finish()
    }
}
