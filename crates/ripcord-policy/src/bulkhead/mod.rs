//! Limits the number of calls in flight. See [`Bulkhead`].

mod adaptive;
mod controller;
mod permit;

pub use adaptive::AdaptiveLimit;
pub use permit::{BulkheadPermit, BulkheadStats};

use std::fmt;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;

use ripcord::{Clock, Context};

use crate::config::at_least_one;
use crate::panics::catching;
use crate::semaphore::Semaphore;
use crate::stats::Call;
use crate::{ConfigError, Error, Outcome, Refused};
use controller::Controller;
use permit::{Limit, Shared, Waiter};

/// Limits the number of calls in flight. Further calls wait in a queue, in the order of their arrival. If the queue is full,
/// further calls are refused. By default there is no queue.
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
/// let permit = bulkhead.try_acquire()?;   // without a closure
/// assert_eq!(bulkhead.stats().calls.in_flight(), 1);
/// drop(permit);
/// assert_eq!(bulkhead.stats().calls.in_flight(), 0);
/// # Ok(())
/// # }
/// ```
///
/// A bulkhead protects the called service from too many calls at once. It also protects the callers from a slow service,
/// because it limits the number of callers that wait. The limit is fixed, or follows the measured latency: see
/// [`AdaptiveLimit`].
///
/// Each call in flight holds a permit. If all permits are in use and the queue is full, the bulkhead refuses calls: see
/// [`Error::is_full`] and [`Refused::is_full`]. A waiting call leaves the queue when its context is canceled or the deadline of
/// its context passes.
///
/// # Methods
///
/// Build a bulkhead with [`builder`](Bulkhead::builder). Make calls with [`run`](Bulkhead::run). To hold a permit without a
/// closure, use [`acquire`](Bulkhead::acquire) or [`try_acquire`](Bulkhead::try_acquire). Read the statistics with
/// [`stats`](Bulkhead::stats).
///
/// Clones share all state.
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

/// Builds a [`Bulkhead`]. Create the builder with [`Bulkhead::builder`]. The [`limit`](Self::limit) is required. By default
/// there is no queue, and the limit is fixed.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BulkheadBuilder {
    limit: Option<usize>,
    queue: usize,
    adaptive: Option<AdaptiveLimit>,
    /// The clock, or `None` for the system's clock.
    clock: Option<Clock>,
    /// The line that created the builder.
    built_at: &'static Location<'static>,
}

impl Bulkhead {
    /// Creates a builder. The [`limit`](BulkheadBuilder::limit) is required.
    ///
    /// If the bulkhead refuses a call, the long text (`{:#}`) of the error shows the line that called `builder`.
    #[track_caller]
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder { limit: None, queue: 0, adaptive: None, clock: None, built_at: Location::caller() }
    }

    /// Waits for a permit, then makes a call. `call` gets a clone of `ctx`. The permit is released when the call returns.
    ///
    /// If `ctx` ends during the wait, the call leaves the queue. If `ctx` ends during the call, the bulkhead does not drop the
    /// call. The call must observe its context. If the call succeeds, its value is returned even if `ctx` has ended meanwhile.
    /// An error of the call counts as a failure of the called service, unless `ctx` has ended.
    ///
    /// If the call itself goes through other policies, refusals by these policies count as failures of the service. To avoid
    /// this, use a [`Stack`](crate::Stack), or [`acquire`](Self::acquire) a permit and pass [`Error::outcome`] to
    /// [`BulkheadPermit::record`].
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * All permits are in use and the queue is full ([`Error::is_full`]). The method then fails at once.
    /// * `ctx` was canceled or its deadline passed before the call, during the wait, or during a call that failed
    ///   ([`Error::context_error`]). The call's error, if any, is the source.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call and releases its permit. If the call still waits for a permit, it leaves the queue.
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

    /// Waits for a permit. If `ctx` is canceled or its deadline passes, the wait ends with an error.
    ///
    /// # Errors
    ///
    /// * All permits are in use and the queue is full ([`Refused::is_full`]). The method then fails at once.
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Refused::context_error`]). If a permit becomes
    ///   free at the same moment, the method returns the permit instead, unless `ctx` had ended before the wait.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller leaves the queue.
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
        // If the waiter is dropped here for any reason, it counts the call as rejected.
        match ctx.run(self.shared.permits.acquire()).await? {
            Ok(permit) => Ok(waiter.admitted(permit)),
            Err(_) => Err(full),
        }
    }

    /// Acquires a permit if a permit is free and no other call waits for a permit. Never waits.
    ///
    /// # Errors
    ///
    /// No permit is free, or other calls wait for a permit ([`Refused::is_full`]).
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
            Err(_) => Err(Refused::bulkhead_full(self.shared.limit(), self.shared.built_at)),
        }
    }
}

impl BulkheadBuilder {
    /// Sets the maximum number of calls in flight: the number of permits. The number must be from 1 to 2^61 - 1. Required.
    ///
    /// If the limit is [adaptive](Self::adaptive), this is only the initial limit, which later rises and falls. It applies as soon
    /// as the bulkhead has measured the [unloaded latency](AdaptiveLimit#how-the-limit-changes) for the first time. Until then,
    /// the limit is [`AdaptiveLimit::min_limit`]. The initial limit must be at least this number and at most
    /// [`AdaptiveLimit::max_limit`].
    pub fn limit(mut self, calls: usize) -> Self {
        self.limit = Some(calls);
        self
    }

    /// Sets the maximum number of calls that wait for a permit. If the number is 0, calls never wait: a call is refused at once
    /// if no permit is free. Default: 0.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// Makes the limit adaptive: the bulkhead measures the latency of the calls, and raises or lowers the limit. See
    /// [`AdaptiveLimit`]. Default: the limit is fixed.
    pub fn adaptive(mut self, adaptive: AdaptiveLimit) -> Self {
        self.adaptive = Some(adaptive);
        self
    }

    /// Sets the clock that an adaptive limit uses to measure latencies. Default: the system's clock.
    ///
    /// A bulkhead with a fixed limit does not use this clock. The contexts of the calls have their own clocks. In a test, set
    /// the same manual clock for the bulkhead and for the contexts.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Sets the clock to `clock`, unless the builder already has a clock.
    pub(crate) fn default_clock(mut self, clock: &Clock) -> Self {
        self.clock.get_or_insert_with(|| clock.clone());
        self
    }

    /// Builds the bulkhead.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] in these cases:
    ///
    /// * The [`limit`](Self::limit) is not set, is 0, or is more than 2^61 - 1.
    /// * A setting of the [adaptive limit](Self::adaptive) is out of bounds.
    /// * The `limit` is below the [`min_limit`](AdaptiveLimit::min_limit) or above the [`max_limit`](AdaptiveLimit::max_limit) of
    ///   the adaptive limit.
    pub fn build(self) -> Result<Bulkhead, ConfigError> {
        let limit = self.limit.ok_or_else(|| ConfigError::new("limit", "at least 1", "nothing"))?;
        at_least_one("limit", limit)?;
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
        Ok(Bulkhead { shared: Arc::new(Shared::new(limit, self.queue, self.built_at)) })
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead").field("limit", &self.shared.limit()).field("stats", &self.stats()).finish()
    }
}
