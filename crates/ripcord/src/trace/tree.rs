//! All traces of one root, in one list (invariants 1 to 3).

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::name::Name;
use super::span::{Data, End};

pub(super) struct Tree {
    limit: usize,
    records: Mutex<Records>,
}

struct Records {
    /// Never empty; at most the limit and the root.
    list: Vec<Record>,
    dropped: u64,
}

struct Record {
    data: Data,
    parent: u32,
    first_child: u32,
    last_child: u32,
    next: u32,
}

/// No place in the list.
const NONE: u32 = u32::MAX;

impl Record {
    fn new(data: Data, parent: u32) -> Self {
        Record { data, parent, first_child: NONE, last_child: NONE, next: NONE }
    }
}

impl Tree {
    /// Where the root lies.
    pub(super) const ROOT: u32 = 0;

    pub(super) fn new(root: Data, limit: usize) -> Self {
        let list = vec![Record::new(root, NONE)];
        Tree { limit: limit.min(NONE as usize - 1), records: Mutex::new(Records { list, dropped: 0 }) }
    }

    /// A new last child. When the tree is full it counts and gives back what it was given.
    pub(super) fn add(&self, parent: u32, data: Data) -> Result<u32, Data> {
        let mut records = self.lock();
        let at = records.list.len();
        if at > self.limit {
            records.dropped += 1;
            return Err(data);
        }
        let list = &mut records.list;
        list.push(Record::new(data, parent));
        let at = at as u32;
        let before = std::mem::replace(&mut list[parent as usize].last_child, at);
        if before == NONE {
            list[parent as usize].first_child = at;
        } else {
            list[before as usize].next = at;
        }
        Ok(at)
    }

    pub(super) fn end(&self, at: u32, end: End) {
        self.lock().list[at as usize].data.end(end);
    }

    pub(super) fn get(&self, at: u32) -> Data {
        self.lock().list[at as usize].data.clone()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(super) fn children(&self, of: u32) -> Vec<(u32, Name)> {
        let records = self.lock();
        let mut children = Vec::new();
        let mut at = records.list[of as usize].first_child;
        while at != NONE {
            let record = &records.list[at as usize];
            children.push((at, record.data.name().clone()));
            at = record.next;
        }
        children
    }

    /// A trace and all below it, each before its children, with how far below it lies.
    pub(super) fn walk(&self, top: u32) -> Vec<(usize, Data)> {
        let records = self.lock();
        let mut walk = Vec::new();
        let (mut at, mut depth) = (top, 0);
        loop {
            let mut record = &records.list[at as usize];
            walk.push((depth, record.data.clone()));
            if record.first_child != NONE {
                at = record.first_child;
                depth += 1;
                continue;
            }
            // The next to the right, of this one or of the nearest above that has one.
            while at != top && record.next == NONE {
                at = record.parent;
                record = &records.list[at as usize];
                depth -= 1;
            }
            if at == top {
                return walk;
            }
            at = record.next;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // What could panic under the lock is an allocation, and then the list is as it was.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
