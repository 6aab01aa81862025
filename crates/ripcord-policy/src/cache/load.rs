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
    /// Returns the value of `key` and where it came from. Loads the value if the cache has none.
    ///
    /// A key has at most one load at a time, however many callers request the key. The load runs in its own task and under its
    /// own context. This context has the values of the caller that started the load. A caller stops waiting when its own
    /// context ends or when its future is dropped. When no caller waits any more, or when the cache is closed, the load's
    /// context is canceled and the load's future is dropped. A later caller starts a new load.
    ///
    /// A value may hold the context of its load. After the load has returned the value, this context ends only when the context
    /// passed to [`CacheBuilder::build`](super::CacheBuilder::build) ends. It does not end at a deadline or when the cache is
    /// closed.
    ///
    /// # The load's deadline
    ///
    /// The load's context has the latest deadline of its callers, or no deadline if a caller has none. The deadline changes
    /// when a caller with a later deadline joins, and when the caller with the latest deadline leaves. So policies inside the
    /// load, and requests that the load sends to other services, see the time that the callers have left. A caller's deadline
    /// is read when the caller makes its call. If this deadline is [moved](Context::with_movable_deadline) afterwards, the
    /// load's deadline does not change.
    ///
    /// A service that the load calls knows only the deadline in its request, and may give up at that time. So an error that the
    /// load returns after the deadline of the caller that started it is not remembered. A caller that joined with a later
    /// deadline does not get this error. It starts or joins a new load.
    ///
    /// # Stale values
    ///
    /// A *stale* value has expired, but the cache still returns it for the time set by
    /// [`stale_for`](super::CacheBuilder::stale_for). A stale value is returned at once. `load` then runs in the background,
    /// unless a load of the key is in flight or has just failed. The deadline of a background load is the end of this time.
    ///
    /// # Loads inside loads
    ///
    /// A loader may request other keys, of this cache and of other caches. It may not request its own key, directly or through
    /// the loads that it waits for. Such a request is refused, because none of these loads could ever end
    /// ([`Error::is_load_cycle`]). The cache detects the request of a loader by its context, which is the load's context or a
    /// derived context. It also detects a request that the loader's own future makes with another context.
    ///
    /// # Retries
    ///
    /// If an attempt of a [`Retry`](crate::Retry) starts a load, the load belongs to that attempt. So a retry inside the load
    /// makes only one attempt, even if other callers join the load. A background load belongs to no attempt.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]). If the result of the load is ready at the same moment, the
    ///   result is returned instead. If the cache is closed too, the error is still the error of `ctx`.
    /// * The load failed ([`Error::last`]). All callers of the load get the same error. Later callers get it too, until the
    ///   [`negative_ttl`](super::CacheBuilder::negative_ttl) has passed.
    /// * The load panicked ([`Error::is_panicked`]). The next caller starts a new load.
    /// * The cache is closed ([`Error::is_closed`]), or the load would wait for itself ([`Error::is_load_cycle`]).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, this caller stops waiting. The load is canceled if no other caller waits for it.
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

    /// Returns the value of `key`. Loads the value if the cache has none.
    ///
    /// This method does the same as [`run`](Self::run), but does not report where the value came from.
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

    /// Loads `key` even if the cache has a fresh value, and returns the loaded value.
    ///
    /// Other callers get the old value until the load ends. If the load fails, the old value stays in the cache. If a load of
    /// the key is in flight, this method waits for that load instead of starting one.
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
