//! The decisions of a retry for a caller that makes the attempts itself.

use std::time::Duration;

use ripcord::Context;

use super::Retry;
use super::progress::Progress;
use crate::Error;

impl<E> Retry<E> {
    /// Decides whether another attempt follows a failed attempt, and returns the wait before it. This method is for a caller that
    /// makes the attempts itself. An example is a queue that keeps its jobs in a database and makes each attempt in another
    /// process.
    ///
    /// * `ctx` is the context of the whole call. If the call has a deadline, `ctx` must have it.
    /// * `attempts` is the number of attempts made so far, including the failed attempt. Zero counts as 1.
    /// * `previous` is the wait before the failed attempt, or zero for the first attempt. [`Jitter::Decorrelated`] uses it.
    /// * `error` is the error of the failed attempt: [`Error::new`] for an error of the call, [`Error::from_panic`] for a panic.
    ///
    /// The decision follows the same [rules](Retry#rules) as [`run`](Retry::run). If another attempt follows, the retry has taken
    /// the tokens of that attempt from the budget and has called the hook [`on_retry`](super::RetryBuilder::on_retry).
    /// Report the success of an attempt with [`record_success`](Retry::record_success).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord_policy::{Error, Retry};
    ///
    /// # fn main() -> Result<(), ripcord_policy::ConfigError> {
    /// let retry = Retry::builder().max_attempts(2).build()?;
    /// let ctx = Context::background();
    /// assert_eq!(retry.next_delay(&ctx, 1, Duration::ZERO, Error::new("no route")).unwrap(), Duration::from_millis(100));
    /// let error = retry.next_delay(&ctx, 2, Duration::from_millis(100), Error::new("no route")).unwrap_err();
    /// assert_eq!(error.to_string(), "all 2 attempts failed");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// No attempt follows. The error is the error that [`run`](Retry::run) returns in this case.
    ///
    /// [`Jitter::Decorrelated`]: super::Jitter::Decorrelated
    pub fn next_delay(
        &self,
        ctx: &Context,
        attempts: u32,
        previous: Duration,
        error: Error<E>,
    ) -> Result<Duration, Error<E>> {
        Progress::resume(self, ctx, attempts.max(1), previous).pause(error).map(|pause| pause.commit(self))
    }

    /// Records that an attempt has succeeded. Call this method if your code makes the attempts: see
    /// [`next_delay`](Retry::next_delay). `attempts` is the number of attempts made, including the successful attempt.
    ///
    /// If the retry has a [budget](super::RetryBudget), a successful first attempt returns
    /// [`success_refund`](super::RetryBudgetBuilder::success_refund) tokens, and a later attempt returns
    /// [`retry_cost`](super::RetryBudgetBuilder::retry_cost) tokens.
    pub fn record_success(&self, attempts: u32) {
        if let Some(budget) = &self.budget {
            match attempts {
                0 | 1 => budget.refund_success(),
                _ => budget.refund(budget.cost(false)),
            }
        }
    }
}
