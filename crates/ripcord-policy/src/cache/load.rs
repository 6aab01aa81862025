//! Loads: `get_or_load` and `refresh`.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use ripcord::{Cause, Context};

use super::Cache;
use super::deadline::Patience;
use super::entry::Found;
use super::flight::{Flight, Need, Outcome, Seat};
use super::hashed::Hashed;
use super::landing::Landing;
use super::stats::Count;
use super::table::Boarding;
use crate::panics::BoxFuture;
use crate::timeline::Moment;
use crate::{Attempt, Error, Refused, SharedError};

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The value of `key`, loaded if there is none.
    ///
    /// However many ask for a key at once, it is loaded once. The load runs in a task of its own under a context of its
    /// own: the values of the caller that began it, the end of the cache's context, and no caller's cancellation. Each
    /// caller leaves when its own context ends or its future is dropped. When the last has left, or the most patient
    /// one's deadline passes, the load's context is canceled and its future dropped; whoever comes later starts afresh.
    ///
    /// Begun by an attempt of a retry, the load is [inside of it](crate::Attempt::is_inside_retry), also for those who join: a retry of its
    /// own makes one attempt.
    ///
    /// The load's context bears no deadline of its own, for a context is immutable and this one would have to move whenever a
    /// more patient caller joins. It shows the latest as it is at any moment by [`load_deadline`](super::load_deadline), which
    /// the policies of this crate go by when they look at what is left; [`with_load_deadline`](super::with_load_deadline) makes
    /// a context with that deadline, for what has to be told one. When the last deadline has passed, the context ends.
    ///
    /// A stale value is returned at once, inside its window, and `load` runs in the background, unless a load of the key is under
    /// way or [one that failed](super::CacheBuilder::stale_for) is not to be tried again yet. Unless others have come to wait for
    /// it, it is called off when the window ends that it began in. Such a load is inside of nobody's retry.
    ///
    /// # Errors
    ///
    /// * [`Error::Context`]: the caller's context ended. It wins over a closed cache, and loses to a result that is
    ///   there at the same moment.
    /// * [`Error::Inner`]: the load failed; all who waited get the same error, and with
    ///   [`negative_ttl`](super::CacheBuilder::negative_ttl) so do those who ask for that long.
    /// * [`Error::Panicked`]: the load panicked. The next caller loads again.
    /// * [`Error::is_closed`]: the cache is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the load; nothing is lost but this caller's interest.
    ///
    /// # Examples
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
    /// assert_eq!(users.stats().calls.started, 1);   // one load for both
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias("singleflight"))]
    pub async fn get_or_load<F, Fut, E>(&self, ctx: &Context, key: K, load: F) -> Result<V, Error<SharedError>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        self.get_or_load_shared(ctx, key, sharing(load)).await
    }

    /// [`get_or_load`](Self::get_or_load) with an error that says whether it may be remembered.
    pub(crate) async fn get_or_load_shared<F, Fut>(
        &self,
        ctx: &Context,
        key: K,
        load: F,
    ) -> Result<V, Error<SharedError>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, SharedError>> + Send + 'static,
    {
        self.shared.admit(ctx)?;
        let key = self.shared.hashed(key);
        match self.shared.look_up(key.sought()) {
            Found::Fresh(value) => {
                self.shared.tally.add(Count::Hit);
                Ok(value)
            }
            Found::Stale { value, gone_at, may_reload } => {
                self.shared.tally.add(Count::StaleHit);
                if may_reload {
                    self.refresh_in_background(ctx, key, gone_at, load);
                }
                Ok(value)
            }
            Found::Failure(error) => {
                self.shared.tally.add(Count::NegativeHit);
                Err(Error::new(error))
            }
            Found::Absent => {
                self.shared.tally.add(Count::Miss);
                self.load(ctx, key, load, Need::IfAbsent).await
            }
        }
    }

    /// Loads `key` also when a fresh value is there, which is served to others until the new one has come. Joins a load
    /// of the key that is under way: what it returns was loaded, and not found in the cache. When it fails, the old value stays.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Cancel safety
    ///
    /// As [`get_or_load`](Self::get_or_load).
    pub async fn refresh<F, Fut, E>(&self, ctx: &Context, key: K, load: F) -> Result<V, Error<SharedError>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        E: Into<Cause> + 'static,
    {
        self.shared.admit(ctx)?;
        self.load(ctx, self.shared.hashed(key), sharing(load), Need::Always).await
    }

    async fn load<F, Fut>(&self, ctx: &Context, key: Hashed<K>, load: F, need: Need) -> Result<V, Error<SharedError>>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, SharedError>> + Send + 'static,
    {
        let patience = Patience::of(ctx);
        let join = |flight: &Arc<Flight<V>>| Seat::take(flight, patience, need);
        let seat = match self.board(ctx, key, patience, need, load, join) {
            Boarding::UnderWay(seat) => {
                self.shared.tally.add(Count::Coalesced);
                seat
            }
            Boarding::Started(seat) => seat,
        };
        match ctx.run(seat.outcome()).await? {
            Outcome::Loaded(value) => Ok(value.clone()),
            Outcome::Failed(error) => Err(Error::new(error.clone())),
            Outcome::Panicked(panicked) => Err(Error::from(panicked.clone())),
            Outcome::Ended(error) => Err(match ctx.err() {
                Some(own) => own.into(),
                None if self.is_closed() => Refused::closed("cache").into(),
                None => error.clone().into(),
            }),
        }
    }

    /// Loads anew what is stale until `gone_at`, for nobody in particular, unless the key's load is under way.
    fn refresh_in_background<F, Fut>(&self, ctx: &Context, key: Hashed<K>, gone_at: Moment, load: F)
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, SharedError>> + Send + 'static,
    {
        let deadline = self.shared.time.instant(gone_at);
        let is_under_way = |flight: &Arc<Flight<V>>| flight.is_under_way().then_some(());
        // What has come in meanwhile, fresh, is as good as what this would load; and one that failed meanwhile puts it off.
        // The caller waits for none of it, so no attempt of the caller's does.
        let ctx = &Attempt::clear(ctx);
        let boarding = self.board(ctx, key, Patience::until(deadline), Need::IfDue, load, is_under_way);
        if let Boarding::Started(seat) = boarding {
            let window = match deadline {
                Some(deadline) => self.shared.ctx.with_deadline(deadline),
                None => self.shared.ctx.clone(),
            };
            // The cache itself is the waiter. It leaves with the window, and by its own doing: a caller that joined and left
            // may have been more patient.
            self.shared.runtime.spawn(async move { drop(window.run(seat.outcome()).await) });
        }
    }

    /// Does `join` with the key's load, or starts it if there is none.
    fn board<F, Fut, J>(
        &self,
        ctx: &Context,
        key: Hashed<K>,
        patience: Patience,
        need: Need,
        load: F,
        join: impl Fn(&Arc<Flight<V>>) -> Option<J>,
    ) -> Boarding<J, V>
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<V, SharedError>> + Send + 'static,
    {
        let shared = &self.shared;
        let start = || {
            // Its values are the caller's, and so is what it is inside of.
            let ctx = ctx.without_cancel().merge(&shared.ctx).with_name("cache load");
            Flight::new(&ctx, patience, need)
        };
        let boarding = shared.flights.board(&key, join, start);
        let Boarding::Started(seat) = &boarding else {
            return boarding;
        };
        let landing = Landing::new(shared, seat.flight(), key);
        shared.runtime.spawn(landing.fly(move |ctx| -> BoxFuture<Result<V, SharedError>> {
            // The loader itself is called inside, where its panic is caught too.
            Box::pin(async move { load(ctx).await })
        }));
        boarding
    }
}

/// A loader whose error can be given to many.
fn sharing<V, F, Fut, E>(load: F) -> impl FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send + 'static
where
    F: FnOnce(Context) -> Fut + Send + 'static,
    Fut: Future<Output = Result<V, E>> + Send + 'static,
    E: Into<Cause> + 'static,
{
    |ctx| Box::pin(async move { load(ctx).await.map_err(SharedError::new) })
}
