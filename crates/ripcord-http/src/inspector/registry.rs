//! The live entries.
//!
//! # Invariants
//!
//! 1. An entry is in its shard from `insert` until the last context of its work is dropped. An entry is removed once.
//! 2. The entry holds the context above the value that removes the entry. The entry holds nothing below this context, so it does
//!    not keep itself alive.
//! 3. Under a shard's lock, entries are only inserted, changed, removed, cloned and counted. No clock is read, nothing is formatted
//!    or dropped, and no subscriber is called.
//! 4. A reader takes the entries of a shard in chunks, so that a request waits for one chunk at most.
//!
//! Entries are stored in the shard's slab, because an allocation for each request would be the largest cost.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::StatusCode;
use ripcord::{CancelHandle, Context, Span, SpanGuard};
use slab::Slab;

use super::entry::{Entry, EntryEnd, FinishedEntry, Kind};
use super::finished::{BUCKETS, Finished, Quick, bucket_for};
use super::tasks::TaskList;
use crate::server::EntryKey;

/// Number of shards, so that threads rarely contend.
const SHARDS: usize = 16;
/// Number of entries that a reader takes under one lock.
const CHUNK: usize = 32;
/// Maximum capacity of an empty slab. A larger slab frees its memory.
const MAX_EMPTY_CAPACITY: usize = 1024;

pub(super) struct Registry {
    shards: [Shard; SHARDS],
    finished: Finished,
}

impl Registry {
    pub(super) fn new(kept: usize) -> Self {
        Registry { shards: std::array::from_fn(|_| Shard::default()), finished: Finished::new(kept) }
    }

    /// Inserts an entry that started at `started`. `ctx` is the context above the value that will remove the entry.
    pub(super) fn insert(
        &self,
        kind: Kind,
        started: Instant,
        ctx: Context,
        cancel: CancelHandle,
        tasks: Option<TaskList>,
    ) -> EntryKey {
        let number = number_of_thread() % SHARDS;
        let mut live = self.shards[number].lock();
        let id = live.started * SHARDS as u64 + number as u64;
        live.started += 1;
        let entry = Entry { id, kind, started, ctx, cancel, status: None, root: None, tasks, ended: None };
        EntryKey { id, key: live.slots.insert(Slot { entry, guard: None }) }
    }

    /// Records the status of the response.
    pub(super) fn answered(&self, place: EntryKey, status: StatusCode) {
        self.change(place, |slot| slot.entry.status = Some(status));
    }

    /// Sets the root span of the entry's calls, unless the entry has one. Returns the entry's root span, and a guard that the
    /// caller must drop.
    pub(super) fn set_root(
        &self,
        place: EntryKey,
        root: Span,
        mut guard: Option<SpanGuard>,
    ) -> (Span, Option<SpanGuard>) {
        let known = self.change(place, |slot| match &slot.entry.root {
            Some(known) => known.clone(),
            None => {
                slot.entry.root = Some(root.clone());
                // If the entry has ended already, nothing would end a span stored here.
                if slot.entry.ended.is_none() {
                    slot.guard = guard.take().map(Box::new);
                }
                root.clone()
            }
        });
        (known.unwrap_or(root), guard)
    }

    /// Records the end of the entry. Returns the guard that ends its root span when dropped.
    pub(super) fn end(&self, place: EntryKey, ended: EntryEnd) -> Option<Box<SpanGuard>> {
        let mut ended = Some(ended);
        self.change(place, |slot| {
            if slot.entry.ended.is_none() {
                slot.entry.ended = ended.take();
            }
            slot.guard.take()
        })?
    }

    /// Takes the guard of the entry's root span, if the entry has one.
    pub(super) fn take_guard(&self, place: EntryKey) -> Option<Box<SpanGuard>> {
        self.change(place, |slot| slot.guard.take())?
    }

    /// Removes an entry (invariant 1) that has ended and whose last context is being dropped.
    pub(super) fn remove(&self, place: EntryKey) {
        let (slot, emptied, is_kept) = {
            let mut live = self.shard(place).lock();
            let Some(slot) = live.slots.try_remove(place.key) else { return };
            let is_kept = slot.entry.ended.as_ref().is_some_and(|ended| {
                live.ended[bucket_for(ended.latency)] += 1;
                slot.entry.is_cut_short() || live.quick.keeps(slot.entry.started, ended.latency, self.finished.max())
            });
            let is_roomy = live.slots.is_empty() && live.slots.capacity() > MAX_EMPTY_CAPACITY;
            (slot, is_roomy.then(|| std::mem::take(&mut live.slots)), is_kept)
        };
        drop(emptied);
        if is_kept && let Some(over) = FinishedEntry::from_entry(&slot.entry) {
            self.finished.push(over);
        }
    }

    pub(super) fn finished(&self) -> &Finished {
        &self.finished
    }

    /// Returns the entry, or `None` if the entry was removed.
    pub(super) fn get(&self, place: EntryKey) -> Option<Entry> {
        self.shard(place).lock().slots.get(place.key).map(|slot| slot.entry.clone())
    }

    /// Calls `visit` with every entry, outside the locks. Entries that are inserted or removed meanwhile may be missed.
    pub(super) fn for_each(&self, mut visit: impl FnMut(Entry)) {
        for shard in &self.shards {
            shard.for_each(|_| true, &mut visit);
        }
    }

    pub(super) fn find(&self, id: u64) -> Option<Entry> {
        let mut found = None;
        self.shards[id as usize % SHARDS].for_each(|entry| entry.id == id, &mut |entry| found = Some(entry));
        found
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.shards {
            let live = shard.lock();
            totals.started += live.started;
            for (sum, count) in totals.ended.iter_mut().zip(live.ended) {
                *sum += count;
            }
        }
        totals
    }

    fn change<R>(&self, place: EntryKey, change: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        self.shard(place).lock().slots.get_mut(place.key).map(change)
    }

    fn shard(&self, place: EntryKey) -> &Shard {
        &self.shards[place.id as usize % SHARDS]
    }
}

/// Returns the number of this thread, which selects its shard.
fn number_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
    }
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(next));
            next
        })
    })
}

/// Numbers of entries since the inspector was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) started: u64,
    /// Ended entries per latency bucket.
    pub(super) ended: [u64; BUCKETS],
}

/// A part of the registry with its own lock.
#[derive(Default)]
struct Shard(Mutex<Live>);

#[derive(Default)]
struct Live {
    slots: Slab<Slot>,
    started: u64,
    ended: [u64; BUCKETS],
    quick: Quick,
}

struct Slot {
    entry: Entry,
    /// The guard of the entry's root span, if the end of the entry ends this span.
    guard: Option<Box<SpanGuard>>,
}

impl Shard {
    fn for_each(&self, wanted: impl Fn(&Entry) -> bool, visit: &mut impl FnMut(Entry)) {
        let mut from = 0;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            let end = {
                let live = self.lock();
                let end = live.slots.capacity();
                let until = end.min(from + CHUNK);
                let entries = (from..until).filter_map(|key| live.slots.get(key)).map(|slot| &slot.entry);
                chunk.extend(entries.filter(|entry| wanted(entry)).cloned());
                from = until;
                end
            };
            chunk.into_iter().for_each(&mut *visit);
            if from >= end {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        // Only an allocation can panic under the lock. Such a panic leaves the entries unchanged.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
