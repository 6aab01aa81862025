//! The queue of a clock's deadlines. It is exact for manual clocks and tokio's clocks, and a timing wheel for the system's
//! clock.

use std::collections::BTreeMap;

use super::wheel::{Due, Timed, Wheel};
use crate::slab::Slab;

/// A queue of deadlines, each under the key that `insert` returned.
pub(crate) enum Queue<T> {
    Exact(Exact<T>),
    Wheel(Box<Wheel<T>>),
}

impl<T: Timed> Queue<T> {
    pub(crate) fn exact() -> Self {
        Queue::Exact(Exact { order: BTreeMap::new(), entries: Slab::new(), sequence: 0 })
    }

    pub(crate) fn wheel() -> Self {
        Queue::Wheel(Box::new(Wheel::new()))
    }

    pub(crate) fn is_exact(&self) -> bool {
        matches!(self, Queue::Exact(_))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Queue::Exact(queue) => queue.order.len(),
            Queue::Wheel(queue) => queue.len(),
        }
    }

    pub(crate) fn insert(&mut self, target: T) -> u32 {
        match self {
            Queue::Exact(queue) => queue.insert(target),
            Queue::Wheel(queue) => queue.insert(target),
        }
    }

    pub(crate) fn remove(&mut self, key: u32) {
        match self {
            Queue::Exact(queue) => queue.remove(key),
            Queue::Wheel(queue) => queue.remove(key),
        }
    }

    pub(crate) fn pop_due(&mut self, now: i64) -> Due<T> {
        match self {
            Queue::Exact(queue) => queue.pop_due(now),
            Queue::Wheel(queue) => queue.pop_due(now),
        }
    }

    /// Returns the first entry of an exact queue.
    pub(crate) fn first(&self) -> Option<&T> {
        match self {
            Queue::Exact(queue) => queue.first(),
            Queue::Wheel(_) => None,
        }
    }

    /// Returns the first deadline, or an earlier time at which to call `pop_due`.
    pub(crate) fn next(&self) -> Option<i64> {
        match self {
            Queue::Exact(queue) => queue.order.keys().next().map(|key| key.0),
            Queue::Wheel(queue) => queue.next(),
        }
    }
}

/// Entries in the order of their deadlines. Entries with equal deadlines are in the order of insertion.
pub(crate) struct Exact<T> {
    order: BTreeMap<(i64, u64), u32>,
    entries: Slab<(u64, T)>,
    sequence: u64,
}

impl<T: Timed> Exact<T> {
    fn insert(&mut self, target: T) -> u32 {
        self.sequence += 1;
        let when = target.when();
        let key = self.entries.insert((self.sequence, target));
        self.order.insert((when, self.sequence), key);
        key
    }

    fn remove(&mut self, key: u32) {
        if let Some((sequence, target)) = self.entries.remove(key) {
            self.order.remove(&(target.when(), sequence));
        }
    }

    fn first(&self) -> Option<&T> {
        let (_, key) = self.order.iter().next()?;
        self.entries.get(*key).map(|(_, target)| target)
    }

    fn pop_due(&mut self, now: i64) -> Due<T> {
        let Some((&(when, sequence), &key)) = self.order.iter().next() else { return Due::Later(i64::MAX) };
        if when > now {
            return Due::Later(when);
        }
        self.order.remove(&(when, sequence));
        match self.entries.remove(key) {
            Some((_, target)) => Due::Entry(target),
            None => Due::Busy,
        }
    }
}
