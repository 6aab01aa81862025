//! P4: the cost of a cache hit.

use std::future::ready;
use std::io;
use std::pin::pin;

use ripcord::{Canceler, Context};
use ripcord_policy::Cache;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer, Service, service_fn};
use tower_resilience::cache::CacheLayer;

use super::caller::Caller;
use super::service;
use crate::floor::Floor;
use crate::harness::{Bench, HOUR, Measured};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};
use crate::timing::{Threads, Timing, poll_to_end};

const MOKA: Rival = Rival::named("moka");
const QUICK_CACHE: Rival = Rival::named("quick_cache");

/// P4. A cache for 10,000 entries holds 1024, from `u64` to `u64`. Both sides look them up one after another and find each: on one
/// thread, on two threads that share the cache and start half-way apart, and, without a target, on two threads that look up the
/// same key. With two threads, the cost is the time of one call on its thread. All settings except capacity and TTL are the
/// defaults.
///
/// * ours is `Cache::get` with a TTL of an hour, under a context that can be canceled. The cache's own context can be canceled too;
/// * moka's is `get` of `moka::sync::Cache` with the same TTL. It reads the clock with its `quanta` feature, which makes a hit
///   10 ns cheaper;
/// * for comparison, quick_cache's is `get` of `quick_cache::sync::Cache`, which has no TTL;
/// * for comparison, tower-resilience's cache layer has the same size and TTL, around a service that would answer at once. Ours is
///   then `get_or_load` with a load that would also answer at once. Each thread has its own clone of the service, polled by hand.
pub(super) fn hit(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for pattern in Pattern::ALL {
        let ours = |iterations| {
            let side = Ours::new();
            pattern.clock(iterations, |key| side.cache.get(&side.context, &key).is_ok_and(|value| value.is_some()))
        };
        let mut add = |what: &str, measured: Measured, rival: Rival, target: Target| {
            lines.push(Line::time("P4", format!("{what}{}", pattern.suffix()), measured, rival, target));
        };
        let moka = bench.compare(
            ours,
            |iterations| {
                let cache = moka::sync::Cache::builder().max_capacity(CAPACITY).time_to_live(HOUR).build();
                (0..KEYS).for_each(|key| cache.insert(key, key));
                cache.run_pending_tasks();
                pattern.clock(iterations, |key| cache.get(&key).is_some())
            },
            Floor::locked_add(pattern.threads),
        );
        add("hit with TTL", moka, MOKA, if pattern.one_key { Target::Shown } else { Target::Ratio(4.0) });
        let quick_cache = bench.compare(
            ours,
            |iterations| {
                let cache = quick_cache::sync::Cache::new(CAPACITY as usize);
                (0..KEYS).for_each(|key| cache.insert(key, key));
                pattern.clock(iterations, |key| cache.get(&key).is_some())
            },
            Floor::locked_add(pattern.threads),
        );
        add("hit with TTL, theirs without", quick_cache, QUICK_CACHE, Target::Shown);
        let tower = bench.compare(
            |iterations| {
                let side = Ours::new();
                pattern.clock(iterations, |key| {
                    let load =
                        side.cache.get_or_load(&side.context, key, move |_context| ready(Ok::<_, io::Error>(key)));
                    poll_to_end(pin!(load)).is_ok()
                })
            },
            |iterations| {
                let service = tower_service();
                pattern.clock_each(iterations, || {
                    let mut service = service.clone();
                    move |key| service::call(&mut service, key).is_ok()
                })
            },
            Floor::locked_add(pattern.threads),
        );
        add("get_or_load, hit with TTL", tower, TOWER_RESILIENCE, Target::Shown);
    }
    lines
}

const CAPACITY: u64 = 10_000;
const KEYS: u64 = 1024;

/// The threads, and the keys that they look up.
#[derive(Clone, Copy)]
struct Pattern {
    threads: Threads,
    one_key: bool,
}

impl Pattern {
    const ALL: [Pattern; 3] = [
        Pattern { threads: Threads::One, one_key: false },
        Pattern { threads: Threads::Two, one_key: false },
        Pattern { threads: Threads::Two, one_key: true },
    ];

    fn suffix(self) -> String {
        format!("{}{}", self.threads.suffix(), if self.one_key { ", 1 key" } else { "" })
    }

    fn clock(self, iterations: u64, look_up: impl Fn(u64) -> bool + Sync) -> Timing {
        self.clock_each(iterations, || &look_up)
    }

    /// Does the same as `clock`, but `make` creates the look-up of each thread.
    fn clock_each<L: FnMut(u64) -> bool>(self, iterations: u64, make: impl Fn() -> L + Sync) -> Timing {
        let step = if self.one_key { 0 } else { 1 };
        self.threads.clock_each(iterations, |thread| {
            let mut look_up = make();
            let mut next = thread as u64 * step * KEYS / 2;
            move || {
                let key = next % KEYS;
                next += step;
                assert!(look_up(key), "the key is there");
            }
        })
    }
}

struct Ours {
    cache: Cache<u64, u64>,
    context: Context,
    _cancelers: [Option<Canceler>; 2],
    /// Runs the cache's sweeper.
    _runtime: Runtime,
}

impl Ours {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
        let entered = runtime.enter();
        let (owner, owner_canceler) = Caller::Cancelable.context();
        let (context, canceler) = Caller::Cancelable.context();
        let cache =
            Cache::builder().capacity(CAPACITY).ttl(HOUR).build(&owner).expect("the settings are within bounds");
        for key in 0..KEYS {
            cache.insert(&context, key, key).expect("the contexts live");
        }
        drop(entered);
        Ours { cache, context, _cancelers: [owner_canceler, canceler], _runtime: runtime }
    }
}

fn tower_service() -> impl Service<u64, Response = u64> + Clone + Send + Sync {
    let layer = CacheLayer::builder()
        .max_size(CAPACITY as usize)
        .ttl(HOUR)
        .key_extractor(|key: &u64| *key)
        .build()
        .expect("the settings are within bounds");
    let mut service = layer.layer(service_fn(|key: u64| ready(Ok::<_, io::Error>(key))));
    for key in 0..KEYS {
        assert!(service::call(&mut service, key).is_ok(), "the service always answers");
    }
    service
}
