//! A caller's request: the look-up, and the wait for a load that the request starts or joins. The load itself is in
//! [`running`](super::running).

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use ripcord::Context;

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

/// A call that may start a load.
struct Request<'a, K, F> {
    ctx: &'a Context,
    key: &'a K,
    /// The loader. `None` after a load has taken it.
    loader: Option<F>,
    location: &'static Location<'static>,
    /// Whether a value of the second level is no answer.
    reload: bool,
}

/// A loader whose error can be shared.
pub(super) trait IntoLoader<V>: FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static {}

impl<V, F: FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static> IntoLoader<V> for F {}

impl<K, V> Cache<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
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
        let mut request = Request { ctx, key: &key, loader: Some(load), location, reload: false };
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

    /// Loads `key` even if the cache holds a value.
    pub(super) async fn load<F: IntoLoader<V>>(
        &self,
        ctx: &Context,
        key: K,
        load: F,
        location: &'static Location<'static>,
    ) -> Result<Found<V>, Error<SharedError>> {
        self.shared.admit(ctx)?;
        let mut request = Request { ctx, key: &key, loader: Some(load), location, reload: true };
        loop {
            if let Some(waiter) = self.join_or_start(&mut request, || true)?
                && let Some(found) = self.wait(ctx, &waiter).await?
                // A joined flight may have found a value that is older than this call.
                && !waiter.flight.has_found()
            {
                return Ok(found);
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
                    self.spawn(&waiter, request.loader.take(), request.reload);
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
        let outcome = ctx.run(waiter.outcome()).await?;
        let source = match waiter.has_joined() {
            true => Source::Joined,
            false if waiter.flight.has_found() => Source::SecondLevel,
            false => Source::Loaded,
        };
        match outcome {
            LoadResult::Loaded(value) | LoadResult::Found(value) => Ok(Some(Found { value: value.clone(), source })),
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
        let Request { ctx, key, loader, location, .. } = request;
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
            self.spawn(&waiter, loader, false);
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
    fn spawn<F: IntoLoader<V>>(&self, waiter: &Waiter<K, V>, loader: Option<F>, reload: bool) {
        let loader = loader.unwrap_or_else(|| unreachable!("a request that starts a load has a loader"));
        let running = Running::new(&self.shared, Arc::clone(&waiter.flight));
        self.shared.runtime.spawn(running.run(Box::new(loader), reload));
    }
}
