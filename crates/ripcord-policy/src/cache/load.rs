//! The callers' part of a load. The load's own part is in [`running`](super::running).

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use ripcord::{Cause, Context};

use super::entry::{Entry, Lookup, Status};
use super::flight::{Limit, LoadResult, Waiter};
use super::running::Running;
use super::shared::Shared;
use super::stats::Count;
use super::table::Start;
use super::waits::{Load, Wait};
use super::{Cache, Found, Key, Source};
use crate::panics::BoxFuture;
use crate::{Attempt, Error, Refused, SharedError};

impl<K, V> Cache<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    /// Returns the value of `key` and where it came from. If the cache has no value, calls `load` and stores the value that it
    /// returns. The argument of `load` is the context of the load. The error of `load` can have any type `E` that converts to a
    /// [`Cause`].
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
    /// deadline of this caller, the cache does not remember the error. A caller with a later deadline does not get the error.
    /// It starts or joins a new load.
    ///
    /// # Stale values
    ///
    /// A *stale* value has expired, but the cache still returns it for the time set by
    /// [`stale_for`](super::CacheBuilder::stale_for). If the value is stale, this method returns it without waiting, and runs
    /// `load` in the background, unless a load of the key is in flight or has just failed. The deadline of the background load
    /// is the moment from which the stale value is no longer returned.
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
    /// * `ctx` was canceled or its deadline passed before or during the wait ([`Error::end`]). If the result of the load is
    ///   ready at the same moment, the result is returned instead, unless `ctx` had ended before the call. If the cache is
    ///   closed too, the error is still the error of `ctx`.
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

    /// Returns the value of `key`. If the cache has no value, calls `load` and stores the value that it returns.
    ///
    /// Callers that request the key during a load wait for the same load. The argument of `load` is the context of the load,
    /// which runs in its own task. This method does the same as [`run`](Self::run), but does not report where the value came
    /// from. [`run`](Self::run) describes the context, the deadline and the cancellation of the load.
    ///
    /// # Errors
    ///
    /// See [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// See [`run`](Self::run).
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

    /// Calls `load` even if the cache has a value for `key`, stores the loaded value and returns it.
    ///
    /// Other callers get the old value until the load ends. If the load fails, the old value stays in the cache. If a load of
    /// the key is in flight, this method waits for that load and does not call `load`. [`run`](Self::run) describes the
    /// context, the deadline and the cancellation of the load.
    ///
    /// # Errors
    ///
    /// See [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// See [`run`](Self::run).
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
        async move {
            self.shared.admit(ctx)?;
            let mut request = Request { ctx, key: &key, loader: Some(sharing(load)), location };
            loop {
                // A load is needed whatever the cache holds.
                if let Some(waiter) = self.join_or_start(&mut request, || true)?
                    && let Some(found) = self.wait(ctx, &waiter).await?
                {
                    return Ok(found.value);
                }
            }
        }
    }

    /// Does the same as [`run`](Self::run), with a loader whose error says whether it may be remembered.
    pub(crate) async fn find_or_load<F>(
        &self,
        ctx: &Context,
        key: K,
        load: F,
        location: &'static Location<'static>,
    ) -> Result<Found<V>, Error<SharedError>>
    where
        F: FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static,
    {
        self.shared.admit(ctx)?;
        let mut request = Request { ctx, key: &key, loader: Some(load), location };
        // Repeats if a value or a remembered error was stored after the look-up, or if the joined load has ended.
        loop {
            match self.shared.look_up(&key) {
                Lookup::Fresh(value) => {
                    self.shared.count(Count::Hit);
                    return Ok(Found { value, source: Source::Hit });
                }
                Lookup::Stale { value, gone_at, may_reload } => {
                    self.shared.count(Count::StaleHit);
                    if may_reload {
                        self.reload_in_background(request, gone_at);
                    }
                    return Ok(Found { value, source: Source::Stale });
                }
                Lookup::Failure(error) => {
                    self.shared.count(Count::NegativeHit);
                    return Err(Error::new(error));
                }
                Lookup::Absent => {}
            }
            let is_needed = || !self.shared.store.has(&key, |entry| !entry.is_gone(&self.shared.clock));
            if let Some(waiter) = self.join_or_start(&mut request, is_needed)? {
                self.shared.count(Count::Miss);
                if let Some(found) = self.wait(ctx, &waiter).await? {
                    return Ok(found);
                }
            }
        }
    }

    /// Joins the key's load or starts one. Returns `None` if there is no load to join and `is_needed` returns that no load is
    /// needed.
    fn join_or_start<F: IntoLoader<V>>(
        &self,
        request: &mut Request<'_, K, F>,
        is_needed: impl Fn() -> bool,
    ) -> Result<Option<Waiter<K, V>>, Refused> {
        let Request { ctx, key, location, .. } = *request;
        let limit = self.limit(ctx, location);
        loop {
            let current = self.shared.flights.get(key);
            if let Some(flight) = &current {
                let waits = Wait::begin(ctx, &(Arc::clone(&flight.load) as Arc<Load>), location)?;
                if let Some(waiter) = Waiter::join(flight, limit, waits) {
                    self.shared.count(Count::Coalesced);
                    return Ok(Some(waiter));
                }
            }
            let load = Arc::new(Load::new(key.clone()));
            let waits = Wait::begin(ctx, &(Arc::clone(&load) as Arc<Load>), location)?;
            let waiter = Waiter::first(&self.load_ctx(ctx), load, limit, waits, location);
            match self.shared.flights.start(current.as_ref(), &waiter.flight, &is_needed) {
                Start::Started => {
                    self.spawn(&waiter, request.loader.take());
                    return Ok(Some(waiter));
                }
                Start::NotNeeded => return Ok(None),
                Start::Occupied => {}
            }
        }
    }

    /// Returns the limit of a caller with the context `ctx`, whose request is at `location`.
    fn limit(&self, ctx: &Context, location: &'static Location<'static>) -> Limit {
        match (ctx.deadline(), ctx.deadline_origin()) {
            (Some(instant), Some(origin)) => Limit { instant, location: origin.location() },
            _ => Limit { instant: self.shared.never, location },
        }
    }

    /// Waits for a load until `ctx` ends. Returns `None` if the caller joined the load and must load itself, because the time of
    /// other callers ran out: the load's context has ended, or the load failed after its first caller's deadline.
    async fn wait(&self, ctx: &Context, waiter: &Waiter<K, V>) -> Result<Option<Found<V>>, Error<SharedError>> {
        let source = if waiter.has_joined() { Source::Joined } else { Source::Loaded };
        match ctx.run(waiter.outcome()).await? {
            LoadResult::Loaded(value) => Ok(Some(Found { value: value.clone(), source })),
            LoadResult::Failed(_) if waiter.has_more_time() && waiter.flight.is_past_first_limit() => Ok(None),
            LoadResult::Failed(error) => Err(Error::new(error.clone())),
            LoadResult::Panicked(panicked) => Err(panicked.clone().into()),
            LoadResult::Ended(_) if ctx.is_done() || self.is_closed() => Err(self.shared.end(ctx).into()),
            LoadResult::Ended(_) if waiter.has_joined() => Ok(None),
            LoadResult::Ended(end) => Err(end.clone().into()),
        }
    }

    /// Starts a background load of a value that is stale until `gone_at`, unless a load of the key is in flight. No caller waits
    /// for it.
    fn reload_in_background<F: IntoLoader<V>>(&self, request: Request<'_, K, F>, gone_at: Option<Instant>) {
        let Request { ctx, key, loader, location } = request;
        let Shared { flights, store, clock, settings, .. } = &*self.shared;
        let current = flights.get(key);
        if current.as_ref().is_some_and(|flight| flight.is_open()) {
            return;
        }
        let limit = gone_at.zip(settings.stale_for).map(|(instant, (_, location))| Limit { instant, location });
        let limit = limit.unwrap_or(Limit { instant: self.shared.never, location });
        // The caller does not wait for the load, so the load does not belong to the caller's attempt.
        let ctx = self.load_ctx(&Attempt::clear(ctx));
        let waiter = Waiter::first(&ctx, Arc::new(Load::new(key.clone())), limit, Vec::new(), location);
        // Another load may have ended since the look-up.
        let is_due = |entry: &Entry<V>| entry.status(clock) == Status::Stale { may_reload: true };
        if flights.start(current.as_ref(), &waiter.flight, || store.has(key, is_due)) == Start::Started {
            self.spawn(&waiter, loader);
            let window = self.shared.ctx.with_deadline_at(limit.instant, limit.location);
            // The cache itself is the waiter until the window ends. A caller that joins may leave earlier or wait longer.
            self.shared.runtime.spawn(async move { drop(window.run(waiter.outcome()).await) });
        }
    }

    /// Returns the parent of a load's context. It has the values of the caller's context, and ends with the context that the
    /// cache was built with.
    fn load_ctx(&self, ctx: &Context) -> Context {
        ctx.without_cancel().merge(&self.shared.owner_ctx)
    }

    /// Spawns the task of a flight that was started.
    fn spawn<F: IntoLoader<V>>(&self, waiter: &Waiter<K, V>, loader: Option<F>) {
        let loader = loader.unwrap_or_else(|| unreachable!("a request that starts a load has a loader"));
        let running = Running::new(&self.shared, Arc::clone(&waiter.flight));
        self.shared.runtime.spawn(running.run(Box::new(loader)));
    }
}

/// A call that may start a load.
struct Request<'a, K, F> {
    ctx: &'a Context,
    key: &'a K,
    /// The loader. `None` after a load has taken it.
    loader: Option<F>,
    location: &'static Location<'static>,
}

/// A loader whose error can be shared.
trait IntoLoader<V>: FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static {}

impl<V, F: FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static> IntoLoader<V> for F {}

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
