//! The error of an operation that makes no call.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Context, Origin};

use super::neutral::answer;
use crate::Outcome;

/// The error of an operation that makes no call: the policy refused the operation, or a context ended.
///
/// Examples of such operations are waiting for a token of a [`RateLimiter`](crate::RateLimiter), submitting a job to a
/// [`WorkerPool`](crate::WorkerPool), reading a [`Cache`](crate::Cache), and acquiring a permit of a
/// [`Bulkhead`](crate::Bulkhead). A context *ends* when it is canceled or when its deadline passes. `?` converts this error to
/// an [`Error`](crate::Error).
///
/// `{}` prints one line without details. `{:#}` adds the origin. If a context ended, this is the cause, and the line of code that
/// canceled the context or set the deadline. If a policy refused the operation, this is the line of code that called
/// `X::builder()` or `X::new`, and the name of the policy, if it has one. If a cache or worker pool was closed, this is the reason,
/// and the line of code that closed it.
///
/// ```
/// use ripcord_policy::Bulkhead;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let bulkhead = Bulkhead::builder().limit(1).build()?;
/// let _permit = bulkhead.try_acquire();
/// let refused = bulkhead.try_acquire().unwrap_err();
/// assert!(refused.is_rejected() && refused.is_full());
/// assert_eq!(refused.to_string(), "all 1 permits are in use");
/// assert!(format!("{refused:#}").starts_with("all 1 permits are in use (bulkhead built at "));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Refused(Box<Reason>);

/// The content of a [`Refused`]. It is boxed to keep results small.
#[derive(Clone, Debug)]
enum Reason {
    Ended(ripcord::Error),
    BreakerOpen {
        name: Arc<str>,
        retry_after: Duration,
        built_at: &'static Location<'static>,
        /// The line that opened the breaker by hand, if it did.
        forced_at: Option<&'static Location<'static>>,
    },
    /// The waiters and reservations of a limiter need too many tokens already.
    Limited {
        built_at: &'static Location<'static>,
    },
    ExceedsBurst {
        requested: u32,
        burst: u32,
        built_at: &'static Location<'static>,
    },
    /// The backend of a limiter is unavailable.
    Unavailable {
        retry_after: Duration,
        built_at: &'static Location<'static>,
    },
    PoolFull {
        name: Option<Arc<str>>,
        capacity: usize,
        built_at: &'static Location<'static>,
    },
    BulkheadFull {
        limit: usize,
        built_at: &'static Location<'static>,
    },
    TooNear {
        /// `None` if the wait would never end.
        needed: Option<Duration>,
        remaining: Duration,
        origin: Option<Origin>,
        /// The line that built the limiter, if the wait is for its tokens.
        limiter: Option<&'static Location<'static>>,
    },
    /// The pool or cache is closed. The error says who closed it.
    Closed(&'static str, Option<ripcord::Error>),
    /// A load of a cache would wait for itself, through loads of these keys.
    LoadCycle {
        keys: String,
        location: &'static Location<'static>,
    },
}

impl Refused {
    /// Creates the error of an operation whose context ended with `end`, before or during the operation.
    pub(crate) fn ended(end: ripcord::Error) -> Self {
        Self(Box::new(Reason::Ended(end)))
    }

    /// Creates the error of the breaker `name`, which stays open for `retry_after`. `retry_after` is zero if the breaker is
    /// half-open and all its probes are in flight. `built_at` is the line that built the breaker, and `forced_at` the line that
    /// opened it by hand, if it did.
    pub(crate) fn breaker_open(
        name: Arc<str>,
        retry_after: Duration,
        built_at: &'static Location<'static>,
        forced_at: Option<&'static Location<'static>>,
    ) -> Self {
        Self(Box::new(Reason::BreakerOpen { name, retry_after, built_at, forced_at }))
    }

    /// Creates the error of a request for more tokens than the limiter ever holds. `built_at` is the line that built the limiter.
    pub(crate) fn exceeds_burst(requested: u32, burst: u32, built_at: &'static Location<'static>) -> Self {
        Self(Box::new(Reason::ExceedsBurst { requested, burst, built_at }))
    }

    /// Creates the error of a limiter whose waiters and reservations need too many tokens already. `built_at` is the line that
    /// built the limiter.
    pub(crate) fn limited(built_at: &'static Location<'static>) -> Self {
        Self(Box::new(Reason::Limited { built_at }))
    }

    /// Creates the error of a limiter whose backend is unavailable for at least `retry_after`. `built_at` is the line that built
    /// the limiter.
    pub(crate) fn unavailable(retry_after: Duration, built_at: &'static Location<'static>) -> Self {
        Self(Box::new(Reason::Unavailable { retry_after, built_at }))
    }

    /// Creates the error of a pool whose queue of `capacity` jobs is full. `built_at` is the line that built the pool.
    pub(crate) fn pool_full(name: Option<Arc<str>>, capacity: usize, built_at: &'static Location<'static>) -> Self {
        Self(Box::new(Reason::PoolFull { name, capacity, built_at }))
    }

    /// Creates the error of a bulkhead whose `limit` permits are all in use and whose queue is full. `built_at` is the line that
    /// built the bulkhead.
    pub(crate) fn bulkhead_full(limit: usize, built_at: &'static Location<'static>) -> Self {
        Self(Box::new(Reason::BulkheadFull { limit, built_at }))
    }

    /// Creates the error of an operation that takes at least `needed`, although the deadline of `ctx` comes in `remaining`.
    /// `Duration::MAX` means that the operation would never end. `limiter` is the line that built the limiter, if the operation is
    /// a wait for its tokens.
    pub(crate) fn too_near(
        ctx: &Context,
        needed: Duration,
        remaining: Duration,
        limiter: Option<&'static Location<'static>>,
    ) -> Self {
        let needed = (needed < Duration::MAX).then_some(needed);
        Self(Box::new(Reason::TooNear { needed, remaining, origin: ctx.deadline_origin(), limiter }))
    }

    /// Creates the error of a closed pool or cache, which `what` names. `end` says who closed it.
    pub(crate) fn closed_by(what: &'static str, end: Option<ripcord::Error>) -> Self {
        Self(Box::new(Reason::Closed(what, end)))
    }

    /// Creates the error of the load requested at `location`, which would wait for itself. `keys` shows the cycle.
    pub(crate) fn load_cycle(keys: String, location: &'static Location<'static>) -> Self {
        Self(Box::new(Reason::LoadCycle { keys, location }))
    }

    /// If the operation failed because the context passed to the operation was canceled or its deadline passed, returns the
    /// error of this context. Otherwise returns `None`.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &*self.0 {
            Reason::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// If the operation failed because a wait would not have ended before the deadline, returns the origin of this deadline.
    /// The origin contains the line of code that set the deadline, the name of the context with the deadline, and the
    /// timeout. Returns `None` for any other error.
    pub fn deadline_origin(&self) -> Option<&Origin> {
        match &*self.0 {
            Reason::TooNear { origin, .. } => origin.as_ref(),
            _ => None,
        }
    }

    /// Returns whether the operation failed because the context passed to the operation was canceled.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_canceled)
    }

    /// Returns whether the operation failed because the deadline of its context passed, or because a wait would not have ended
    /// before this deadline.
    pub fn is_deadline_exceeded(&self) -> bool {
        match &*self.0 {
            Reason::Ended(end) => end.is_deadline_exceeded(),
            Reason::TooNear { .. } => true,
            _ => false,
        }
    }

    /// Returns whether the policy refused the operation. Returns `false` if the operation failed because its context ended.
    /// If a wait would not have ended before the deadline, both `is_rejected` and
    /// [`is_deadline_exceeded`](Refused::is_deadline_exceeded) are true.
    pub fn is_rejected(&self) -> bool {
        self.context_error().is_none()
    }

    /// Returns whether a [`CircuitBreaker`](crate::CircuitBreaker) refused the operation: the breaker was open, or it was
    /// half-open and all its probes were in flight. See [States](crate::CircuitBreaker#states).
    pub fn is_breaker_open(&self) -> bool {
        matches!(&*self.0, Reason::BreakerOpen { .. })
    }

    /// Returns whether a [`RateLimiter`](crate::RateLimiter) or [`KeyedLimiter`](crate::KeyedLimiter) refused the operation
    /// for one of these reasons:
    ///
    /// * The operation needs more tokens than the burst.
    /// * The waiters and reservations, including this operation, would need more than 2^36 (69 billion) tokens.
    pub fn is_limited(&self) -> bool {
        matches!(&*self.0, Reason::Limited { .. } | Reason::ExceedsBurst { .. })
    }

    /// Returns whether a limiter refused the operation because its [`backend`](crate::limiter::RateLimiterBuilder::backend), such
    /// as Redis, is unavailable.
    pub fn is_unavailable(&self) -> bool {
        matches!(&*self.0, Reason::Unavailable { .. })
    }

    /// Returns whether the operation was refused because a [`WorkerPool`](crate::WorkerPool) or
    /// [`Bulkhead`](crate::Bulkhead) was full. A pool is full if its queue is full. A bulkhead is full if all its permits are
    /// in use and its queue is full. For [`Bulkhead::try_acquire`](crate::Bulkhead::try_acquire), the queue does not matter.
    pub fn is_full(&self) -> bool {
        matches!(&*self.0, Reason::PoolFull { .. } | Reason::BulkheadFull { .. })
    }

    /// Returns whether the operation failed because the [`WorkerPool`](crate::WorkerPool) or [`Cache`](crate::Cache) was
    /// closed.
    pub fn is_closed(&self) -> bool {
        matches!(&*self.0, Reason::Closed(..))
    }

    /// Returns whether a [`Cache`](crate::Cache) refused a request for a key because a load would have waited for itself,
    /// directly or through other loads. See "Loads inside loads" in [`Cache::run`](crate::Cache::run).
    pub fn is_load_cycle(&self) -> bool {
        matches!(&*self.0, Reason::LoadCycle { .. })
    }

    /// Returns whether the same operation can succeed later. Returns `true` in these cases, and `false` for all other errors:
    ///
    /// * A circuit breaker refused the operation.
    /// * The waiters and reservations of a rate limiter would have needed more than 2^36 (69 billion) tokens.
    /// * The [backend](Refused::is_unavailable) of a rate limiter was unavailable.
    /// * A worker pool or bulkhead was full.
    pub fn is_transient(&self) -> bool {
        match &*self.0 {
            Reason::BreakerOpen { .. }
            | Reason::Limited { .. }
            | Reason::Unavailable { .. }
            | Reason::PoolFull { .. }
            | Reason::BulkheadFull { .. } => true,
            Reason::Ended(_)
            | Reason::ExceedsBurst { .. }
            | Reason::TooNear { .. }
            | Reason::Closed(..)
            | Reason::LoadCycle { .. } => false,
        }
    }

    /// Returns how long to wait before trying again, if a [`CircuitBreaker`](crate::CircuitBreaker) refused the operation or the
    /// [backend](Refused::is_unavailable) of a rate limiter was unavailable. Otherwise returns `None`.
    ///
    /// If the breaker is open, this is the time until it admits a probe. After
    /// [`force_open`](crate::CircuitBreaker::force_open), it is the setting
    /// [`open_for`](crate::breaker::CircuitBreakerBuilder::open_for). If the breaker is half-open and all its probes are in
    /// flight, the time is zero. An unavailable backend chooses the time itself.
    pub fn retry_after(&self) -> Option<Duration> {
        match &*self.0 {
            Reason::BreakerOpen { retry_after, .. } | Reason::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Always returns [`Outcome::Neutral`], because a refused operation says nothing about the called service.
    pub fn outcome(&self) -> Outcome {
        Outcome::Neutral
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Reason::Ended(end) => end.fmt(f),
            Reason::BreakerOpen { name, retry_after, built_at, forced_at } => {
                let state = if retry_after.is_zero() { "HALF-OPEN and probing" } else { "OPEN" };
                write!(f, "circuit breaker '{name}' is {state}")?;
                match forced_at {
                    Some(forced_at) => print_details(f, format_args!("opened by force_open at {forced_at}")),
                    None => print_details(f, format_args!("built at {built_at}")),
                }
            }
            Reason::Limited { built_at } => {
                f.write_str("rate limited")?;
                print_details(f, format_args!("limiter built at {built_at}"))
            }
            Reason::ExceedsBurst { requested, burst, built_at } => {
                write!(f, "{requested} tokens exceed the burst of {burst}")?;
                print_details(f, format_args!("limiter built at {built_at}"))
            }
            Reason::Unavailable { retry_after, built_at } => {
                write!(f, "the limiter's backend is unavailable; next attempt in {retry_after:?}")?;
                print_details(f, format_args!("limiter built at {built_at}"))
            }
            Reason::PoolFull { name, capacity, built_at } => {
                write!(f, "queue of {capacity} is full")?;
                match name {
                    Some(name) => print_details(f, format_args!("worker pool '{name}' built at {built_at}")),
                    None => print_details(f, format_args!("worker pool built at {built_at}")),
                }
            }
            Reason::BulkheadFull { limit, built_at } => {
                write!(f, "all {limit} permits are in use")?;
                print_details(f, format_args!("bulkhead built at {built_at}"))
            }
            Reason::TooNear { needed, remaining, origin, limiter } => {
                match needed {
                    Some(needed) => write!(f, "deadline too near: needs {needed:?}, {remaining:?} left")?,
                    None => write!(f, "deadline too near: the wait would never end, {remaining:?} left")?,
                }
                match (origin, limiter) {
                    (Some(origin), Some(limiter)) => {
                        print_details(f, format_args!("{origin}; limiter built at {limiter}"))
                    }
                    (Some(origin), None) => print_details(f, format_args!("{origin}")),
                    (None, Some(limiter)) => print_details(f, format_args!("limiter built at {limiter}")),
                    (None, None) => Ok(()),
                }
            }
            Reason::Closed(what, Some(end)) if f.alternate() => write!(f, "{what} is closed: {end:#}"),
            Reason::Closed(what, _) => write!(f, "{what} is closed"),
            Reason::LoadCycle { keys, location } => {
                write!(f, "cache load waits for itself: {keys}")?;
                print_details(f, format_args!("requested at {location}"))
            }
        }
    }
}

/// Prints `details` in parentheses, if the text is the long text (`{:#}`).
pub(super) fn print_details(f: &mut fmt::Formatter<'_>, details: fmt::Arguments<'_>) -> fmt::Result {
    if f.alternate() { write!(f, " ({details})") } else { Ok(()) }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Some(answer) = answer() {
            return Some(answer);
        }
        match &*self.0 {
            Reason::Closed(_, end) => end.as_ref().map(|end| end as _),
            _ => self.context_error()?.source(),
        }
    }
}

impl From<ripcord::Error> for Refused {
    fn from(end: ripcord::Error) -> Self {
        Self::ended(end)
    }
}
