//! Records which load waits for which other load, so that no load waits for itself.
//!
//! A loader that requests a key waits for the load of that key. If that load waits for the loader's own load, directly or through
//! other loads, none of them can end. So the request that would close the cycle is refused.
//!
//! A request belongs to a load if its context is the load's context or derived from it. A request also belongs to the load whose
//! future makes the request, whatever context it uses, because a loader may ignore its own context.
//!
//! # Invariants
//!
//! 1. There is an edge from one load to another exactly as long as a request that belongs to the first load waits for the second.
//! 2. The edges form no cycle. An edge is checked and added under one lock. The process has only one such lock, because loads of
//!    several caches may wait for each other.
//! 3. No user code runs under that lock: keys are printed and dropped outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{Context, Value};

use crate::Refused;
use crate::sync::current_context;

/// A load as seen by other loads and by its own loader.
pub(super) struct Load<K: ?Sized = dyn Debug + Send + Sync> {
    id: u64,
    /// The TTL that the loader has set for its value.
    ttl: Mutex<Option<Duration>>,
    pub(super) key: K,
}

/// The edges: for each load, by its number, the loads that its requests wait for.
static EDGES: Mutex<BTreeMap<u64, Vec<Arc<Load>>>> = Mutex::new(BTreeMap::new());

impl<K> Load<K> {
    pub(super) fn new(key: K) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT_ID.fetch_add(1, Ordering::Relaxed), ttl: Mutex::new(None), key }
    }
}

impl<K: ?Sized> Load<K> {
    pub(super) fn ttl(&self) -> Option<Duration> {
        *self.ttl.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_ttl(&self, ttl: Option<Duration>) {
        *self.ttl.lock().unwrap_or_else(PoisonError::into_inner) = ttl;
    }
}

/// The context value that holds the load a context belongs to.
pub(super) struct InLoad(pub(super) Arc<Load>);

impl Value for InLoad {}

/// Sets the TTL (time to live) of the value that a load of a [`Cache`](super::Cache) will return. The value then expires after
/// `ttl` instead of the cache's own [`ttl`](super::CacheBuilder::ttl).
///
/// A *loader* is the closure passed to [`get_or_load`](super::Cache::get_or_load), [`run`](super::Cache::run) or
/// [`refresh`](super::Cache::refresh). Call this function in a loader if the value has its own lifetime, such as a response
/// with `max-age` or an access token. Pass the context that the loader got, or a context derived from this context.
///
/// Returns `true` if the TTL was set. Returns `false`, and does nothing, if `ctx` does not belong to a load.
///
/// If a loader calls this function several times, the last call counts. [`ttl_jitter`](super::CacheBuilder::ttl_jitter) does
/// not change the TTL. If `ttl` is zero, the stored value is already expired, as with
/// [`insert_with_ttl`](super::Cache::insert_with_ttl). The callers of the load still get the value.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::cache::{self, Cache};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = Context::background();
/// let tokens: Cache<&str, String> = Cache::builder().capacity(10).ttl(Duration::from_secs(60)).build(&app)?;
///
/// let log_in = |ctx: Context| async move {
///     let (token, expires_in) = ("s3cr3t".to_owned(), 300);
///     cache::set_load_ttl(&ctx, Duration::from_secs(expires_in));
///     Ok::<_, std::io::Error>(token)
/// };
/// tokens.get_or_load(&app, "service", log_in).await?;
/// # Ok(())
/// # }
/// ```
pub fn set_load_ttl(ctx: &Context, ttl: Duration) -> bool {
    let load = ctx.value::<InLoad>();
    if let Some(InLoad(load)) = load {
        load.set_ttl(Some(ttl));
    }
    load.is_some()
}

/// A wait of a request inside a load for another load. Dropping it ends the wait.
pub(super) struct Wait {
    from: u64,
    to: Arc<Load>,
}

impl Wait {
    /// Records that a request with the context `ctx` waits for `to`. Returns one wait for each load that the request belongs to.
    pub(super) fn begin(
        ctx: &Context,
        to: &Arc<Load>,
        location: &'static Location<'static>,
    ) -> Result<Vec<Wait>, Refused> {
        let mut waits = Vec::new();
        for load in loads_of(ctx) {
            waits.push(Wait::between(load, to, location)?);
        }
        Ok(waits)
    }

    fn between(from: Arc<Load>, to: &Arc<Load>, location: &'static Location<'static>) -> Result<Wait, Refused> {
        let mut edges = lock();
        // Invariant 2.
        if let Some(path) = path(&edges, to, from.id) {
            drop(edges);
            return Err(Refused::load_cycle(cycle(&from, &path), location));
        }
        edges.entry(from.id).or_default().push(Arc::clone(to));
        drop(edges);
        Ok(Wait { from: from.id, to: Arc::clone(to) })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut edges = lock();
        let mut ended = None;
        if let Some(waited_for) = edges.get_mut(&self.from) {
            if let Some(index) = waited_for.iter().position(|load| load.id == self.to.id) {
                ended = Some(waited_for.swap_remove(index));
            }
            if waited_for.is_empty() {
                edges.remove(&self.from);
            }
        }
        // Invariant 3: dropping the last reference drops the key, so the lock is released first.
        drop(edges);
        drop(ended);
    }
}

/// Returns the loads that a request with the context `ctx`, made by the running task, belongs to.
fn loads_of(ctx: &Context) -> impl Iterator<Item = Arc<Load>> {
    let of = |ctx: &Context| ctx.value::<InLoad>().map(|InLoad(load)| Arc::clone(load));
    let by_context = of(ctx);
    let by_future = current_context().and_then(|current| of(&current));
    let both = by_context.as_ref().zip(by_future.as_ref()).is_some_and(|(one, other)| one.id == other.id);
    by_context.into_iter().chain(by_future.filter(|_| !both))
}

/// If `start` waits for the load `end`, returns the loads from `start` to `end`, without `end`.
fn path(edges: &BTreeMap<u64, Vec<Arc<Load>>>, start: &Arc<Load>, end: u64) -> Option<Vec<Arc<Load>>> {
    // Each reached load, with the index of the load that waits for it.
    let mut reached = vec![(Arc::clone(start), 0)];
    let mut seen = BTreeSet::from([start.id]);
    let mut next = 0;
    while let Some((load, _)) = reached.get(next) {
        if load.id == end {
            return Some(back_to_start(&reached, next));
        }
        for waited_for in edges.get(&load.id).into_iter().flatten() {
            if seen.insert(waited_for.id) {
                reached.push((Arc::clone(waited_for), next));
            }
        }
        next += 1;
    }
    None
}

fn back_to_start(reached: &[(Arc<Load>, usize)], end: usize) -> Vec<Arc<Load>> {
    let mut path = Vec::new();
    let mut at = end;
    while at != 0 {
        at = reached[at].1;
        path.push(Arc::clone(&reached[at].0));
    }
    path.reverse();
    path
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, Vec<Arc<Load>>>> {
    EDGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the keys in the order in which their loads wait for each other. The first load of `path` would wait for itself.
fn cycle(from: &Arc<Load>, path: &[Arc<Load>]) -> String {
    let first = path.first().unwrap_or(from);
    let loads = path.iter().chain([from, first]);
    loads.map(|load| format!("{:?}", &load.key)).collect::<Vec<_>>().join(" -> ")
}
