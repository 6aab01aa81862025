//! A bulkhead: a limit on the calls in flight, with a queue in front. See [`Bulkhead`].

mod adaptive;
mod controller;
mod permit;

pub use adaptive::AdaptiveLimit;
pub use permit::{BulkheadPermit, BulkheadStats};

use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::Arc;

use ripcord::{Clock, Context};

use crate::config::at_least_one_usize;
use crate::panics::catching;
use crate::semaphore::Semaphore;
use crate::stats::Call;
use crate::{ConfigError, Error, Outcome, Refused};
use controller::Controller;
use permit::{Limit, Shared, Waiter};

/// Limits the calls in flight. Further calls wait in a queue, in the order of their arrival, or are refused.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::Bulkhead;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bulkhead = Bulkhead::builder().limit(10).queue(20).build()?;
/// let ctx = Context::background();
///
/// let answer = bulkhead.run(&ctx, |_ctx| async { Ok::<_, std::io::Error>(42) }).await?;
/// assert_eq!(answer, 42);
///
/// let permit = bulkhead.try_acquire()?;   // or by hand
/// assert_eq!(bulkhead.stats().calls.in_flight(), 1);
/// drop(permit);
/// assert_eq!(bulkhead.stats().calls.in_flight(), 0);
/// # Ok(())
/// # }
/// ```
///
/// A bulkhead protects the callee from too many calls at once, and its callers from a slow callee: no more of them wait for it
/// than the limit and the queue allow. The limit is fixed, or follows the measured latency: see [`AdaptiveLimit`].
///
/// A bulkhead that is full refuses calls with an error for which [`Refused::is_full`] is true. A waiter leaves the queue when its
/// context ends.
///
/// Clones share all state.
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

/// Builds a [`Bulkhead`]. The [`limit`](Self::limit) is required; by default there is no queue.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BulkheadBuilder {
    limit: Option<usize>,
    queue: usize,
    adaptive: Option<AdaptiveLimit>,
    /// The system's, unless this is set.
    clock: Option<Clock>,
}

impl Bulkhead {
    /// Creates a builder. The [`limit`](BulkheadBuilder::limit) is required.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder { limit: None, queue: 0, adaptive: None, clock: None }
    }

    /// Waits for a permit, then makes a call with it.
    ///
    /// The call is not dropped when `ctx` ends: it gets the context and ends itself. Its error counts as the callee's failure,
    /// unless `ctx` has ended. Around a call that goes through other policies, use a [`Stack`](crate::Stack), or a permit, and
    /// [`record`](BulkheadPermit::record) what [`Error::outcome`] returns.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * A rejection at once, if all permits are in use and the queue is full ([`Error::is_full`]).
    /// * The end of `ctx`, if that has ended before, while waiting, or during the call, with the call's error as its source.
    ///
    /// # Panics
    ///
    /// Passes on the panic of the call, which counts as its failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call and returns its permit.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let permit = self.acquire(ctx).await?;
        match catching(|| call(ctx.clone())).await {
            Ok(result) => {
                let result = result.map_err(|error| Error::new(error).under(ctx));
                permit.record(Outcome::new(&result, Error::outcome));
                result
            }
            Err(panic) => {
                permit.record(Outcome::Failure);
                resume_unwind(panic)
            }
        }
    }

    /// Waits for a permit, until `ctx` ends.
    ///
    /// # Errors
    ///
    /// * All permits are in use and the queue is full ([`Refused::is_full`]): at once.
    /// * `ctx` ended first, or had ended before. A permit that becomes free at the same poll wins, unless `ctx` had ended before
    ///   the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the queue.
    pub async fn acquire(&self, ctx: &Context) -> Result<BulkheadPermit, Refused> {
        if let Err(error) = ctx.check() {
            self.shared.tally.count(Call::Rejected);
            return Err(error.into());
        }
        let full = match self.try_enter() {
            Ok(permit) => return Ok(permit),
            Err(full) => full,
        };
        let Some(waiter) = Waiter::enter(&self.shared) else {
            self.shared.tally.count(Call::Rejected);
            return Err(full);
        };
        // Dropped here by an end of any kind, the waiter counts the call as rejected.
        match ctx.run(self.shared.permits.acquire()).await? {
            Ok(permit) => Ok(waiter.admitted(permit)),
            Err(_) => Err(full),
        }
    }

    /// Takes a permit if one is free and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`Refused::is_full`] if no permit is free.
    ///
    /// # Examples
    ///
    /// ```
    /// use ripcord_policy::Bulkhead;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let bulkhead = Bulkhead::builder().limit(1).build()?;
    /// let permit = bulkhead.try_acquire()?;
    /// assert!(bulkhead.try_acquire().is_err());
    /// drop(permit);   // free again
    /// assert!(bulkhead.try_acquire().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_acquire(&self) -> Result<BulkheadPermit, Refused> {
        self.try_enter().inspect_err(|_| self.shared.tally.count(Call::Rejected))
    }

    /// Returns the statistics of this bulkhead and its clones.
    pub fn stats(&self) -> BulkheadStats {
        self.shared.stats()
    }

    fn try_enter(&self) -> Result<BulkheadPermit, Refused> {
        match self.shared.permits.try_acquire() {
            Ok(permit) => Ok(BulkheadPermit::new(&self.shared, permit)),
            Err(_) => Err(Refused::bulkhead_full(self.shared.limit())),
        }
    }
}

impl BulkheadBuilder {
    /// Sets how many calls may be in flight at once; at least 1. Required. With an [adaptive](Self::adaptive) limit, this is the
    /// limit after the first measurement.
    pub fn limit(mut self, calls: usize) -> Self {
        self.limit = Some(calls);
        self
    }

    /// Sets how many calls may wait for a permit. With 0, the default, a call that finds no free permit is refused at once.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// Lets the limit follow the measured latency.
    pub fn adaptive(mut self, adaptive: AdaptiveLimit) -> Self {
        self.adaptive = Some(adaptive);
        self
    }

    /// Sets the clock that an adaptive limit measures by; the system's if not set. The contexts of calls have clocks of their own:
    /// a test sets both.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The builder with `clock`, unless it has one.
    pub(crate) fn default_clock(mut self, clock: &Clock) -> Self {
        self.clock.get_or_insert_with(|| clock.clone());
        self
    }

    /// Builds the bulkhead.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a limit of 0, none, or more than can be counted; and for settings of an adaptive limit out of
    /// bounds, `limit` outside of its `min_limit` and `max_limit` among them.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let limit = self.limit.ok_or_else(|| ConfigError::new("limit", "at least 1", "nothing"))?;
        at_least_one_usize("limit", limit)?;
        if limit > Semaphore::MAX_PERMITS {
            return Err(ConfigError::new("limit", format!("at most {}", Semaphore::MAX_PERMITS), limit));
        }
        let limit = match self.adaptive {
            None => Limit::Fixed(limit),
            Some(adaptive) => {
                adaptive.check(limit)?;
                Limit::Adaptive(Controller::new(adaptive, limit, self.clock.unwrap_or_else(Clock::system)))
            }
        };
        Ok(Bulkhead { shared: Arc::new(Shared::new(limit, self.queue)) })
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead").field("limit", &self.shared.limit()).field("stats", &self.stats()).finish()
    }
}
