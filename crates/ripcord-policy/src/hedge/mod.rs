//! Hedging: another attempt when the first is slow, and the first answer wins. See [`Hedge`].

mod attempts;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Clock, Context};

use crate::config::{above_zero, at_least_one};
use crate::retry::RetryBudget;
use crate::stats::CallStats;
use crate::tally::Tally;
use crate::{ConfigError, Error};
use attempts::HedgedCall;

/// Sends a second attempt of a call that is slow. The first success wins, and the other attempts are canceled.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Attempt, Hedge};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hedge = Hedge::after(Duration::from_millis(5)).build()?;
/// let ctx = Context::background();
///
/// let winner = hedge
///     .run(&ctx, |ctx| async move {
///         if Attempt::hedge_number(&ctx) == 0 {
///             ctx.sleep(Duration::from_secs(60)).await?; // stuck
///         }
///         Ok::<_, ripcord::Error>(Attempt::hedge_number(&ctx))
///     })
///     .await?;
/// assert_eq!(winner, 1);
/// # Ok(())
/// # }
/// ```
///
/// # When to use it
///
/// Hedging trades load for tail latency. Choose a delay that few calls exceed, such as their 95th percentile. Share a
/// [`RetryBudget`] with the retry of the same service: it bounds the extra load when all calls are slow.
///
/// A hedge is for calls that are slow, not for calls that fail: if the first attempt fails before the delay, the call has
/// failed. Once several attempts are in flight, a failed attempt leaves the others running. If all fail, the call returns the
/// last failure.
///
/// # Contexts
///
/// Each attempt has a context of its own below the caller's. When an attempt wins, the contexts of the others are canceled, with
/// a cause that says so, and their futures are dropped. The winner's context lives on, so that a response can be read after the
/// call has returned. When the caller's context ends, all attempts end.
///
/// # Methods
///
/// Build a hedge with [`after`](Hedge::after) or [`builder`](Hedge::builder), make calls with [`run`](Hedge::run), and read
/// [`stats`](Hedge::stats).
///
/// Clones share their statistics.
#[derive(Clone)]
pub struct Hedge {
    delay: Duration,
    max_attempts: u32,
    budget: Option<Arc<RetryBudget>>,
    /// That of the call's context, unless this is set.
    clock: Option<Clock>,
    /// Whether the retry of the same stack refunds the success of a first attempt.
    is_below_retry: bool,
    /// Where the delay was set: what cancels the losers.
    location: &'static Location<'static>,
    tally: Arc<Tally<3>>,
}

/// Builds a [`Hedge`]. By default it sends at most 2 attempts, and has no budget.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct HedgeBuilder {
    delay: Option<Duration>,
    max_attempts: u32,
    budget: Option<Arc<RetryBudget>>,
    clock: Option<Clock>,
    location: &'static Location<'static>,
}

/// Statistics of a [`Hedge`]; see [`stats`](crate::stats) for the shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeStats {
    /// Calls, whatever the number of their attempts, and how they ended.
    pub calls: CallStats,
    /// Attempts sent after the first of their call.
    pub hedges: u64,
    /// Calls won by one of those.
    pub hedge_wins: u64,
    /// Attempts not sent because the budget was spent.
    pub budget_refused: u64,
}

impl Hedge {
    /// Creates a builder. The [`delay`](HedgeBuilder::delay) is required.
    #[track_caller]
    pub fn builder() -> HedgeBuilder {
        HedgeBuilder { delay: None, max_attempts: 2, budget: None, clock: None, location: Location::caller() }
    }

    /// Creates a builder with the delay set: another attempt is sent after `delay`, and the next one, if more are allowed, after
    /// the same time again.
    #[track_caller]
    pub fn after(delay: Duration) -> HedgeBuilder {
        Hedge::builder().delay(delay)
    }

    /// Makes the call, and further attempts of it while it is slow.
    ///
    /// Each attempt's context carries its number: see [`Attempt::hedge_number`](crate::Attempt::hedge_number). No further attempt
    /// is sent at or after the deadline, when the budget is spent, or inside the second or a later attempt of another hedge.
    ///
    /// # Errors
    ///
    /// The last attempt's error, once all attempts sent have failed; or the end of `ctx`. An answer that is ready at the same
    /// poll as that end wins, unless the context had ended before the call.
    ///
    /// # Panics
    ///
    /// Passes on the panic of an attempt, which counts as the call's failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels and drops all attempts.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, mut call: F) -> Result<T, Error<E>>
    where
        F: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_over(ctx, |ctx| {
            let attempt = call(ctx);
            async { attempt.await.map_err(Error::new) }
        })
        .await
    }

    /// [`run`](Self::run) around other policies. An attempt refused by one of them has cost the budget nothing, and its error
    /// is not the call's when another attempt has a real one.
    pub(crate) async fn run_over<T, E, F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        HedgedCall::start(self, ctx, call)?.await
    }

    /// Returns the statistics of this hedge and its clones.
    pub fn stats(&self) -> HedgeStats {
        let [hedges, hedge_wins, budget_refused] = self.tally.read();
        HedgeStats { calls: self.tally.calls(), hedges, hedge_wins, budget_refused }
    }

    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// The same hedge, statistics included, below a retry with the same `budget`.
    pub(crate) fn below_retry(self, budget: Arc<RetryBudget>) -> Self {
        Self { budget: Some(budget), is_below_retry: true, ..self }
    }

    pub(crate) fn budget(&self) -> Option<&Arc<RetryBudget>> {
        self.budget.as_ref()
    }

    fn count(&self, count: Count) {
        self.tally.bump(count as usize);
    }
}

impl HedgeBuilder {
    /// Sets how long an attempt may take before another is sent; longer than zero. Required.
    #[track_caller]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self.location = Location::caller();
        self
    }

    /// Sets the maximum number of attempts, including the first; 1 never hedges.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the budget that further attempts are paid from, shared with retries of the same callee.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the clock that the delay is measured by. By default it is that of the call's context.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the hedge.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a delay that is zero or not set, or no attempts.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        let delay = self.delay.ok_or_else(|| ConfigError::new("delay", "set", "nothing"))?;
        above_zero("delay", delay)?;
        at_least_one("max_attempts", self.max_attempts)?;
        let Self { max_attempts, budget, clock, location, .. } = self;
        Ok(Hedge { delay, max_attempts, budget, clock, is_below_retry: false, location, tally: Arc::new(Tally::new()) })
    }
}

/// What a hedge counts beside its calls.
#[derive(Debug, Clone, Copy)]
enum Count {
    Hedges,
    HedgeWins,
    BudgetRefused,
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("delay", &self.delay).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
