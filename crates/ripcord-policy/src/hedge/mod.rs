//! Sends another attempt when the first attempt is slow, and returns the first success. See [`Hedge`].

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

/// Sends another attempt of a slow call, and returns the value of the first attempt that succeeds. The other attempts are
/// canceled and dropped.
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
/// A hedge lowers the latency of the slowest calls, and increases the load on the called service. Choose a delay that few calls
/// exceed, such as the 95th percentile of their latencies. Share a [`RetryBudget`] with the retry of the same service. The
/// budget limits the additional load when all calls are slow.
///
/// A hedge is for slow calls. For calls that fail, use a [`Retry`](crate::Retry). If the first attempt fails before the delay
/// has passed, the call fails, and no other attempt is sent. If several attempts are in flight and one of them fails, the
/// others continue. If all attempts fail, the call returns the last error.
///
/// # Contexts
///
/// Each attempt has its own context, which is derived from the caller's context. When an attempt succeeds, the contexts of the
/// other attempts are canceled with the cause "another attempt of the same call won". The futures of these attempts are
/// dropped. The context of the successful attempt is not canceled, so that a response can be read after the call. When the
/// caller's context is canceled or its deadline passes, all attempts are canceled and dropped.
///
/// # Methods
///
/// Build a hedge with [`after`](Hedge::after) or [`builder`](Hedge::builder). Make calls with [`run`](Hedge::run). Read the
/// statistics with [`stats`](Hedge::stats).
///
/// Clones share their statistics.
#[derive(Clone)]
pub struct Hedge {
    delay: Duration,
    max_attempts: u32,
    budget: Option<Arc<RetryBudget>>,
    /// The clock, or `None` for the clock of the call's context.
    clock: Option<Clock>,
    /// Whether the retry of the same stack refunds the success of a first attempt.
    is_below_retry: bool,
    /// The line that set the delay. It is the origin of the cancels of the other attempts.
    location: &'static Location<'static>,
    tally: Arc<Tally<3>>,
}

/// Builds a [`Hedge`]. Create the builder with [`Hedge::builder`] or [`Hedge::after`]. The [`delay`](Self::delay) is
/// required. By default the hedge sends at most 2 attempts and has no budget.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct HedgeBuilder {
    delay: Option<Duration>,
    max_attempts: u32,
    budget: Option<Arc<RetryBudget>>,
    clock: Option<Clock>,
    location: &'static Location<'static>,
}

/// Statistics of a [`Hedge`]. The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeStats {
    /// The calls by result. A call counts once, even if it sent several attempts.
    pub calls: CallStats,
    /// Second and later attempts that were sent.
    pub hedges: u64,
    /// Calls that returned the value of their second or a later attempt.
    pub hedge_wins: u64,
    /// Attempts that were not sent because the [budget](HedgeBuilder::budget) had fewer tokens than an attempt costs.
    pub budget_refused: u64,
}

impl Hedge {
    /// Creates a builder. The [`delay`](HedgeBuilder::delay) is required.
    #[track_caller]
    pub fn builder() -> HedgeBuilder {
        HedgeBuilder { delay: None, max_attempts: 2, budget: None, clock: None, location: Location::caller() }
    }

    /// Creates a builder with the given delay. If the call has not ended after `delay`, the second attempt is sent. If
    /// [`max_attempts`](HedgeBuilder::max_attempts) allows more attempts, another attempt is sent after each further `delay`.
    #[track_caller]
    pub fn after(delay: Duration) -> HedgeBuilder {
        Hedge::builder().delay(delay)
    }

    /// Makes a call. If the call has not ended after the [`delay`](HedgeBuilder::delay), sends another attempt. Sends further
    /// attempts at the same interval, up to [`max_attempts`](HedgeBuilder::max_attempts). `call` runs once per attempt. Its
    /// argument is the context of the attempt, which is derived from `ctx`.
    ///
    /// [`Attempt::hedge_number`](crate::Attempt::hedge_number) returns the number of the attempt that a context belongs to.
    /// No further attempt is sent if the [`budget`](HedgeBuilder::budget) has fewer tokens than an attempt costs, or if `ctx`
    /// belongs to the second or a later attempt of another hedge.
    ///
    /// When an attempt succeeds, the other attempts are canceled and dropped. When `ctx` ends, all attempts are canceled and
    /// dropped.
    ///
    /// # Errors
    ///
    /// * All attempts that were sent have failed. This can be the first attempt alone, if it fails before the delay has
    ///   passed. The error is the error of the attempt that failed last.
    /// * `ctx` was canceled or its deadline passed before or during the call ([`Error::context_error`]). If an attempt succeeds
    ///   at the same moment, its value is returned instead, unless `ctx` had ended before the call.
    ///
    /// # Panics
    ///
    /// Passes on a panic of an attempt, and drops the other attempts. The panic counts as a failure of the call.
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

    /// Does the same as [`run`](Self::run) around other policies. An attempt refused by such a policy costs the budget nothing. Its
    /// error is not returned if another attempt failed with an error of the call.
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

    /// Returns the same hedge, with the same statistics, inside a retry that shares `budget`.
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
    /// Sets the time between two attempts. If the call has not ended when this time has passed, another attempt is sent. The
    /// delay must be longer than zero. Required.
    #[track_caller]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self.location = Location::caller();
        self
    }

    /// Sets the maximum number of attempts of a call, including the first. The number must be at least 1. With a maximum of
    /// 1, no second attempt is sent. Default: 2.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the budget from which second and later attempts take tokens. If the budget has fewer tokens than an attempt
    /// [costs](RetryBudget::cost), no further attempt is sent. Share the budget with the [`Retry`](crate::Retry) of the same
    /// service. Default: no budget.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sets the clock that measures the delay. Default: the clock of the context passed to [`Hedge::run`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Builds the hedge.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the delay is not set or is zero, or if the maximum number of attempts is 0.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        let delay = self.delay.ok_or_else(|| ConfigError::new("delay", "set", "nothing"))?;
        above_zero("delay", delay)?;
        at_least_one("max_attempts", self.max_attempts)?;
        let Self { max_attempts, budget, clock, location, .. } = self;
        Ok(Hedge { delay, max_attempts, budget, clock, is_below_retry: false, location, tally: Arc::new(Tally::new()) })
    }
}

/// The counters of a hedge besides its calls.
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
