//! What all handles of a cache share, and the operations on it.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Canceler, Context};

use super::Eviction;
use super::builder::Settings;
use super::entry::{Content, Entry, Found, Idle, lifetime};
use super::farewell;
use super::hashed::{Hashed, Sought};
use super::stats::{Count, Tally};
use super::store::{Evicted, Store};
use super::table::Flights;
use crate::stats::Call;
use crate::sync::{AtomicU64, Ordering, Runtime};
use crate::timeline::{Moment, Timeline};
use crate::{Attempt, Refused};

pub(super) struct Shared<K, V> {
    pub(super) ctx: Context,
    canceler: Canceler,
    pub(super) store: Store<K, V>,
    pub(super) flights: Flights<K, V>,
    pub(super) time: Timeline,
    pub(super) settings: Settings<K, V>,
    pub(super) tally: Tally,
    pub(super) runtime: Runtime,
    next_id: AtomicU64,
}

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(ctx: &Context, capacity: u64, settings: Settings<K, V>, runtime: Runtime) -> Self {
        let time = Timeline::new(ctx);
        // An attempt of a retry may have built it, and its loads are others'.
        let (ctx, canceler) = Attempt::clear(ctx).with_name("cache").with_cancel();
        Self {
            ctx,
            canceler,
            store: Store::new(capacity, settings.weigher.is_some()),
            flights: Flights::new(),
            time,
            settings,
            tally: Tally::new(),
            runtime,
            next_id: AtomicU64::new(0),
        }
    }

    /// Lets an operation in if both contexts live.
    #[inline]
    pub(super) fn admit(&self, ctx: &Context) -> Result<(), Refused> {
        if ctx.is_done() || self.ctx.is_done() {
            return Err(self.refusal(ctx));
        }
        Ok(())
    }

    #[cold]
    fn refusal(&self, ctx: &Context) -> Refused {
        self.tally.count(Call::Rejected);
        match ctx.err() {
            Some(error) => error.into(),
            None => Refused::closed("cache"),
        }
    }

    /// Runs the key's `Hash`, which is done once for whatever is done with the key.
    #[inline]
    pub(super) fn hashed(&self, key: K) -> Hashed<K> {
        Hashed { hash: self.store.hash(&key), key }
    }

    #[inline]
    pub(super) fn sought<'a, Q: Hash + ?Sized>(&self, key: &'a Q) -> Sought<'a, Q> {
        Sought { hash: self.store.hash(key), key }
    }

    #[inline]
    pub(super) fn look_up<Q>(&self, key: Sought<'_, Q>) -> Found<V>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.store.get(key) {
            Some(entry) => entry.found(&self.time),
            None => Found::Absent,
        }
    }

    pub(super) fn insert(&self, key: K, value: V, ttl: Option<Duration>) {
        let hash = self.store.hash(&key);
        let entry = self.entry(&key, value, ttl);
        let id = entry.id;
        let insert = |key| self.store.insert(Hashed { hash, key }, entry);
        let evicted = self.flights.detach::<K, K, _>(hash, key, insert);
        self.tally.add(Count::Inserted);
        self.let_go(evicted, hash, id);
        self.empty_if_closed();
    }

    pub(super) fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.store.hash(key);
        let remove = |key| self.store.remove(Sought { hash, key });
        let (key, entry) = self.flights.detach::<&Q, Q, _>(hash, key, remove)?;
        if !entry.is_servable(self.time.now()) {
            self.let_one_go(key, entry, Eviction::Expired);
            return None;
        }
        self.let_one_go(key, Arc::clone(&entry), Eviction::Removed);
        Entry::into_value(entry)
    }

    /// Loads first: what lands after the store was emptied must find itself detached.
    pub(super) fn clear(&self) {
        self.flights.detach_all();
        // All of it first: a hook that puts something back must not have it taken out again, for ever.
        let drained: Vec<_> = self.store.drain().collect();
        for (key, entry) in drained {
            self.let_one_go(key, entry, Eviction::Removed);
        }
    }

    pub(super) fn close(&self) {
        self.canceler.cancel_with(Refused::closed("cache"));
        self.clear();
    }

    /// An operation that was let in just before the cache closed must not leave anything behind.
    pub(super) fn empty_if_closed(&self) {
        if self.ctx.is_done() {
            self.clear();
        }
    }

    /// Makes an entry of a value. Runs the weigher.
    pub(super) fn entry(&self, key: &K, value: V, ttl: Option<Duration>) -> Entry<V> {
        let weight = self.settings.weigher.as_ref().map_or(1, |weigh| weigh(key, &value).max(1));
        let now = self.time.now();
        let (fresh_until, gone_at) = lifetime(now, ttl, self.settings.stale_for.unwrap_or(Duration::ZERO));
        let idle = self.settings.idle.map(|limit| Idle::new(now, limit));
        let (content, id) = (Content::Value(value), self.next_id());
        Entry { content, fresh_until, gone_at, id, weight, reload_at: Default::default(), idle }
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn jittered_ttl(&self) -> Option<Duration> {
        let ttl = self.settings.ttl?;
        let most = ttl.mul_f64(self.settings.ttl_jitter);
        if most.is_zero() {
            return Some(ttl);
        }
        Some(ttl.saturating_sub(self.settings.random.duration_between(Duration::ZERO, most)))
    }

    /// Counts and reports what the insert of entry `id` pushed out, and drops it. No lock is held here.
    pub(super) fn let_go(&self, evicted: Evicted<K, V>, hash: u64, id: u64) {
        let mut now: Option<Moment> = None;
        for (key, entry) in evicted {
            let reason = if entry.id != id && key.hash == hash {
                Eviction::Replaced
            } else if entry.is_gone(*now.get_or_insert_with(|| self.time.now())) {
                Eviction::Expired
            } else {
                Eviction::Capacity
            };
            self.let_one_go(key.key, entry, reason);
        }
    }

    /// Counts and reports an entry that nobody is given, and drops it: the panic of a user's drop keeps none of the others from
    /// going.
    pub(super) fn let_one_go(&self, key: K, entry: Arc<Entry<V>>, reason: Eviction) {
        self.count(&entry, reason);
        farewell::say(self.settings.on_evict.as_ref(), key, entry, reason);
    }

    fn count(&self, entry: &Entry<V>, reason: Eviction) {
        // A remembered error has never been put in.
        if let Content::Value(_) = entry.content {
            self.tally.add(match reason {
                Eviction::Capacity => Count::Evicted,
                Eviction::Expired => Count::Expired,
                Eviction::Replaced => Count::Replaced,
                Eviction::Removed => Count::Removed,
            });
        }
    }
}

impl<K, V> std::fmt::Debug for Shared<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
