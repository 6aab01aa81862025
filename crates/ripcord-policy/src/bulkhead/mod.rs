//! A bulkhead: a limit on calls under way at once, with a queue in front.
//!
//! What it protects is not only the callee: a slow dependency behind a bulkhead can hold up as many callers as there are
//! places, and no more.
//!
//! The limit is fixed, or it follows the latency measured under it: see [`AdaptiveLimit`].

mod adaptive;
mod controller;
mod permit;

pub use adaptive::AdaptiveLimit;
pub use permit::{BulkheadPermit, BulkheadStats};

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ripcord::Context;

use crate::caller::end_of;
use crate::config::at_least_one_usize;
use crate::places::Places;
use crate::stats::Call;
use crate::{ConfigError, Error, Outcome, Refused};
use controller::Controller;
use permit::{Limit, Shared, Waiting};

/// Admits a limited number of calls at once; some more may wait, in the order of asking. A clone is another handle.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::bulkhead::Bulkhead;
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
#[derive(Clone)]
pub struct Bulkhead {
    shared: Arc<Shared>,
}

/// Sets up a [`Bulkhead`]; from [`Bulkhead::builder`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct BulkheadBuilder {
    limit: Option<usize>,
    queue: usize,
    adaptive: Option<AdaptiveLimit>,
}

impl Bulkhead {
    /// Starts setting up a bulkhead.
    pub fn builder() -> BulkheadBuilder {
        BulkheadBuilder { limit: None, queue: 0, adaptive: None }
    }

    /// Waits for a place, as long as `ctx` lives.
    ///
    /// # Errors
    ///
    /// At once when the queue is full too, see [`Refused::is_full`]; the end of `ctx` when that comes first. A place
    /// that becomes free at the same moment wins, unless `ctx` had ended before the call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue.
    pub async fn acquire(&self, ctx: &Context) -> Result<BulkheadPermit, Refused> {
        self.enter(ctx).await
    }

    /// Takes a place if one is free and nobody waits for it.
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
    /// drop(permit);   // the place is free again
    /// assert!(bulkhead.try_acquire().is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_acquire(&self) -> Result<BulkheadPermit, Refused> {
        self.try_enter().inspect_err(|_| self.shared.tally.count(Call::Rejected))
    }

    /// Runs a call in a place of its own.
    ///
    /// The call is not dropped when `ctx` ends: it is lent the context and ends itself. Its error counts as the callee's failure,
    /// unless `ctx` has ended. Around a call that goes through other policies, whose refusals are nobody's failure, take a
    /// [`Stack`](crate::Stack), or a permit and [`record`](BulkheadPermit::record) what [`Error::outcome`] says.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); and the call's own error, or the end of `ctx` if that has ended meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call and gives its place back.
    pub async fn run<'a, T, E, F, Fut>(&self, ctx: &'a Context, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(&'a Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let permit = self.enter(ctx).await?;
        let result = call(ctx).await;
        let result = result.map_err(|error| Error::new(error).under(ctx));
        permit.record(Outcome::of(&result, Error::outcome));
        result
    }

    /// What the bulkhead has done and is doing.
    pub fn stats(&self) -> BulkheadStats {
        self.shared.stats()
    }

    /// [`acquire`](Self::acquire), for a stack.
    pub(crate) async fn enter(&self, ctx: &Context) -> Result<BulkheadPermit, Refused> {
        if let Some(error) = end_of(ctx) {
            self.shared.tally.count(Call::Rejected);
            return Err(error.into());
        }
        let full = match self.try_enter() {
            Ok(permit) => return Ok(permit),
            Err(full) => full,
        };
        let Some(waiting) = Waiting::begin(&self.shared) else {
            self.shared.tally.count(Call::Rejected);
            return Err(full);
        };
        // Dropped here by an end of any kind, `waiting` counts the call as refused.
        match ctx.run(self.shared.places.take()).await? {
            Ok(place) => Ok(waiting.admitted(place)),
            Err(_) => Err(full),
        }
    }

    fn try_enter(&self) -> Result<BulkheadPermit, Refused> {
        match self.shared.places.try_take() {
            Ok(place) => Ok(BulkheadPermit::new(&self.shared, place)),
            Err(_) => Err(Refused::bulkhead_full(self.shared.limit())),
        }
    }
}

impl BulkheadBuilder {
    /// How many calls may be under way at once. Required. For an [adaptive](Self::adaptive) limit, how many at first, once
    /// the unloaded latency has been measured.
    pub fn limit(mut self, calls: usize) -> Self {
        self.limit = Some(calls);
        self
    }

    /// How many calls may wait for a place. The default, 0, refuses at once what finds no free place.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// Has the limit follow what is measured.
    pub fn adaptive(mut self, adaptive: AdaptiveLimit) -> Self {
        self.adaptive = Some(adaptive);
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
        if limit > Places::MOST {
            return Err(ConfigError::new("limit", format!("at most {}", Places::MOST), limit));
        }
        let limit = match self.adaptive {
            None => Limit::Fixed(limit),
            Some(adaptive) => {
                adaptive.check(limit)?;
                Limit::Adaptive(Controller::new(adaptive, limit))
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
