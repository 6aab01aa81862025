//! The bound contexts by their IDs, and the IDs whose markers must be read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord::{CancelHandle, Cause, Context};

#[derive(Default)]
pub(super) struct Registry(Mutex<Ids>);

#[derive(Default)]
struct Ids {
    /// The contexts of each ID, by their numbers.
    bound: HashMap<Arc<str>, BTreeMap<u64, Entry>>,
    /// The IDs whose markers must be read. All are in `bound`.
    unread: HashSet<Arc<str>>,
    /// The IDs whose markers are being read.
    reading: usize,
    next: u64,
    contexts: usize,
}

/// A bound context. It holds the node that a cancel ends, and not the node with the registration, so that the registration ends
/// when the user drops the context.
pub(super) struct Entry {
    ctx: Context,
    handle: CancelHandle,
    location: &'static Location<'static>,
    since: Instant,
}

/// A context that is bound to an ID. Returned by [`Hub::bound`](crate::Hub::bound).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BoundContext {
    /// The ID.
    pub id: Arc<str>,
    /// The [name](Context::name) of the context. `None` if it has no name.
    pub name: Option<String>,
    /// The line of code that called [`bind`](crate::ContextExt::bind).
    pub location: &'static Location<'static>,
    /// The time since the context was bound.
    pub age: Duration,
    /// The time until the context's deadline. `None` if it has no deadline.
    pub remaining: Option<Duration>,
}

impl Entry {
    pub(super) fn new(ctx: Context, handle: CancelHandle, location: &'static Location<'static>) -> Self {
        let since = ctx.clock().now();
        Entry { ctx, handle, location, since }
    }

    pub(super) fn cancel(&self, cause: &Cause) {
        self.handle.cancel_at(cause.clone(), self.location);
    }

    fn describe(&self, id: &Arc<str>) -> BoundContext {
        BoundContext {
            id: Arc::clone(id),
            name: self.ctx.name().map(str::to_owned),
            location: self.location,
            age: self.ctx.clock().now().saturating_duration_since(self.since),
            remaining: self.ctx.remaining(),
        }
    }
}

impl Registry {
    /// Adds a context. Returns its number.
    pub(super) fn add(&self, id: &Arc<str>, entry: Entry) -> u64 {
        let mut ids = self.lock();
        let number = ids.next;
        ids.next += 1;
        ids.contexts += 1;
        ids.bound.entry(Arc::clone(id)).or_default().insert(number, entry);
        ids.unread.insert(Arc::clone(id));
        number
    }

    /// Removes a context, unless it was removed before.
    pub(super) fn remove(&self, id: &str, number: u64) {
        let mut ids = self.lock();
        let Some(contexts) = ids.bound.get_mut(id) else { return };
        let removed = contexts.remove(&number);
        if contexts.is_empty() {
            ids.bound.remove(id);
            ids.unread.remove(id);
        }
        ids.contexts -= usize::from(removed.is_some());
        // Invariant 4 of the hub.
        drop(ids);
        drop(removed);
    }

    /// Removes and returns the contexts of an ID.
    pub(super) fn take(&self, id: &str) -> Vec<Entry> {
        let mut ids = self.lock();
        ids.unread.remove(id);
        let taken: Vec<Entry> = ids.bound.remove(id).into_iter().flat_map(BTreeMap::into_values).collect();
        ids.contexts -= taken.len();
        taken
    }

    /// Returns the IDs whose markers must be read. The caller then calls [`finish_reading`](Self::finish_reading).
    pub(super) fn begin_reading(&self) -> Vec<Arc<str>> {
        let mut ids = self.lock();
        let unread = std::mem::take(&mut ids.unread);
        ids.reading = unread.len();
        unread.into_iter().collect()
    }

    /// Ends the reading. The markers of `failed` must be read again.
    pub(super) fn finish_reading(&self, failed: &[Arc<str>]) {
        let mut ids = self.lock();
        ids.reading = 0;
        for id in failed {
            if ids.bound.contains_key(id) {
                ids.unread.insert(Arc::clone(id));
            }
        }
    }

    /// Keeps the IDs that are still bound.
    pub(super) fn retain_bound(&self, batch: &[Arc<str>]) -> Vec<Arc<str>> {
        let ids = self.lock();
        batch.iter().filter(|id| ids.bound.contains_key(*id)).cloned().collect()
    }

    /// Records that all markers must be read again.
    pub(super) fn forget_reads(&self) {
        let mut ids = self.lock();
        let Ids { bound, unread, .. } = &mut *ids;
        unread.extend(bound.keys().cloned());
    }

    /// Returns the numbers of contexts, of IDs, and of IDs whose markers were not read yet.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let ids = self.lock();
        (ids.contexts, ids.bound.len(), ids.unread.len() + ids.reading)
    }

    pub(super) fn list(&self) -> Vec<BoundContext> {
        let mut list: Vec<BoundContext> = {
            let ids = self.lock();
            ids.bound.iter().flat_map(|(id, contexts)| contexts.values().map(|entry| entry.describe(id))).collect()
        };
        list.sort_by(|one, other| one.id.cmp(&other.id).then(other.age.cmp(&one.age)));
        list
    }

    fn lock(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
