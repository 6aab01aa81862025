//! Stops calls to a service that keeps failing. [`CircuitBreaker`] is one breaker. [`KeyedCircuitBreaker`] keeps one breaker
//! per key.

mod builder;
mod classify;
mod closed;
mod keyed;
mod machine;
mod peers;
mod permit;
mod shared;
mod state;
mod window;

pub use builder::{CircuitBreakerBuilder, Window};
pub use classify::{Classify, DefaultClassifier, by_outcome};
pub use keyed::{KeyedCircuitBreaker, KeyedCircuitBreakerBuilder, KeyedCircuitBreakerStats};
pub use peers::{Announcement, BreakerHandle, Followed, SharedState};
pub use permit::Permit;
pub use state::{BreakerOpen, CircuitBreakerStats, State, Transition};

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use crate::panics::catching;
use crate::{ConfigError, Error, Outcome, Refused};
use machine::Admission;
use shared::Shared;

/// Stops calls to a service that keeps failing, and detects when the service works again.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Clock, Context};
/// use ripcord_policy::{CircuitBreaker, breaker::State};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (clock, time) = Clock::manual();
/// let breaker = CircuitBreaker::builder("users")
///     .consecutive_failures(2)
///     .open_for(Duration::from_secs(5))
///     .clock(clock)
///     .build()?;
///
/// let ctx = Context::background();
/// for _ in 0..2 {
///     let _ = breaker.run(&ctx, |_ctx| async { Err::<(), _>("down") }).await;
/// }
/// let refused = breaker.run(&ctx, |_ctx| async { Ok::<_, &str>("never called") }).await.unwrap_err();
/// assert_eq!(refused.to_string(), "circuit breaker 'users' is OPEN");
/// assert_eq!(refused.retry_after(), Some(Duration::from_secs(5)));
///
/// time.advance(Duration::from_secs(5));
/// assert_eq!(breaker.state(), State::HalfOpen);
/// # Ok(())
/// # }
/// ```
///
/// # States
///
/// * *Closed*: the breaker admits all calls and counts their results. When enough calls have failed, the breaker opens.
/// * *Open*: the breaker refuses all calls for the time [`open_for`](CircuitBreakerBuilder::open_for). After this time, the
///   breaker is half-open.
/// * *Half-open*: the breaker admits a few calls, which are called probes, to find out whether the service works again. At most
///   [`half_open_calls`](CircuitBreakerBuilder::half_open_calls) probes are in flight at a time. The breaker refuses further
///   calls. After [`half_open_successes`](CircuitBreakerBuilder::half_open_successes) successful probes the breaker closes. When
///   a probe fails, is [slow](CircuitBreakerBuilder::slow_call) or does not return within
///   [`half_open_timeout`](CircuitBreakerBuilder::half_open_timeout), the breaker opens again.
///
/// See [`CircuitBreakerBuilder`] for the rules by which the breaker opens, and for the defaults.
///
/// # What counts as a failure
///
/// * An error of the call. By default every error is a failure, even an error that a healthy service returns, such as "no such
///   user". To judge errors differently, set a classifier with [`classify`](CircuitBreakerBuilder::classify).
/// * A panic of the call.
///
/// If the context passed to `run` has been canceled or its deadline has passed, an error of the call is
/// [neutral](Outcome::Neutral), and the classifier is not called. A neutral result says nothing about the service, so it
/// neither opens nor closes the breaker. A dropped call is neutral too.
///
/// If the breaker changes its state during a call, it ignores the result of this call. The result then counts only in the
/// [`stats`](CircuitBreaker::stats).
///
/// # Time
///
/// The breaker measures time by the clock that is set with [`CircuitBreakerBuilder::clock`]. Default: the system's clock.
///
/// # Methods
///
/// Create a breaker with [`builder`](CircuitBreaker::builder) or [`new`](CircuitBreaker::new). Make calls with
/// [`run`](CircuitBreaker::run). If the call cannot be a closure, use [`try_acquire`](CircuitBreaker::try_acquire). Read the
/// state with [`state`](CircuitBreaker::state) and the statistics with [`stats`](CircuitBreaker::stats).
///
/// `C` is the type of the classifier. Clones share all state. For one breaker per host, see [`KeyedCircuitBreaker`].
#[derive(Clone)]
pub struct CircuitBreaker<C = DefaultClassifier> {
    shared: Arc<Shared>,
    classify: C,
}

impl CircuitBreaker {
    /// Creates a builder. `name` is the name of the breaker, for example the name of the called service. Errors show this name.
    ///
    /// The long text (`{:#}`) of an error of the breaker also shows the line that called `builder`.
    #[track_caller]
    pub fn builder(name: impl Into<Cow<'static, str>>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(name.into())
    }

    /// Creates a breaker with the given `name`. The breaker opens after `threshold` failures in a row and stays open for
    /// `reset`.
    ///
    /// After the time `reset` the breaker is half-open, and closes after two successful probes. A breaker from
    /// [`builder`](Self::builder) closes after one successful probe by default. Errors show the name, and in their long text
    /// (`{:#}`) the line that called `new`. Tutorials on Go's `context` call this function `NewCircuitBreaker`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `threshold` or `reset` is zero. The error shows `threshold` as
    /// [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) and `reset` as
    /// [`open_for`](CircuitBreakerBuilder::open_for), which are the names of the builder's methods.
    #[track_caller]
    #[doc(alias("NewCircuitBreaker"))]
    pub fn new(name: impl Into<Cow<'static, str>>, threshold: u32, reset: Duration) -> Result<Self, ConfigError> {
        like_go(name.into(), threshold, reset).build()
    }
}

impl<C> CircuitBreaker<C> {
    /// Makes a call if the breaker admits it, and records the result. `call` gets a clone of `ctx`.
    ///
    /// The [classifier](CircuitBreakerBuilder::classify) of the breaker judges the result. If `ctx` ends during the call, the
    /// breaker does not drop the call. The call must observe its context. If the call succeeds, its value is returned even if
    /// `ctx` has ended meanwhile.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * The breaker refused the call ([`Error::is_breaker_open`]): it is open, or it is half-open and all its probes are in
    ///   flight. See [States](CircuitBreaker#states).
    /// * `ctx` was canceled or its deadline passed before the call, or during a call that failed ([`Error::context_error`]).
    ///   The call's error, if any, is the source.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call. The call then counts as canceled, not as a failure. If the call was a probe, another
    /// probe may start.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps a second copy of its arguments, see `bench`, row P2"
    )]
    pub fn run<T, E, F, Fut>(&self, ctx: &Context, call: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        C: Classify<T, E>,
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        async move {
            let mut permit = Permit::new(&self.shared, self.admit(ctx)?);
            match catching(|| call(ctx.clone())).await {
                Ok(result) => {
                    permit.end(self.judge_under(ctx, &result));
                    result.map_err(|error| Error::new(error).under(ctx))
                }
                Err(panic) => {
                    permit.end(Outcome::Failure);
                    resume_unwind(panic)
                }
            }
        }
    }

    /// Makes a call. `call` gets a clone of `ctx`. This method is another name of [`run`](Self::run). Tutorials on Go's
    /// `context` call it `Execute`.
    ///
    /// # Errors
    ///
    /// * The call's own error.
    /// * The breaker refused the call ([`Error::is_breaker_open`]).
    /// * `ctx` was canceled or its deadline passed before the call, or during a call that failed ([`Error::context_error`]).
    ///   The call's error, if any, is the source.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call. The call then counts as canceled, not as a failure.
    #[doc(alias("Execute"))]
    pub async fn call<T, E, F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        C: Classify<T, E>,
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run(ctx, call).await
    }

    /// Acquires permission to make one call. Never waits. Use this method instead of [`run`](Self::run) if the call cannot
    /// be a closure.
    ///
    /// Make the call, and report its result with [`Permit::success`], [`Permit::failure`] or [`Permit::record`]. A permit that
    /// is dropped without a report counts as a canceled call, not as a failure. The breaker's classifier is not used.
    ///
    /// # Errors
    ///
    /// [`BreakerOpen`] if the breaker is open, or is half-open and all its probes are in flight. See
    /// [States](CircuitBreaker#states).
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
    pub fn try_acquire(&self) -> Result<Permit<'_>, BreakerOpen> {
        Ok(Permit::new(&self.shared, permit::admit(&self.shared, false)?))
    }

    /// Acquires permission for a call that waits in a queue before it is sent. The caller must call
    /// [`restart_clock`](Permit::restart_clock) when it sends the call: the timeout of a probe starts then.
    pub(crate) fn try_acquire_to_queue(&self) -> Result<Permit<'_>, BreakerOpen> {
        Ok(Permit::new(&self.shared, permit::admit(&self.shared, true)?))
    }

    /// Returns the current state. An open breaker becomes half-open after the time
    /// [`open_for`](CircuitBreakerBuilder::open_for), unless [`force_open`](CircuitBreaker::force_open) opened it.
    /// Tutorials on Go's `context` call this method `GetState`.
    #[doc(alias("GetState"))]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Returns the time until an open breaker becomes [half-open](CircuitBreaker#states). Returns `None` if the breaker is
    /// closed or half-open.
    ///
    /// After [`force_open`](CircuitBreaker::force_open), returns the setting [`open_for`](CircuitBreakerBuilder::open_for).
    pub fn remaining_delay(&self) -> Option<Duration> {
        self.shared.remaining_delay()
    }

    /// Opens the breaker until [`reset`](CircuitBreaker::reset) is called. Until then, the breaker refuses all calls. The long
    /// text (`{:#}`) of their errors shows the line that called `force_open`.
    #[track_caller]
    pub fn force_open(&self) {
        self.shared.force_open(Location::caller());
    }

    /// Closes the breaker and forgets the results of earlier calls. The results of the calls that are in flight at this moment
    /// will be ignored.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Returns the name of the breaker. The errors of the breaker show this name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the statistics of this breaker and its clones.
    pub fn stats(&self) -> CircuitBreakerStats {
        self.shared.stats()
    }

    /// Returns a handle of this breaker without its classifier.
    pub(crate) fn handle(&self) -> CircuitBreaker {
        CircuitBreaker { shared: Arc::clone(&self.shared), classify: DefaultClassifier }
    }

    /// Returns the classifier, for a stack.
    pub(crate) fn into_classifier(self) -> C {
        self.classify
    }

    /// Admits a call, or refuses it. The large result of a refusal is created in a function of its own, because space for it would
    /// cost each healthy call a third of its time.
    #[inline]
    fn admit(&self, ctx: &Context) -> Result<Admission, Refused> {
        match self.shared.closed_generation() {
            Some(generation) if !ctx.is_done() => Ok(permit::admit_to_closed(&self.shared, generation)),
            _ => self.admit_or_refuse(ctx),
        }
    }

    #[cold]
    fn admit_or_refuse(&self, ctx: &Context) -> Result<Admission, Refused> {
        if let Err(end) = ctx.check() {
            return Err(self.shared.refused(end));
        }
        Ok(permit::admit(&self.shared, false)?)
    }

    fn judge_under<T, E>(&self, ctx: &Context, result: &Result<T, E>) -> Outcome
    where
        C: Classify<T, E>,
    {
        if result.is_err() && ctx.err().is_some() { Outcome::Neutral } else { self.classify.classify(result) }
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

/// Returns the settings of [`CircuitBreaker::new`].
#[track_caller]
fn like_go(name: Cow<'static, str>, threshold: u32, reset: Duration) -> CircuitBreakerBuilder {
    CircuitBreaker::builder(name).consecutive_failures(threshold).open_for(reset).half_open_successes(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constructor_of_go_opens_after_the_threshold_and_closes_after_two_probes() {
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
