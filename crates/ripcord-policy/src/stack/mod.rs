//! Policies around one kind of call, composed in a fixed order, each place with its reason.
//!
//! From the outside in:
//!
//! | layer | why it is there |
//! |---|---|
//! | fallback | answers for everything below it |
//! | cache | a hit costs none of what follows |
//! | total deadline | one budget of time for all attempts |
//! | retry, with its budget | each attempt goes through all that follows |
//! | hedge | a slow attempt is doubled, from the same budget |
//! | breaker | refuses before anything is taken or waited for |
//! | limiter | tokens are spent on what is really sent |
//! | bulkhead | places are held by what is really under way |
//! | attempt timeout | the clock of one attempt starts at the call, not in a queue |
//! | the call | |
//!
//! Any of them may be left out. The builder's methods are called in this order, so that it can be read where a stack is
//! built; any other order is a [`ConfigError`](crate::ConfigError).
//!
//! # What is not a layer
//!
//! * A [`WorkerPool`](crate::WorkerPool) decides where work runs, not whether: a task of it makes the call, through the stack,
//!   so that what a full pool refuses has cost none of the layers anything, and what it runs has its place for all attempts.
//! * A [`KeyedLimiter`](crate::KeyedLimiter) is about who calls, the limiter of a stack about what is called. It is asked before
//!   the stack is, once for all attempts, and its [`Rejected`](crate::Rejected) given to the caller.
//!
//! ```
//! use std::time::Duration;
//! use ripcord::Context;
//! use ripcord_policy::{KeyedLimiter, Rate, Retry, Stack, WorkerPool};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = Context::background();
//! let clients = KeyedLimiter::new(Rate::per_second(10.0), 10)?;
//! let pool = WorkerPool::builder().workers(4).build(&app)?;
//! let stack: Stack<u32, std::fmt::Error> =
//!     Stack::builder().deadline(Duration::from_secs(2)).retry(Retry::exponential().max_attempts(3)).build()?;
//!
//! let ctx = app.with_timeout(Duration::from_secs(5));
//! clients.wait(&ctx, &"10.0.0.1").await?;
//! let task = pool.submit(&ctx, move |ctx| async move { stack.run(&ctx, |_ctx| async { Ok(7) }).await }).await?;
//! assert_eq!(task.await?, 7);
//! # Ok(())
//! # }
//! ```

mod builder;
mod layers;
mod stats;

pub use builder::StackBuilder;
pub use stats::StackStats;

use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use ripcord::Context;

use crate::{Error, Outcome, SharedError};
use layers::Layers;

use crate::caller::end_of;
use crate::stats::Call;
use crate::tally::CallGuard;

/// A stack of policies around calls that return a `T` or fail with an `E`. `K` is the key of its cache, if it has one.
///
/// A clone is another handle. Everything a call holds on its way (probe, token, place, seat on a load) is given back
/// when its future is dropped, wherever that happens.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Bulkhead, CircuitBreaker, Fallback, Retry, stack::Stack};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stack: Stack<String, std::io::Error> = Stack::builder()
///     .fallback(Fallback::value("a default".to_owned()))
///     .deadline(Duration::from_secs(2))
///     .retry(Retry::exponential().max_attempts(3))
///     .breaker(CircuitBreaker::new("users", 5, Duration::from_secs(30))?)
///     .bulkhead(Bulkhead::builder().limit(20).build()?)
///     .attempt_timeout(Duration::from_millis(500))
///     .build()?;
///
/// let ctx = Context::background();
/// let answer = stack.run(&ctx, |_ctx| async { Ok("an answer".to_owned()) }).await?;
/// assert_eq!(answer, "an answer");
///
/// // Layers out of order do not build.
/// let wrong = Stack::<(), std::io::Error>::builder()
///     .attempt_timeout(Duration::from_millis(500))
///     .retry(Retry::exponential())
///     .build();
/// assert_eq!(wrong.unwrap_err().field(), "retry");
/// # Ok(())
/// # }
/// ```
pub struct Stack<T, E, K = ()> {
    layers: Arc<Layers<T, E, K>>,
}

impl<T: 'static, E: 'static> Stack<T, E> {
    /// Starts a stack.
    pub fn builder() -> StackBuilder<T, E> {
        StackBuilder::new()
    }
}

impl<T: 'static, E: 'static, K> Stack<T, E, K> {
    /// Makes a call through all layers but the cache, for which it has no key.
    ///
    /// `call` may be called several times, once an attempt, each time with the attempt's context. That ends at the attempt's
    /// timeout, with the caller's, or when another attempt of a hedge has won; then the call's future is dropped. A result that is
    /// there already wins.
    ///
    /// # Errors
    ///
    /// * [`Error::Context`]: the caller's context ended, or the total deadline passed.
    /// * [`Error::Rejected`]: a layer refused it, and there was no retry to wait that out.
    /// * [`Error::AttemptTimeout`] and [`Error::Inner`]: the only attempt failed.
    /// * [`Error::Retry`]: a retry gave up; it holds the last of the above, and why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempts and gives back what they held.
    pub async fn run<F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let running = self.begin(ctx)?;
        let result = match &self.layers.fallback {
            Some(fallback) => fallback.around(ctx, || self.layers.timed(ctx, &call)).await,
            None => self.layers.timed(ctx, &call).await,
        };
        running.end(Outcome::of(&result, Error::outcome));
        result
    }

    /// What the stack has done so far. Each layer has statistics of its own: keep a clone of it.
    pub fn stats(&self) -> StackStats {
        let [attempts] = self.layers.tally.read();
        StackStats { calls: self.layers.tally.calls(), attempts }
    }

    fn begin(&self, ctx: &Context) -> Result<CallGuard<'_, 1>, Error<E>> {
        if let Some(end) = end_of(ctx) {
            self.layers.tally.count(Call::Rejected);
            return Err(end.into());
        }
        Ok(self.layers.tally.begin())
    }
}

impl<T, E, K> Stack<T, E, K>
where
    T: Clone + Send + Sync + 'static,
    E: std::error::Error + Clone + Send + Sync + 'static,
    K: Hash + Eq + Clone + Send + Sync + 'static,
{
    /// [`run`](Self::run) by way of the cache: a hit calls nothing, and all who miss the same key at once share one call.
    ///
    /// That call runs detached from whoever began it, as described at
    /// [`Cache::get_or_load`](crate::Cache::get_or_load); so it owns what it uses, and its error is cloned for each caller.
    /// A rejection by a layer below is never remembered as the key's failure.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run); and
    ///
    /// * [`Error::Panicked`]: the shared call panicked.
    /// * [`Error::Foreign`]: the cache is loaded through elsewhere too, and the load of this key that was joined, or is
    ///   remembered, failed with an error that is not an `E`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the shared call, which is dropped with its last caller.
    pub async fn run_keyed<F, Fut>(&self, ctx: &Context, key: K, call: F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let running = self.begin(ctx)?;
        let result = match &self.layers.fallback {
            Some(fallback) => fallback.around(ctx, || self.cached(ctx, key, call)).await,
            None => self.cached(ctx, key, call).await,
        };
        running.end(Outcome::of(&result, Error::outcome));
        result
    }

    async fn cached<F, Fut>(&self, ctx: &Context, key: K, call: F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(cache) = &self.layers.cache else {
            return self.layers.timed(ctx, &call).await;
        };
        let layers = Arc::clone(&self.layers);
        let load =
            move |ctx: Context| async move { layers.timed(&ctx, &call).await.map_err(|error| SharedError::new(error)) };
        cache.get_or_load_shared(ctx, key, load).await.map_err(unshare)
    }
}

/// The error that the shared call ended in, as the stack's own type.
fn unshare<E: std::error::Error + Clone + 'static>(error: Error<SharedError>) -> Error<E> {
    error.and_then(|shared| match (shared.downcast_ref::<Error<E>>(), shared.downcast_ref::<E>()) {
        (Some(error), _) => error.clone(),
        // The same cache is loaded through by hand too, with the call's own errors or with others.
        (None, Some(error)) => Error::new(error.clone()),
        (None, None) => Error::load(shared),
    })
}

impl<T, E, K> Clone for Stack<T, E, K> {
    fn clone(&self) -> Self {
        Self { layers: Arc::clone(&self.layers) }
    }
}

impl<T, E, K> fmt::Debug for Stack<T, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("stats", &self.layers.tally).finish_non_exhaustive()
    }
}
