//! All that is under way.
//!
//! # Invariants
//!
//! 1. An entry is in its shard from `insert` until the last context of its work is dropped, and is taken out once.
//! 2. An entry holds the context above the value that takes it out, and nothing below: so it does not keep itself alive.
//! 3. Under a shard's lock entries are put in, changed, taken out, cloned by reference and counted, and nothing else: no clock is
//!    read, nothing is formatted or dropped, no subscriber is told.
//! 4. Whoever reads takes a shard's entries in chunks, so that no request waits for longer than one of them.
//!
//! An entry lies in its shard itself, since what is allocated for each request is what it would cost most.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::StatusCode;
use ripcord::{CancelHandle, Context, Trace, TraceGuard};
use slab::Slab;

use super::entry::{Ended, Entry, Kind, Over};
use super::finished::{BUCKETS, Finished, Quick, bucket_of};
use crate::server::Place;

/// More than one, so that threads rarely meet.
const SHARDS: usize = 16;
/// How many entries a reader takes under one lock.
const CHUNK: usize = 32;
/// A slab that has become empty gives its memory back if it had room for more than this.
const ROOMY: usize = 1024;

pub(super) struct Registry {
    shards: [Shard; SHARDS],
    finished: Finished,
}

impl Registry {
    pub(super) fn new(kept: usize) -> Self {
        Registry { shards: std::array::from_fn(|_| Shard::default()), finished: Finished::new(kept) }
    }

    /// Puts in work that is under way since `begun`. `ctx` is the one above the value that is to take it out.
    pub(super) fn insert(&self, kind: Kind, begun: Instant, ctx: Context, cancel: CancelHandle) -> Place {
        let number = number_of_thread() % SHARDS;
        let mut live = self.shards[number].lock();
        let id = live.started * SHARDS as u64 + number as u64;
        live.started += 1;
        let entry = Entry { id, kind, begun, ctx, cancel, status: None, trace: None, ended: None };
        Place { id, key: live.slots.insert(Slot { entry, guard: None }) }
    }

    /// Notes what it was answered with.
    pub(super) fn answered(&self, place: Place, status: StatusCode) {
        self.change(place, |slot| slot.entry.status = Some(status));
    }

    /// Gives it the trace that its calls lie under, unless it has one: which that is, and what is to be dropped.
    pub(super) fn begin_trace(
        &self,
        place: Place,
        trace: Trace,
        guard: Option<TraceGuard>,
    ) -> (Trace, Option<TraceGuard>) {
        let mut offered = Some((trace.clone(), guard));
        let known = self.change(place, |slot| match &slot.entry.trace {
            Some(known) => known.clone(),
            None => {
                if let Some((trace, guard)) = offered.take() {
                    slot.entry.trace = Some(trace);
                    // What is over is no longer under way.
                    if slot.entry.ended.is_none() {
                        slot.guard = guard.map(Box::new);
                    } else {
                        offered = guard.map(|guard| (guard.trace().clone(), Some(guard)));
                    }
                }
                trace.clone()
            }
        });
        (known.unwrap_or(trace), offered.and_then(|(_, guard)| guard))
    }

    /// It was answered, or given up. Gives what ends its trace when it is dropped.
    pub(super) fn end(&self, place: Place, ended: Ended) -> Option<Box<TraceGuard>> {
        let mut ended = Some(ended);
        self.change(place, |slot| {
            if slot.entry.ended.is_none() {
                slot.entry.ended = ended.take();
            }
            slot.guard.take()
        })?
    }

    /// As `end`, of one whose trace tells how it ended.
    pub(super) fn take_guard(&self, place: Place) -> Option<Box<TraceGuard>> {
        self.change(place, |slot| slot.guard.take())?
    }

    /// Takes it out (invariant 1): it has ended, and its last context is being dropped.
    pub(super) fn remove(&self, place: Place) {
        let (slot, emptied, is_kept) = {
            let mut live = self.shard(place).lock();
            let Some(slot) = live.slots.try_remove(place.key) else { return };
            let is_kept = slot.entry.ended.as_ref().is_some_and(|ended| {
                live.ended[bucket_of(ended.latency)] += 1;
                slot.entry.is_cut_short() || live.quick.keeps(slot.entry.begun, ended.latency, self.finished.most())
            });
            let is_roomy = live.slots.is_empty() && live.slots.capacity() > ROOMY;
            (slot, is_roomy.then(|| std::mem::take(&mut live.slots)), is_kept)
        };
        drop(emptied);
        if is_kept && let Some(over) = Over::of(&slot.entry) {
            self.finished.push(over);
        }
    }

    pub(super) fn finished(&self) -> &Finished {
        &self.finished
    }

    /// As it is now; `None` when it is over.
    pub(super) fn get(&self, place: Place) -> Option<Entry> {
        self.shard(place).lock().slots.get(place.key).map(|slot| slot.entry.clone())
    }

    /// Gives every entry to `visit`, outside of the locks. What comes or goes meanwhile may be missed.
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

    fn change<R>(&self, place: Place, change: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        self.shard(place).lock().slots.get_mut(place.key).map(change)
    }

    fn shard(&self, place: Place) -> &Shard {
        &self.shards[place.id as usize % SHARDS]
    }
}

/// Threads have numbers, so that each has a shard.
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

/// How many there have ever been.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) started: u64,
    /// By bucket of latency.
    pub(super) ended: [u64; BUCKETS],
}

/// A part of the registry with a lock of its own.
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
    /// Of the trace, when it is this that ends it.
    guard: Option<Box<TraceGuard>>,
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
        // What could panic under the lock is an allocation, and then the entries are as they were.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
