//! Policies around one kind of call, composed in a fixed order. See [`Stack`].

mod builder;
mod layers;
mod order;
mod stats;

pub use builder::{IntoLayer, StackBuilder};
pub use stats::StackStats;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use ripcord::Context;

use crate::cache::{Found, Key, Source, sharing};
use crate::{Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, RateLimiter, Retry, SharedError};
use layers::Layers;

/// Policies around one kind of call, which returns a `T` or fails with an `E`. `K` is the key type of the cache layer.
///
/// A stack applies its policies in one fixed order, whatever the caller does, and makes them work together: the retry understands
/// the refusals of the other layers, the hedge pays from the retry's budget, and one outcome feeds all layers.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Bulkhead, CircuitBreaker, Fallback, Retry, Stack};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stack: Stack<String, std::io::Error> = Stack::builder()
///     .fallback(Fallback::value("a default".to_owned()))
///     .deadline(Duration::from_secs(2))
///     .retry(Retry::builder().max_attempts(3))
///     .breaker(CircuitBreaker::builder("users").consecutive_failures(5))
///     .bulkhead(Bulkhead::builder().limit(20))
///     .attempt_timeout(Duration::from_millis(500))
///     .build()?;
///
/// let ctx = Context::background();
/// let answer = stack.run(&ctx, |_ctx| async { Ok("an answer".to_owned()) }).await?;
/// assert_eq!(answer, "an answer");
/// assert_eq!(stack.breaker().expect("it has one").stats().calls.succeeded, 1);
///
/// // A stack whose layers are out of order does not build.
/// let wrong = Stack::<(), std::io::Error>::builder()
///     .attempt_timeout(Duration::from_millis(500))
///     .retry(Retry::builder())
///     .build();
/// assert_eq!(wrong.unwrap_err().field(), "retry");
/// # Ok(())
/// # }
/// ```
///
/// # The layers, from the outside in
///
/// | layer | why it is there |
/// |---|---|
/// | fallback | answers for everything below it |
/// | cache | a hit costs nothing of what follows |
/// | deadline | one budget of time for all attempts |
/// | retry, with its budget | each attempt goes through all that follows |
/// | hedge | a slow attempt is doubled, from the same budget |
/// | breaker | refuses before a token is taken or waited for |
/// | limiter | a token is spent on an attempt that is really sent |
/// | bulkhead | a permit is held by an attempt that is really in flight |
/// | attempt timeout | the time of an attempt starts at the call, not in a queue |
/// | the call | |
///
/// Every layer is optional. The builder's methods are called in this order, so that the order can be read where a stack is built.
///
/// # Methods
///
/// Build a stack with [`builder`](Stack::builder). Make calls with [`run`](Stack::run) or, through the cache, with
/// [`run_keyed`](Stack::run_keyed); [`find_keyed`](Stack::find_keyed) also reports where the value came from. Read
/// [`stats`](Stack::stats), and the layers with [`breaker`](Stack::breaker), [`cache`](Stack::cache) and so on.
///
/// # What is not a layer
///
/// * A [`WorkerPool`](crate::WorkerPool) decides where work runs, not whether. Submit a task that makes the call through the
///   stack: a full pool then refuses before any layer has done anything.
/// * A [`KeyedLimiter`](crate::KeyedLimiter) is about the caller, the stack's limiter about the callee. Wait for it before the
///   stack, once for all attempts.
///
/// Clones share all state. What a call holds (a probe, a token, a permit, a load) is returned when its future is dropped.
pub struct Stack<T, E, K = ()> {
    layers: Arc<Layers<T, E>>,
    cache: Option<Cache<K, T>>,
}

impl<T: 'static, E: 'static> Stack<T, E> {
    /// Creates a builder without layers.
    pub fn builder() -> StackBuilder<T, E> {
        StackBuilder::new()
    }
}

impl<T: 'static, E: 'static, K> Stack<T, E, K> {
    /// Makes a call through all layers but the cache, for which there is no key.
    ///
    /// `call` runs once per attempt, with the attempt's context. That context ends at the attempt's timeout, with the caller's, or
    /// when another attempt of a hedge has won; then the call's future is dropped. A success that is ready at that moment counts.
    ///
    /// # Errors
    ///
    /// See [`Error`]: the end of the caller's context or of the total deadline, a rejection of a layer, an attempt timeout, or the
    /// call's own error; with a retry, also how many attempts there were and why no more.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call, of the fallback or of a hook, which counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempts and returns what they held.
    pub async fn run<F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let ctx = &self.layers.on_own_clock(ctx);
        let call = || async {
            match &self.layers.fallback {
                Some(fallback) => fallback.run_over(ctx, || self.layers.timed(ctx, &call)).await,
                None => self.layers.timed(ctx, &call).await,
            }
        };
        self.layers.tally.call(ctx, Error::from, call).await
    }

    /// Returns the statistics of this stack and its clones.
    pub fn stats(&self) -> StackStats {
        let [attempts] = self.layers.tally.read();
        StackStats { calls: self.layers.tally.calls(), attempts }
    }

    /// Returns the fallback layer, if the stack has one.
    pub fn fallback(&self) -> Option<&Fallback<T, E>> {
        self.layers.fallback.as_ref()
    }

    /// Returns the cache layer, if the stack has one.
    pub fn cache(&self) -> Option<&Cache<K, T>> {
        self.cache.as_ref()
    }

    /// Returns the retry layer, if the stack has one.
    pub fn retry(&self) -> Option<&Retry<E>> {
        self.layers.retry.as_ref()
    }

    /// Returns the hedge layer, if the stack has one.
    pub fn hedge(&self) -> Option<&Hedge> {
        self.layers.hedge.as_ref()
    }

    /// Returns the breaker layer without its classifier, if the stack has one.
    pub fn breaker(&self) -> Option<&CircuitBreaker> {
        self.layers.breaker.as_ref().map(|breaker| &breaker.handle)
    }

    /// Returns the limiter layer, if the stack has one.
    pub fn limiter(&self) -> Option<&RateLimiter> {
        self.layers.limiter.as_ref()
    }

    /// Returns the bulkhead layer, if the stack has one.
    pub fn bulkhead(&self) -> Option<&Bulkhead> {
        self.layers.bulkhead.as_ref()
    }
}

impl<T, E, K> Stack<T, E, K>
where
    T: Clone + Send + Sync + 'static,
    E: std::error::Error + Clone + Send + Sync + 'static,
    K: Key,
{
    /// Makes a call through all layers. A cache hit makes no call, and all callers that miss the same key at once share one.
    ///
    /// The shared call runs in a task of its own, so it owns what it uses, and each caller gets a clone of its error. It has the
    /// deadline of its most patient caller: see [`Cache::run`]. The cache never remembers a rejection by a layer below as the
    /// key's failure.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run), and [`Error::is_panicked`] if the shared call panicked. If the cache is loaded outside the stack too, with
    /// errors of another type, such an error has no [`last`](Error::last).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the shared call, which is dropped with its last caller.
    #[track_caller]
    pub fn run_keyed<F, Fut>(&self, ctx: &Context, key: K, call: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let found = self.find_keyed(ctx, key, call);
        async move { Ok(found.await?.value) }
    }

    /// Makes a call through all layers, like [`run_keyed`](Self::run_keyed), and reports where the value came from.
    ///
    /// # Errors
    ///
    /// See [`run_keyed`](Self::run_keyed).
    ///
    /// # Cancel safety
    ///
    /// See [`run_keyed`](Self::run_keyed).
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::cache::{Cache, Source};
    /// use ripcord_policy::Stack;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let cache = Cache::builder().capacity(100).build(&ctx)?;
    /// let users: Stack<String, std::fmt::Error, u64> = Stack::builder().cache(cache).build()?;
    ///
    /// let find = || users.find_keyed(&ctx, 7, |_ctx| async { Ok("gopher".to_owned()) });
    /// assert_eq!(find().await?.source, Source::Loaded);
    /// assert_eq!(find().await?.source, Source::Hit);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn find_keyed<F, Fut>(&self, ctx: &Context, key: K, call: F) -> impl Future<Output = Result<Found<T>, Error<E>>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let location = Location::caller();
        async move {
            let ctx = &self.layers.on_own_clock(ctx);
            let mut source = Source::Fallback;
            let cached = async {
                let found = self.cached(ctx, key, call, location).await?;
                source = found.source;
                Ok(found.value)
            };
            let call = || async {
                match &self.layers.fallback {
                    Some(fallback) => fallback.run_over(ctx, || cached).await,
                    None => cached.await,
                }
            };
            let value = self.layers.tally.call(ctx, Error::from, call).await?;
            Ok(Found { value, source })
        }
    }

    async fn cached<F, Fut>(
        &self,
        ctx: &Context,
        key: K,
        call: F,
        location: &'static Location<'static>,
    ) -> Result<Found<T>, Error<E>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(cache) = &self.cache else {
            let value = self.layers.timed(ctx, &call).await?;
            return Ok(Found { value, source: Source::Loaded });
        };
        let layers = Arc::clone(&self.layers);
        let load = move |ctx: Context| async move { layers.timed(&ctx, &call).await };
        cache.find_or_load(ctx, key, sharing(load), location).await.map_err(unshare)
    }
}

/// The error that the shared call ended in, as the stack's own type.
fn unshare<E: std::error::Error + Clone + 'static>(error: Error<SharedError>) -> Error<E> {
    error.and_then(|shared| match (shared.downcast_ref::<Error<E>>(), shared.downcast_ref::<E>()) {
        (Some(error), _) => error.clone(),
        // The same cache is loaded by hand too, with the call's own errors or with others.
        (None, Some(error)) => Error::new(error.clone()),
        (None, None) => Error::load(shared),
    })
}

impl<T, E, K> Clone for Stack<T, E, K> {
    fn clone(&self) -> Self {
        Self { layers: Arc::clone(&self.layers), cache: self.cache.clone() }
    }
}

impl<T, E, K> fmt::Debug for Stack<T, E, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("stats", &self.layers.tally).finish_non_exhaustive()
    }
}
