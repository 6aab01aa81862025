//! Repeats failed calls with backoff, jitter and a shared budget, within the caller's deadline. See [`Retry`].

mod backoff;
mod budget;
mod builder;
mod hints;
mod made;
mod progress;
mod retry_after;

pub use backoff::Jitter;
pub use budget::{BudgetReservation, RetryBudget, RetryBudgetBuilder};
pub use builder::{RetryBuilder, RetryEvent};
pub use retry_after::parse_retry_after;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use crate::Error;
use crate::error::StopDetails;
use crate::stats::CallStats;
use crate::tally::Tally;
use builder::Settings;
use progress::Progress;

/// Repeats a failed call until an attempt succeeds or the retry stops. Waits before each further attempt.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Attempt, Retry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let retry = Retry::builder().max_attempts(5).base(Duration::from_millis(1)).build()?;
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
///
/// let answer = retry
///     .run(&ctx, |ctx| async move { if Attempt::number(&ctx) < 2 { Err("not yet") } else { Ok(42) } })
///     .await;
/// assert_eq!(answer.unwrap(), 42);
/// assert_eq!(retry.stats().retries, 2);
/// # Ok(())
/// # }
/// ```
///
/// # Rules
///
/// * No attempt starts after the context passed to [`run`](Retry::run) has been canceled or its deadline has passed. If this
///   happens during a wait, the wait ends. The retry then returns the error of the context ([`Error::context_error`]).
/// * If the next wait would end at or after the deadline of the context, the retry does not wait. It fails at once, with
///   [`StopReason::Deadline`](crate::StopReason::Deadline).
/// * A retry stops after [`max_attempts`](RetryBuilder::max_attempts) attempts, after an error that
///   [`retry_if`](RetryBuilder::retry_if) rejects, or when its [`budget`](RetryBuilder::budget) has fewer tokens than the
///   next attempt costs: see [`StopReason`](crate::StopReason).
/// * A retry inside an attempt of another retry makes only one attempt, so that attempts do not multiply: see
///   [`Attempt`](crate::Attempt).
/// * If the context is canceled or its deadline passes during an attempt, the retry does not drop the attempt. The call must
///   observe the context that it gets, for example with [`Context::run`].
///
/// # Methods
///
/// Build a retry with [`builder`](Retry::builder) or [`constant`](Retry::constant). Make calls with [`run`](Retry::run) in
/// async code, or with [`run_blocking`](Retry::run_blocking) on a thread. If your code makes the attempts itself, ask
/// [`next_delay`](Retry::next_delay). Read the statistics with [`stats`](Retry::stats).
///
/// # Defaults
///
/// By default a retry makes at most 4 attempts. The first wait is 100 ms, and each further wait is twice as long, up to 2 s.
/// The waits are not randomized, and there is no budget. The defaults may change. If many clients call one service, use
/// [`Jitter::Full`] and share a [`RetryBudget`].
///
/// `E` is the error type of the call. Clones share their [`stats`](Retry::stats).
#[doc(alias("RetryOptions"))]
pub struct Retry<E> {
    shared: Arc<Shared<E>>,
    budget: Option<Arc<RetryBudget>>,
}

struct Shared<E> {
    settings: Settings<E>,
    tally: Tally<3>,
}

impl<E> Retry<E> {
    /// Creates a builder with the [defaults](Retry#defaults).
    pub fn builder() -> RetryBuilder<E> {
        RetryBuilder::new()
    }

    /// Creates a builder with the [defaults](Retry#defaults): each wait is twice as long as the wait before. This is another
    /// name of [`builder`](Retry::builder).
    pub fn exponential() -> RetryBuilder<E> {
        RetryBuilder::new()
    }

    /// Creates a builder with the [defaults](Retry#defaults), except that all waits have the length `delay`.
    pub fn constant(delay: Duration) -> RetryBuilder<E> {
        RetryBuilder::new().base(delay).max_delay(delay).multiplier(1.0)
    }

    fn new(settings: Settings<E>, budget: Option<Arc<RetryBudget>>) -> Self {
        Retry { shared: Arc::new(Shared { settings, tally: Tally::new() }), budget }
    }

    /// Returns the same retry, with the same statistics, that takes its tokens from `budget`.
    pub(crate) fn with_budget(&self, budget: Arc<RetryBudget>) -> Self {
        Retry { shared: Arc::clone(&self.shared), budget: Some(budget) }
    }

    /// Makes a call, and repeats it until an attempt succeeds or the retry stops. `call` runs once per attempt. Its argument is
    /// the context of the attempt, which is derived from `ctx`.
    ///
    /// [`Attempt::number`](crate::Attempt::number) returns the number of the attempt that a context belongs to. If `ctx` ends
    /// during a wait, the wait ends. If `ctx` ends during an attempt, the retry does not drop the attempt. The call must
    /// observe its context. If an attempt succeeds, its value is returned even if `ctx` has ended meanwhile.
    ///
    /// # Errors
    ///
    /// * All attempts that were made have failed. The error contains the [last error](Error::last) of the call, the [number of
    ///   attempts](Error::attempts), and the [reason](Error::stop_reason) why the retry stopped.
    /// * `ctx` was canceled or its deadline passed, before, between or during attempts ([`Error::context_error`]).
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call, or of a function or hook that is set in the builder. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the current attempt or ends the current wait. If the retry has taken tokens from the budget
    /// for an attempt that has not started, these tokens return to the budget.
    #[doc(alias("RetryWithContext"))]
    pub fn run<'a, T, F, Fut>(&'a self, ctx: &'a Context, call: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_over(ctx, call, Error::new)
    }

    /// Does the same as [`run`](Retry::run) for a call whose error becomes the error of a policy by `convert`.
    pub(crate) fn run_over<'a, T, X, F, Fut>(
        &'a self,
        ctx: &'a Context,
        mut call: F,
        convert: fn(X) -> Error<E>,
    ) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: FnMut(Context) -> Fut,
        Fut: Future<Output = Result<T, X>>,
    {
        let refused = |end| Error::stopped(0, StopDetails::Ended(end), None);
        self.shared.tally.call(ctx, refused, move || async move {
            let mut progress = Progress::new(self, ctx);
            loop {
                let error = match call(progress.next_attempt()).await {
                    Ok(value) => {
                        progress.succeed();
                        return Ok(value);
                    }
                    Err(error) => convert(error),
                };
                let pause = progress.pause(error)?;
                // Boxed, because most calls need no retry.
                Box::pin(progress.sleep(pause)).await?;
            }
        })
    }

    /// Makes a blocking call on the current thread, and repeats it like [`run`](Retry::run). `call` runs once per attempt.
    /// Its argument is the context of the attempt. The waits block the thread, so do not use this method in async code.
    ///
    /// If `ctx` ends during a wait, the wait ends. If `ctx` ends during an attempt, the attempt continues. The call must
    /// observe its context. If an attempt succeeds, its value is returned even if `ctx` has ended meanwhile.
    ///
    /// # Errors
    ///
    /// * All attempts that were made have failed. The error contains the [last error](Error::last) of the call, the [number of
    ///   attempts](Error::attempts), and the [reason](Error::stop_reason) why the retry stopped.
    /// * `ctx` was canceled or its deadline passed, before, between or during attempts ([`Error::context_error`]).
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call, or of a function or hook that is set in the builder. The panic counts as a failure.
    pub fn run_blocking<T, F>(&self, ctx: &Context, mut call: F) -> Result<T, Error<E>>
    where
        F: FnMut(Context) -> Result<T, E>,
    {
        ripcord::block_on(self.run(ctx, |ctx| std::future::ready(call(ctx))))
    }

    /// Returns the statistics of this retry and its clones.
    pub fn stats(&self) -> RetryStats {
        let [retries, deadline_refused, budget_refused] = self.shared.tally.read();
        RetryStats { calls: self.shared.tally.calls(), retries, deadline_refused, budget_refused }
    }

    pub(crate) fn budget(&self) -> Option<&Arc<RetryBudget>> {
        self.budget.as_ref()
    }
}

/// Statistics of a [`Retry`]. The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// The calls of [`run`](Retry::run) and [`run_blocking`](Retry::run_blocking) by result. A call counts once, even if it
    /// made several attempts.
    pub calls: CallStats,
    /// Second and later attempts that were started.
    pub retries: u64,
    /// Calls that failed because the next wait would not have ended before the deadline of the context.
    pub deadline_refused: u64,
    /// Calls that failed because the [budget](RetryBudget) had fewer tokens than the next attempt would have cost.
    pub budget_refused: u64,
}

impl<E> Clone for Retry<E> {
    fn clone(&self) -> Self {
        Retry { shared: Arc::clone(&self.shared), budget: self.budget.clone() }
    }
}

impl<E> fmt::Debug for Retry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("settings", &self.shared.settings)
            .field("budget", &self.budget)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
