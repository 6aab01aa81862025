//! A circuit breaker: stops calling what keeps failing, and finds out when it is well again.
//!
//! ```
//! use ripcord::{Clock, Context};
//! use ripcord_policy::{CircuitBreaker, breaker::State};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (clock, time) = Clock::manual();
//! let breaker = CircuitBreaker::builder("users")
//!     .consecutive_failures(2)
//!     .open_for(Duration::from_secs(5))
//!     .clock(clock)
//!     .build()?;
//!
//! let ctx = Context::background();
//! for _ in 0..2 {
//!     let _ = breaker.call(&ctx, |_ctx| async { Err::<(), _>("down") }).await;
//! }
//! let refused = breaker.call(&ctx, |_ctx| async { Ok::<_, &str>("never called") }).await.unwrap_err();
//! assert_eq!(refused.to_string(), "circuit breaker 'users' is OPEN");
//! assert_eq!(refused.retry_after(), Some(Duration::from_secs(5)));
//!
//! time.advance(Duration::from_secs(5));
//! assert_eq!(breaker.state(), State::HalfOpen);
//! # Ok(())
//! # }
//! ```

mod builder;
mod classify;
mod machine;
mod permit;
mod shared;
mod state;
mod window;

pub use builder::{BreakerBuilder, Window};
pub use classify::{AnyError, Classify, by_outcome};
pub use permit::Permit;
pub use state::{BreakerStats, Open, State, Transition};

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use crate::caller::end_of;
use crate::{ConfigError, Error, Outcome, Refused};
use machine::Pass;
use shared::Shared;

/// Lets calls through while the callee is healthy, and refuses them for a time when it is not.
///
/// *Closed*, it counts. When enough calls have failed it *opens*: calls are refused at once for `open_for`. Then it is
/// *half-open*: it admits at most `half_open_calls` probes at a time, closes after `half_open_successes` of them, and
/// opens again on the first failure or on a probe that does not answer within `half_open_timeout`.
///
/// # What counts
///
/// `C` judges results; without one, an error is a failure. An error under a context that is done is neutral whatever `C`
/// says: the caller's end is not the callee's fault, and does not make a probe a success either. So is a dropped call.
/// A result from before the last change of state is counted in [`stats`](CircuitBreaker::stats) and ignored otherwise.
///
/// # Time
///
/// It reads the clock it was built with, the system's by default. Clones share all state.
///
/// See the [module](self) for an example.
#[derive(Clone)]
pub struct CircuitBreaker<C = AnyError> {
    shared: Arc<Shared>,
    classify: C,
}

impl CircuitBreaker {
    /// Settings for a breaker; the name shows in its errors.
    pub fn builder(name: impl Into<Arc<str>>) -> BreakerBuilder {
        BreakerBuilder::new(name.into())
    }

    /// A Go program's `NewCircuitBreaker`: opens after `threshold` failures in a row, for `reset`, and closes after two
    /// successful probes.
    ///
    /// # Errors
    ///
    /// Names `consecutive_failures` or `open_for` if it is zero.
    #[doc(alias("NewCircuitBreaker"))]
    pub fn new(name: impl Into<Arc<str>>, threshold: u32, reset: Duration) -> Result<Self, ConfigError> {
        like_go(name.into(), threshold, reset).build()
    }
}

impl<C> CircuitBreaker<C> {
    /// Calls `f` if calls are let through, and learns from its result. A Go program's `Execute`.
    ///
    /// `f` is lent the context, and is not called if that is done.
    ///
    /// # Errors
    ///
    /// The call's own error; a rejection if the breaker is open; the end of `ctx` if that has ended before or meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call; that is neutral, and gives a probe's place back.
    #[doc(alias("Execute"))]
    pub async fn call<'a, T, E, F, Fut>(&self, ctx: &'a Context, f: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: FnOnce(&'a Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut permit = Permit::new(&self.shared, self.admit(ctx)?);
        let result = f(ctx).await;
        permit.end(self.judge_under(ctx, &result));
        result.map_err(|error| Error::new(error).under(ctx))
    }

    /// [`CircuitBreaker::call`] for threads.
    ///
    /// # Errors
    ///
    /// As `call`.
    pub fn call_blocking<T, E, F>(&self, ctx: &Context, f: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: FnOnce(&Context) -> Result<T, E>,
    {
        let mut permit = Permit::new(&self.shared, self.admit(ctx)?);
        let result = f(ctx);
        permit.end(self.judge_under(ctx, &result));
        result.map_err(|error| Error::new(error).under(ctx))
    }

    /// Asks to make a call; what became of it is told to the permit. A permit that is dropped is neutral.
    ///
    /// # Errors
    ///
    /// [`Open`] if calls are refused now.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord_policy::{CircuitBreaker, Outcome, breaker::State};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = CircuitBreaker::new("users", 1, Duration::from_secs(30))?;
    /// let permit = breaker.try_acquire()?;
    /// permit.record(Outcome::Failure);
    /// assert_eq!(breaker.state(), State::Open);
    /// assert!(breaker.try_acquire().is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, Open> {
        Ok(Permit::new(&self.shared, self.shared.acquire(false)?))
    }

    /// [`CircuitBreaker::try_acquire`] for a call that queues before it is sent, and for which
    /// [`restart_clock`](Permit::restart_clock) is called when it is. A probe's time does not run until then.
    pub(crate) fn try_acquire_to_queue(&self) -> Result<Permit<'_>, Open> {
        Ok(Permit::new(&self.shared, self.shared.acquire(true)?))
    }

    /// The state at this moment: open past its time reads half-open. A Go program's `GetState`.
    #[doc(alias("GetState"))]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// How long it stays open; none if it is not.
    pub fn remaining_delay(&self) -> Option<Duration> {
        self.shared.remaining_delay()
    }

    /// Refuses all calls until [`reset`](CircuitBreaker::reset), whatever the time.
    pub fn force_open(&self) {
        self.shared.force_open();
    }

    /// Closes it, with nothing counted yet. Results of calls under way are ignored.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// The name it was built with.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The numbers so far.
    pub fn stats(&self) -> BreakerStats {
        self.shared.stats()
    }

    /// What `result` says about the callee, for a stack, which keeps the permit itself.
    pub(crate) fn verdict<T, E>(&self, result: &Result<T, E>) -> Outcome
    where
        C: Classify<T, E>,
    {
        self.classify.classify(result)
    }

    #[inline]
    fn admit(&self, ctx: &Context) -> Result<Pass, Refused> {
        if let Some(end) = end_of(ctx) {
            return Err(self.shared.refused(end).into());
        }
        self.shared.acquire(false).map_err(Refused::from)
    }

    #[inline]
    fn judge_under<T, E>(&self, ctx: &Context, result: &Result<T, E>) -> Outcome
    where
        C: Classify<T, E>,
    {
        if result.is_err() && ctx.is_done() { Outcome::Neutral } else { self.verdict(result) }
    }
}

impl<C> fmt::Debug for CircuitBreaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.shared.name)
            .field("state", &self.state())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The settings of [`CircuitBreaker::new`].
fn like_go(name: Arc<str>, threshold: u32, reset: Duration) -> BreakerBuilder {
    CircuitBreaker::builder(name).consecutive_failures(threshold).open_for(reset).half_open_successes(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constructor_of_go_opens_after_the_threshold_and_closes_after_two_probes() {
        let (clock, time) = ripcord::Clock::manual();
        let breaker = like_go("test".into(), 3, Duration::from_secs(2)).clock(clock).build().expect("within bounds");
        let end = |outcome| breaker.try_acquire().expect("let through").record(outcome);
        for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Failure] {
            end(outcome);
            assert_eq!(breaker.state(), State::Closed);
        }
        end(Outcome::Failure);
        assert_eq!(breaker.remaining_delay(), Some(Duration::from_secs(2)));
        time.advance(Duration::from_secs(2));
        end(Outcome::Success);
        assert_eq!(breaker.state(), State::HalfOpen);
        end(Outcome::Success);
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(CircuitBreaker::new("test", 3, Duration::ZERO).map(drop).unwrap_err().field(), "open_for");
    }
}
