//! Combines several policies around a call, in a fixed order. See [`Stack`].

mod builder;
mod layers;
mod order;
mod stats;

pub use builder::{IntoLayer, StackBuilder};
pub use stats::StackStats;

use std::convert::identity;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use ripcord::Context;

use crate::cache::{Found, Key, Source, sharing};
use crate::{Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, RateLimiter, Retry, SharedError};
use layers::{CacheLayer, Layers};

/// Combines several policies, called layers, around a call. The call returns a `Result<T, E>`. `K` is the key type of the cache
/// layer.
///
/// The order of the layers is fixed, and the layers work together. If a layer below the retry refuses an attempt, the retry
/// waits as long as this layer asks, or stops if no later attempt can succeed. The hedge takes its tokens from the budget of
/// the retry. The breaker and the bulkhead use the same [`Outcome`](crate::Outcome) of each call.
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
/// | layer | effect of its position |
/// |---|---|
/// | fallback | returns another value when any layer below fails |
/// | cache | if the cache has the value, the layers below are not used |
/// | deadline | limits the time of all attempts together |
/// | retry | each attempt goes through all layers below |
/// | hedge | a second attempt takes tokens from the retry's budget, and goes through all layers below |
/// | breaker | refuses an attempt before the attempt waits for a token or a permit |
/// | limiter | takes a token, and returns the token if the attempt is not sent |
/// | bulkhead | a permit is held only while the attempt is in flight |
/// | attempt timeout | starts when the attempt is sent, so the waits in the limiter and the bulkhead do not count |
/// | the call | |
///
/// Every layer is optional. Call the builder's methods in the order of this table. Otherwise [`build`](StackBuilder::build)
/// returns an error.
///
/// # Methods
///
/// Build a stack with [`builder`](Stack::builder). Make calls with [`run`](Stack::run). To use the cache, make calls with
/// [`run_keyed`](Stack::run_keyed), or with [`find_keyed`](Stack::find_keyed), which also reports where the value came from.
/// Read the statistics with [`stats`](Stack::stats). Get the layers with [`breaker`](Stack::breaker), [`cache`](Stack::cache)
/// and similar methods.
///
/// # Policies that are not layers
///
/// * A [`WorkerPool`](crate::WorkerPool) runs jobs. Submit a job that makes the call through the stack. If the queue of the
///   pool is full, the job waits or is refused before any layer runs.
/// * A [`KeyedLimiter`](crate::KeyedLimiter) limits the calls of each client. Wait for a token of the client before the call
///   through the stack. One token is enough for all attempts. The limiter layer of the stack limits the attempts that are sent
///   to the service.
///
/// Clones share all state. If the future of a call is dropped, the attempts are dropped, and their breaker probes, bulkhead
/// permits and unspent limiter tokens are released.
pub struct Stack<T, E, K = ()> {
    layers: Arc<Layers<T, E>>,
    cache: Option<CacheLayer<K, T>>,
}

impl<T: 'static, E: 'static> Stack<T, E> {
    /// Creates a builder. Add the layers with the methods of the builder.
    pub fn builder() -> StackBuilder<T, E> {
        StackBuilder::new()
    }
}

impl<T: 'static, E: 'static, K> Stack<T, E, K> {
    /// Makes a call through all layers except the cache. The cache needs a key: see [`run_keyed`](Stack::run_keyed).
    ///
    /// `call` runs once per attempt. Its argument is the context of the attempt, which is derived from `ctx`. This context ends
    /// when the attempt reaches its timeout, when `ctx` ends, when the deadline of the stack passes, or when another attempt of
    /// a hedge succeeds. When this context ends, the future of the call is dropped. If the call succeeds at the same moment,
    /// its value is returned.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled, its deadline passed, or the [deadline of the stack](StackBuilder::deadline) passed
    ///   ([`Error::context_error`]).
    /// * A layer refused the last attempt ([`Error::is_rejected`]).
    /// * The last attempt reached the [attempt timeout](StackBuilder::attempt_timeout) ([`Error::is_attempt_timeout`]).
    /// * The call returned an error ([`Error::last`]).
    /// * The fallback returned an error.
    ///
    /// With a retry, the error also contains the [number of attempts](Error::attempts) and the [reason](Error::stop_reason) why
    /// no further attempt was made.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call, or of a function or hook of a layer. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the attempts, and releases their breaker probes, bulkhead permits and unspent limiter tokens.
    pub async fn run<F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let ctx = &self.layers.on_own_clock(ctx);
        let call = || async {
            match &self.layers.fallback {
                Some(fallback) => fallback.run_over(ctx, || self.layers.timed(ctx, &call), identity).await,
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
        self.cache.as_ref().map(|cache| &cache.handle)
    }

    /// Copies the statistics of the cache layer to the recorder of the crate `metrics`.
    #[cfg(feature = "metrics")]
    pub(crate) fn record_cache(&self, name: &str) {
        if let Some(cache) = &self.cache {
            (cache.record)(&cache.handle, name);
        }
    }

    /// Returns the retry layer, if the stack has one.
    pub fn retry(&self) -> Option<&Retry<E>> {
        self.layers.retry.as_ref()
    }

    /// Returns the hedge layer, if the stack has one.
    pub fn hedge(&self) -> Option<&Hedge> {
        self.layers.hedge.as_ref()
    }

    /// Returns the breaker layer, if the stack has one. The returned breaker shares the state of the layer, but not its
    /// [classifier](crate::breaker::CircuitBreakerBuilder::classify): if you make a call through the returned breaker, every
    /// error counts as a failure.
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
    /// Makes a call through all layers, including the cache. If the cache has a value for `key`, returns this value and makes
    /// no call. If several callers request the same key at the same time and the cache has no value, they share one call.
    ///
    /// If the stack has no cache, this method makes a call like [`run`](Self::run).
    ///
    /// `call` runs once per attempt. Its argument is the context of the attempt. The shared call runs in a task of its own,
    /// so `call` must be `'static`. Each caller gets a clone of the value or error. A caller stops waiting when its own
    /// context ends. The shared call has the latest deadline of its callers, and is dropped when no caller waits for it any
    /// more: see [`Cache::run`]. If a layer refuses the call, the cache does not remember this error for the key.
    ///
    /// # Errors
    ///
    /// * The errors listed for [`run`](Self::run).
    /// * The shared call panicked ([`Error::is_panicked`]). Without a cache, the panic is passed on to the caller.
    /// * The cache is closed ([`Error::is_closed`]).
    /// * The shared call would wait for itself, because it requests its own key ([`Error::is_load_cycle`]).
    ///
    /// Other code may load keys of the same cache without this stack, with another error type than `E`. If this method gets an
    /// error of such a load, [`Error::last`] returns `None`.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller stops waiting. If no other caller waits for the shared call, the shared call is
    /// dropped.
    #[track_caller]
    pub fn run_keyed<F, Fut>(&self, ctx: &Context, key: K, call: F) -> impl Future<Output = Result<T, Error<E>>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let location = Location::caller();
        async move { Ok(self.find(ctx, key, call, location).await?.value) }
    }

    /// Makes a call through all layers, like [`run_keyed`](Self::run_keyed), and also reports where the value came from: the
    /// cache, a call or the fallback. [`run_keyed`](Self::run_keyed) describes the arguments, and the call that callers of
    /// the same key share.
    ///
    /// # Errors
    ///
    /// * The errors listed for [`run`](Self::run).
    /// * The shared call panicked ([`Error::is_panicked`]).
    /// * The cache is closed ([`Error::is_closed`]).
    /// * The shared call would wait for itself, because it requests its own key ([`Error::is_load_cycle`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller stops waiting. The shared call is dropped if no other caller waits for it.
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
        self.find(ctx, key, call, Location::caller())
    }

    /// Makes a call. `location` is the line of the caller.
    async fn find<F, Fut>(
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
        let ctx = &self.layers.on_own_clock(ctx);
        let mut source = Source::Fallback;
        let cached = || self.cached(ctx, key, call, location, &mut source);
        let call = || async {
            match &self.layers.fallback {
                Some(fallback) => fallback.run_over(ctx, cached, identity).await,
                None => cached().await,
            }
        };
        let value = self.layers.tally.call(ctx, Error::from, call).await?;
        Ok(Found { value, source })
    }

    /// Runs the layers from the cache inwards. Sets `source` to where the value came from.
    async fn cached<F, Fut>(
        &self,
        ctx: &Context,
        key: K,
        call: F,
        location: &'static Location<'static>,
        source: &mut Source,
    ) -> Result<T, Error<E>>
    where
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(cache) = self.cache() else {
            let value = self.layers.timed(ctx, &call).await?;
            *source = Source::Loaded;
            return Ok(value);
        };
        let layers = Arc::clone(&self.layers);
        let load = move |ctx: Context| async move { layers.timed(&ctx, &call).await };
        let found = cache.find_or_load(ctx, key, sharing(load), location).await.map_err(unshare::<E>)?;
        *source = found.source;
        Ok(found.value)
    }
}

/// Converts the error of a shared call to the stack's own error type.
fn unshare<E: std::error::Error + Clone + 'static>(error: Error<SharedError>) -> Error<E> {
    error.and_then(|shared| match (shared.downcast_ref::<Error<E>>(), shared.downcast_ref::<E>()) {
        (Some(error), _) => error.clone(),
        // The user may also load into the same cache directly, with errors of the call's type or of other types.
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
