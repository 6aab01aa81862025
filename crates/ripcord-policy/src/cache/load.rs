//! The operations that load values.

use std::future::Future;
use std::panic::Location;

use ripcord::{Cause, Context};

use super::{Cache, Found, Key};
use crate::panics::BoxFuture;
use crate::{Error, SharedError};

impl<K, V> Cache<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    /// Returns the value of `key`, and where the value came from. If the cache has no value, calls `load` and stores the
    /// value that `load` returns. The argument of `load` is the context of the load. The error of `load` can have any type
    /// `E` that converts to a [`Cause`].
    ///
    /// A key has at most one load at a time. Callers that request the key during a load wait for the same load, and their own
    /// `load` is not called. The load runs in its own tokio task and under its own context. This context has the values of the
    /// caller that started the load. A caller stops waiting when its own context ends or when its future is dropped. When no
    /// caller waits for the load any more, or when the cache is closed, the load's context is canceled and the load's future is
    /// dropped. A later caller starts a new load.
    ///
    /// The value may keep the context of its load. After the load has returned the value, this context ends only when the
    /// context passed to [`CacheBuilder::build`](super::CacheBuilder::build) ends. It does not end at the deadline of a caller
    /// or when the cache is closed.
    ///
    /// # The load's deadline
    ///
    /// The load's context has the latest deadline of its callers, or no deadline if a caller has none. The deadline changes
    /// when a caller with a later deadline joins, and when the caller with the latest deadline leaves. So the load's context
    /// shows how much time the callers have left. A caller's deadline is read when the caller makes its call. If this deadline
    /// is [moved](Context::with_movable_deadline) afterwards, the load's deadline does not change.
    ///
    /// The load may fail because the caller that started it had too little time. So if the load returns an error after the
    /// deadline of this caller, the cache does not remember the error. A caller with a later deadline does not get the
    /// error: it starts or joins a new load.
    ///
    /// # The second level
    ///
    /// If a [`second_level`](super::CacheBuilder::second_level) is set, it is asked first, in the task and under the context of the
    /// load. `load` runs only if the second level has no value and no other process loads the key, or if the second level is
    /// unavailable.
    ///
    /// # Stale values
    ///
    /// A *stale* value has expired, but the cache still returns it for the time set by
    /// [`stale_for`](super::CacheBuilder::stale_for). If the value is stale, this method returns it without waiting, and runs
    /// `load` in the background. It does not run `load` if a load of the key is in flight, or during the pause after a failed
    /// load that [`stale_for`](super::CacheBuilder::stale_for) describes. The deadline of the background load is the moment
    /// from which the stale value is no longer returned.
    ///
    /// # Loads inside loads
    ///
    /// `load` may request other keys, of this cache and of other caches. It must not request its own key, directly or through
    /// the loads that it waits for, because none of these loads could ever end. Such a request is refused
    /// ([`Error::is_load_cycle`]). The cache recognizes a request of a load by its context: the load's context or a context
    /// derived from it. It also recognizes a request that the future of the load itself makes under another context.
    ///
    /// # Retries
    ///
    /// If an attempt of a [`Retry`](crate::Retry) starts a load, the load belongs to this attempt. So a retry inside the load
    /// makes only one attempt, even if other callers wait for the load too. A background load belongs to no attempt.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Error::context_error`]). If the result of the
    ///   load is ready at the same moment, the result is returned instead, unless `ctx` had ended before the call. If the cache
    ///   is closed too, the error is still the error of `ctx`.
    /// * The load returned an error ([`Error::last`]). All callers of the load get a clone of this error, as a [`SharedError`].
    ///   If [`negative_ttl`](super::CacheBuilder::negative_ttl) is set, later callers get the error too, until this time has
    ///   passed.
    /// * The load panicked ([`Error::is_panicked`]). The next caller starts a new load.
    /// * The cache is closed ([`Error::is_closed`]).
    /// * The load would wait for itself ([`Error::is_load_cycle`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller stops waiting. If no other caller waits for the load, the load is canceled.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::cache::{Cache, Source};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let users: Cache<u64, String> = Cache::builder().capacity(100).build(&ctx)?;
    ///
    /// let load = || users.run(&ctx, 7, |_ctx| async { Ok::<_, std::io::Error>("gopher".to_owned()) });
    /// let (one, other) = tokio::join!(load(), load());
    /// assert_eq!((one?.source, other?.source), (Source::Loaded, Source::Joined));
    /// assert_eq!(load().await?.source, Source::Hit);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn run<F, Fut, E>(
        &self,
        ctx: &Context,
        key: K,
        load: F,
    ) -> impl Future<Output = Result<Found<V>, Error<SharedError>>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        self.find_or_load(ctx, key, sharing(load), Location::caller())
    }

    /// Returns the value of `key`. If the cache has no value, calls `load` and stores the value that `load` returns.
    ///
    /// Callers that request the key during a load wait for the same load. The load runs in its own tokio task. The argument
    /// of `load` is the context of the load. This method does the same as [`run`](Self::run), but does not report where the
    /// value came from. [`run`](Self::run) describes the context, the deadline and the cancellation of the load.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * The load failed ([`Error::last`]) or panicked ([`Error::is_panicked`]).
    /// * The cache is closed ([`Error::is_closed`]), or the load would wait for itself ([`Error::is_load_cycle`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller stops waiting. The load is canceled if no other caller waits for it.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_policy::Cache;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let ctx = Context::background();
    /// let users: Cache<u64, String> = Cache::builder().capacity(100).build(&ctx)?;
    ///
    /// let load = || users.get_or_load(&ctx, 7, |_ctx| async { Ok::<_, std::io::Error>("gopher".to_owned()) });
    /// let (one, other) = tokio::join!(load(), load());
    /// assert_eq!((one?, other?), ("gopher".to_owned(), "gopher".to_owned()));
    /// assert_eq!(users.stats().calls.started, 1); // one load for both callers
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("singleflight"))]
    #[track_caller]
    pub fn get_or_load<F, Fut, E>(
        &self,
        ctx: &Context,
        key: K,
        load: F,
    ) -> impl Future<Output = Result<V, Error<SharedError>>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        let found = self.run(ctx, key, load);
        async move { Ok(found.await?.value) }
    }

    /// Calls `load` even if the cache has a value for `key`, stores the loaded value and returns it. The argument of `load`
    /// is the context of the load.
    ///
    /// Other callers get the old value until the load ends. If the load fails, the old value stays in the cache. If a load of
    /// the key is in flight, this method waits for that load and returns its value. If that value came from the second level,
    /// this method calls `load` instead. [`run`](Self::run) describes the context, the deadline and the cancellation of the load.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * The load failed ([`Error::last`]) or panicked ([`Error::is_panicked`]).
    /// * The cache is closed ([`Error::is_closed`]), or the load would wait for itself ([`Error::is_load_cycle`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller stops waiting. The load is canceled if no other caller waits for it.
    #[track_caller]
    pub fn refresh<F, Fut, E>(
        &self,
        ctx: &Context,
        key: K,
        load: F,
    ) -> impl Future<Output = Result<V, Error<SharedError>>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        let location = Location::caller();
        async move { Ok(self.load(ctx, key, sharing(load), location).await?.value) }
    }
}

/// Turns the error of a loader into an error that can be shared.
pub(crate) fn sharing<V, F, Fut, E>(
    load: F,
) -> impl FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = Result<V, E>> + Send + 'static,
    E: Into<Cause> + 'static,
{
    |ctx| Box::pin(async move { load(ctx).await.map_err(SharedError::new) })
}
