//! Retry with backoff, jitter, a shared budget, and an eye on the deadline.
//!
//! ```
//! use ripcord::Context;
//! use ripcord_policy::Retry;
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let retry = Retry::exponential().max_attempts(5).base(Duration::from_millis(1));
//! let ctx = Context::background().with_timeout(Duration::from_secs(5));
//!
//! let answer = retry
//!     .run(&ctx, |_ctx, attempt| async move { if attempt < 2 { Err("not yet") } else { Ok(42) } })
//!     .await;
//! assert_eq!(answer.unwrap(), 42);
//! assert_eq!(retry.stats().retries, 2);
//! # }
//! ```

mod backoff;
mod budget;
mod inspection;
mod progress;
mod settings;

pub use crate::error::Stop;
pub use backoff::Jitter;
pub use budget::{BudgetBuilder, RetryBudget, Spent};
pub use settings::RetryEvent;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use backoff::Backoff;
use progress::Progress;
use settings::Extras;

#[cfg(doc)]
use crate::Attempt;
use crate::Error;
use crate::stats::CallStats;
use crate::tally::Tally;

/// Runs a call again when it fails, with growing waits, for as long as that is of use.
///
/// The settings' methods take and return the retry, in any order; [`build`](Retry::build) checks them, and `run` does so
/// too: a retry with settings out of bounds attempts nothing and says so in a [`Stop::Config`]. Clones share their
/// random source and their [`stats`](Retry::stats). Making one allocates nothing unless it is given a hook or a budget, so it
/// may as well be made for a single call.
///
/// What it does not do is as important. It makes no attempt under a context that is done. It begins no wait that would
/// end at or past the deadline, but fails at once with the last error. It does not retry inside of an attempt of another
/// retry ([`Attempt`]), so that layers do not multiply; work that an attempt
/// begins for others is given [`Attempt::clear`]. And it drops no attempt half-way: an attempt is given
/// the context and ends itself, or is wrapped in [`Context::run`] to be dropped at the context's end.
///
/// Attempts are numbered from 0. Defaults are not a promise: 4 attempts, 100 ms doubling up to 2 s, no jitter. Many
/// clients of one service should have [`Jitter::Full`] and share a [`RetryBudget`].
///
/// See the [module](self) for an example.
#[doc(alias("RetryOptions"))]
pub struct Retry<E> {
    max_attempts: u32,
    backoff: Backoff,
    /// Apart, so that a retry that is made for a single call is small: what most have not.
    extras: Option<Box<Extras<E>>>,
    tally: Arc<Tally<3>>,
}

impl<E> Retry<E> {
    /// Waits that grow by a factor from retry to retry.
    #[inline]
    pub fn exponential() -> Self {
        Retry { max_attempts: 4, backoff: Backoff::default(), extras: None, tally: Arc::new(Tally::new()) }
    }

    /// The same wait before every retry.
    pub fn constant(delay: Duration) -> Self {
        Retry::exponential().base(delay).max_delay(delay).multiplier(1.0)
    }

    /// Attempts `call` until it succeeds or trying again is of no use.
    ///
    /// `call` is given the context and the attempt's number, from 0. A result is returned also when the context ended
    /// while it was produced.
    ///
    /// # Errors
    ///
    /// An [`Error`] with the last error, the attempts made and the reason it stopped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempt under way, or the wait; a budget's tokens taken for an attempt not yet begun
    /// are given back.
    #[doc(alias("RetryWithContext"))]
    pub fn run<'a, T, F, Fut>(&'a self, ctx: &'a Context, mut call: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: FnMut(Context, u32) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_over(ctx, move |ctx, number| {
            let attempt = call(ctx, number);
            async { attempt.await.map_err(Error::new) }
        })
    }

    /// [`run`](Retry::run) around a call whose errors are a policy's.
    pub(crate) fn run_over<'a, T, F, Fut>(
        &'a self,
        ctx: &'a Context,
        mut call: F,
    ) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: FnMut(Context, u32) -> Fut,
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        // Not an async function, which would keep its arguments beside what is made of them: nearly all of what a call
        // that succeeds costs is the moving of its future.
        let mut progress = Progress::new(self, ctx);
        async move {
            progress.begin()?;
            loop {
                let error = match progress.attempt(&mut call).await {
                    Ok(value) => {
                        progress.succeed();
                        return Ok(value);
                    }
                    Err(error) => error,
                };
                let pause = progress.pause(error)?;
                // Boxed, as nearly all need no retry.
                Box::pin(progress.sleep(pause)).await?;
            }
        }
    }

    /// [`Retry::run`] for threads: `call` returns its result, and waits block.
    ///
    /// # Errors
    ///
    /// As [`Retry::run`].
    pub fn run_blocking<T, F>(&self, ctx: &Context, mut call: F) -> Result<T, Error<E>>
    where
        F: FnMut(Context, u32) -> Result<T, E>,
    {
        let mut progress = Progress::new(self, ctx);
        progress.begin()?;
        loop {
            let error = match progress.attempt(&mut call) {
                Ok(value) => {
                    progress.succeed();
                    return Ok(value);
                }
                Err(error) => Error::new(error),
            };
            let pause = progress.pause(error)?;
            let slept = ctx.sleep_blocking(pause.delay);
            progress.resume(pause, slept)?;
        }
    }

    /// The budget retries are paid from, for a stack, which has its hedge share it.
    pub(crate) fn shared_budget(&self) -> Option<&Arc<RetryBudget>> {
        self.extras.as_ref()?.budget.as_ref()
    }

    /// The numbers so far, of this retry and its clones.
    pub fn stats(&self) -> RetryStats {
        let [retries, deadline_refused, budget_refused] = self.tally.read();
        RetryStats { calls: self.tally.calls(), retries, deadline_refused, budget_refused }
    }
}

/// The numbers of a [`Retry`]; see [`stats`](crate::stats) for the shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// Runs, and how they ended. A retry cannot judge an error whose type it does not know: `failed` counts all runs that
    /// gave up while their context lived.
    pub calls: CallStats,
    /// Attempts begun after the first of their run.
    pub retries: u64,
    /// Runs that gave up because the next wait would not have ended before the deadline.
    pub deadline_refused: u64,
    /// Runs that gave up because the budget was spent.
    pub budget_refused: u64,
}

impl<E> Clone for Retry<E> {
    fn clone(&self) -> Self {
        Retry {
            max_attempts: self.max_attempts,
            backoff: self.backoff.clone(),
            extras: self.extras.clone(),
            tally: Arc::clone(&self.tally),
        }
    }
}

impl<E> fmt::Debug for Retry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("budget", &self.shared_budget())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
