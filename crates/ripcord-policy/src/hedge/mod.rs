//! Hedging: a second attempt when the first takes long, and the first answer wins.
//!
//! It trades load for the tail of the latency, so the delay should be one that few calls exceed (a 95th percentile), and
//! a [`RetryBudget`], shared with the retry, should bound what it costs when all of them do.

mod race;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use crate::config::{above_zero, at_least_one};
use crate::retry::RetryBudget;
use crate::stats::CallStats;
use crate::tally::Tally;
use crate::{ConfigError, Error};
use race::Race;

/// Starts another attempt of a call that has not answered after a delay; the first success wins, the others are
/// canceled. A clone is another handle with the same statistics.
///
/// Hedging is against slowness, not failure: a call that fails before the delay has failed. Once attempts run side by
/// side, one that fails leaves the others running, and the last failure is the result.
///
/// Each attempt runs under a context of its own, below the caller's. A loser's context is canceled and its future
/// dropped. When the caller's context ends, so does the hedge, at once.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::hedge::Hedge;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hedge = Hedge::after(Duration::from_millis(5)).build()?;
/// let ctx = Context::background();
///
/// let answer = hedge
///     .run(&ctx, |ctx, attempt| async move {
///         if attempt == 0 {
///             ctx.sleep(Duration::from_secs(60)).await?;    // stuck
///         }
///         Ok::<_, ripcord::Error>(attempt)
///     })
///     .await?;
/// assert_eq!(answer, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hedge {
    delay: Duration,
    max_attempts: u32,
    budget: Option<Arc<RetryBudget>>,
    /// Whether the retry of the same stack brings back what a first attempt's success does.
    is_below_retry: bool,
    tally: Arc<Tally<3>>,
}

/// Sets up a [`Hedge`]; from [`Hedge::after`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct HedgeBuilder {
    delay: Duration,
    max_attempts: u32,
    budget: Option<Arc<RetryBudget>>,
}

/// Numbers of a [`Hedge`]; see [`stats`](crate::stats) for the shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgeStats {
    /// Calls, whatever the number of their attempts, and how they ended.
    pub calls: CallStats,
    /// Further attempts sent.
    pub hedges: u64,
    /// Calls won by one of those.
    pub hedge_wins: u64,
    /// Further attempts not sent, because the budget was spent.
    pub budget_refused: u64,
}

impl Hedge {
    /// A hedge that sends a second attempt after `delay`, and the next one, if more are allowed, after the same time again.
    pub fn after(delay: Duration) -> HedgeBuilder {
        HedgeBuilder { delay, max_attempts: 2, budget: None }
    }

    /// Makes the call, and further attempts of it if it is slow. Attempts are numbered from 0.
    ///
    /// No further attempt is sent past the deadline, when the budget is spent, or inside of a further attempt of another
    /// hedge.
    ///
    /// # Errors
    ///
    /// [`Error::Context`] when the caller's context ended first; an answer that is there at the same moment wins, unless
    /// the context had ended before the call. [`Error::Inner`]: every attempt sent has failed, this is the last one's error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels and drops all attempts.
    pub async fn run<T, E, F, Fut>(&self, ctx: &Context, mut call: F) -> Result<T, Error<E>>
    where
        F: FnMut(Context, u32) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_over(ctx, |ctx, number| {
            let attempt = call(ctx, number);
            async { attempt.await.map_err(Error::new) }
        })
        .await
    }

    /// [`run`](Self::run) around other policies. An attempt refused by one of them has cost the budget nothing, and its error
    /// is not the call's when another attempt has a real one.
    pub(crate) async fn run_over<T, E, F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: FnMut(Context, u32) -> Fut,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        Race::begin(self, ctx, call)?.await
    }

    /// The numbers so far.
    pub fn stats(&self) -> HedgeStats {
        let [hedges, hedge_wins, budget_refused] = self.tally.read();
        HedgeStats { calls: self.tally.calls(), hedges, hedge_wins, budget_refused }
    }

    /// The delay before a further attempt.
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
    /// Attempts in all, the first included. 2 unless set; 1 never hedges.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// The budget further attempts are paid from, shared with retries of the same callee.
    pub fn budget(mut self, budget: Arc<RetryBudget>) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Builds the hedge.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a delay of zero or no attempts.
    pub fn build(self) -> Result<Hedge, ConfigError> {
        above_zero("after", self.delay)?;
        at_least_one("max_attempts", self.max_attempts)?;
        let Self { delay, max_attempts, budget } = self;
        Ok(Hedge { delay, max_attempts, budget, is_below_retry: false, tally: Arc::new(Tally::new()) })
    }
}

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
