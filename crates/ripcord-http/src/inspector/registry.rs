//! All that is under way.
//!
//! # Invariants
//!
//! 1. An entry is in its shard from `insert` until its [`Held`] is dropped, and is taken out once.
//! 2. An entry holds the context above its [`Held`], and nothing below: so it does not keep itself alive. It lets go of it when
//!    its [`Held`] is dropped; the core still holds it then, so that frees no chain from within a drop.
//! 3. Under a shard's lock entries are put in, taken out, cloned by reference and counted, and nothing else: no clock is read,
//!    nothing is formatted or dropped.
//! 4. Whoever reads takes a shard's entries in chunks, so that no request waits for longer than one of them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;

use super::entry::Entry;
use super::finished::{BUCKETS, Finished, bucket_of};

/// More than one, so that threads rarely meet.
const SHARDS: usize = 16;
/// How many entries a reader takes under one lock.
const CHUNK: usize = 64;
/// A slab that has become empty gives its memory back if it had room for more than this.
const ROOMY: usize = 1024;

pub(super) struct Registry {
    shards: [Arc<Shard>; SHARDS],
    finished: Arc<Finished>,
}

impl Registry {
    pub(super) fn new(kept: usize) -> Self {
        let finished = Arc::new(Finished::new(kept));
        let shards = std::array::from_fn(|number| Arc::new(Shard::new(number, Arc::clone(&finished))));
        Registry { shards, finished }
    }

    /// The shard of the thread that calls.
    pub(super) fn shard(&self) -> &Arc<Shard> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
        }
        let number = NUMBER.with(|number| {
            number.get().unwrap_or_else(|| {
                let next = NEXT.fetch_add(1, Ordering::Relaxed);
                number.set(Some(next));
                next
            })
        });
        &self.shards[number % SHARDS]
    }

    pub(super) fn finished(&self) -> &Finished {
        &self.finished
    }

    /// Gives every entry to `visit`, outside of the locks. What comes or goes meanwhile may be missed.
    pub(super) fn for_each(&self, mut visit: impl FnMut(Arc<Entry>)) {
        for shard in &self.shards {
            shard.for_each(&mut visit);
        }
    }

    pub(super) fn find(&self, id: u64) -> Option<Arc<Entry>> {
        let mut found = None;
        // The number of its shard is in an id.
        self.shards[id as usize % SHARDS].for_each(&mut |entry| {
            if entry.id == id {
                found = Some(entry);
            }
        });
        found
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            totals.started += shard.count.load(Ordering::Relaxed);
            let ended = shard.lock().ended;
            for (sum, count) in totals.ended.iter_mut().zip(ended) {
                *sum += count;
            }
        }
        totals
    }
}

/// How many there have ever been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) started: u64,
    /// By bucket of latency.
    pub(super) ended: [u64; BUCKETS],
}

/// A part of the registry with a lock of its own.
pub(super) struct Shard {
    number: usize,
    count: AtomicU64,
    live: Mutex<Live>,
    finished: Arc<Finished>,
}

struct Live {
    entries: Slab<Arc<Entry>>,
    ended: [u64; BUCKETS],
}

impl Shard {
    fn new(number: usize, finished: Arc<Finished>) -> Self {
        let live = Live { entries: Slab::new(), ended: [0; BUCKETS] };
        Shard { number, count: AtomicU64::new(0), live: Mutex::new(live), finished }
    }

    /// An id that no other entry of the registry has had.
    pub(super) fn next_id(&self) -> u64 {
        // Relaxed: the number is all there is to agree on.
        self.count.fetch_add(1, Ordering::Relaxed) * SHARDS as u64 + self.number as u64
    }

    /// Gives the key to take it out with.
    pub(super) fn insert(&self, entry: Arc<Entry>) -> usize {
        self.lock().entries.insert(entry)
    }

    /// Called once for each entry, by its `Held` (invariant 1), when it has ended.
    pub(super) fn remove(&self, key: usize, latency: Duration) {
        let bucket = bucket_of(latency);
        let (entry, emptied) = {
            let mut live = self.lock();
            live.ended[bucket] += 1;
            let entry = live.entries.try_remove(key);
            let is_roomy = live.entries.is_empty() && live.entries.capacity() > ROOMY;
            (entry, is_roomy.then(|| std::mem::take(&mut live.entries)))
        };
        drop(emptied);
        if let Some(entry) = entry {
            self.finished.push(entry, bucket);
        }
    }

    fn for_each(&self, visit: &mut impl FnMut(Arc<Entry>)) {
        let mut from = 0;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let end = {
                let live = self.lock();
                let end = live.entries.capacity();
                while from < end && chunk.len() < CHUNK {
                    chunk.extend(live.entries.get(from).map(Arc::clone));
                    from += 1;
                }
                end
            };
            chunk.into_iter().for_each(&mut *visit);
            if from >= end {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // What could panic under the lock is an allocation, and then the entries are as they were.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
