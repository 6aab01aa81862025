//! R2: the cost of a hit in memory when the cache is shared over Redis.

use ripcord::{Canceler, Context};
use ripcord_policy::Cache;
use ripcord_policy::cache::CacheBuilder;
use ripcord_redis::CacheLevel;
use tokio::runtime::{Builder, Runtime};

use super::super::caller::Caller;
use super::server::{Server, client, until};
use super::{not_run, start};
use crate::floor::Floor;
use crate::harness::{Bench, HOUR};
use crate::report::{Line, Rival, Target};
use crate::timing::{Threads, Timing};

const CAPACITY: u64 = 10_000;
const KEYS: u64 = 1024;
const IN_PROCESS: &str = "without Redis";
const TARGET: Target = Target::Ratio(0.67);

/// R2. A cache for 10,000 entries holds 1024, from `u64` to `u64`, with a TTL of an hour, as in P4. Both sides look them up one after
/// another and find each: on one thread, and on two threads that share the cache and start half-way apart. Ours has a Redis server as
/// its second level, and hears of changes. The rival is the same cache without a second level. A hit sends nothing, so the two should
/// cost the same.
pub(in crate::rows) fn hit(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for threads in [Threads::One, Threads::Two] {
        let what = format!("cache over Redis, hit in memory{}", threads.suffix());
        let Some(server) = start() else {
            lines.push(not_run("R2", what, IN_PROCESS, TARGET));
            continue;
        };
        let measured = bench.compare(
            |iterations| Side::shared(&server).clock(threads, iterations),
            |iterations| Side::new(|cache| cache).clock(threads, iterations),
            Floor::locked_add(threads),
        );
        lines.push(Line::time("R2", what, measured, Rival::named(IN_PROCESS), TARGET));
    }
    lines
}

struct Side {
    cache: Cache<u64, u64>,
    context: Context,
    _cancelers: [Option<Canceler>; 2],
    /// Runs the cache's sweeper.
    _runtime: Runtime,
}

impl Side {
    fn new(settings: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>) -> Side {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
        let entered = runtime.enter();
        let (owner, owner_canceler) = Caller::Cancelable.context();
        let (context, canceler) = Caller::Cancelable.context();
        let cache = settings(Cache::builder().capacity(CAPACITY).ttl(HOUR)).build(&owner);
        drop(entered);
        let cache = cache.expect("the settings are within bounds");
        let side = Side { cache, context, _cancelers: [owner_canceler, canceler], _runtime: runtime };
        side.fill();
        side
    }

    fn shared(server: &Server) -> Side {
        let level = CacheLevel::builder(&client(server), "bench").build().expect("the settings are within bounds");
        let side = Side::new(|cache| cache.second_level(level));
        // The connection that brings the changes empties the cache when it is established. The values that are inserted
        // afterwards live for an hour.
        until("the cache hears of changes", || side.cache.stats().flushes > 0);
        side.fill();
        side._runtime.block_on(side.cache.sync(&side.context)).expect("the server runs");
        side
    }

    fn fill(&self) {
        for key in 0..KEYS {
            self.cache.insert(&self.context, key, key).expect("the contexts live");
        }
    }

    fn clock(&self, threads: Threads, iterations: u64) -> Timing {
        threads.clock_each(iterations, |thread| {
            let mut next = thread as u64 * KEYS / 2;
            move || {
                let key = next % KEYS;
                next += 1;
                assert!(self.cache.get(&self.context, &key).is_ok_and(|value| value.is_some()), "the key is there");
            }
        })
    }
}
