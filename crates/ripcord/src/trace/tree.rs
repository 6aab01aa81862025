//! All traces of one root, in one list (invariants 1 to 3).

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::handle::Trace;
use super::name::Name;
use super::span::{Data, End};
use crate::context::Context;

pub(super) struct Tree {
    limit: usize,
    /// What gives the roots of traces begun under this tree's root, which has none below itself then.
    roots: Option<Roots>,
    records: Mutex<Records>,
}

/// Gives the trace that one begun in a context lies under.
///
/// It takes no auto trait from a [`Trace`]: what a panic leaves of it is its user's to look after.
pub(super) type Roots = AssertUnwindSafe<Box<dyn Fn(&Context) -> Option<Trace> + Send + Sync>>;

struct Records {
    /// In line: most of the trees that a server makes are never more than that.
    root: Record,
    /// At most the limit. The first is at place 1.
    below: Vec<Record>,
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

impl Records {
    fn at(&self, place: u32) -> &Record {
        match place {
            Tree::ROOT => &self.root,
            place => &self.below[place as usize - 1],
        }
    }

    fn at_mut(&mut self, place: u32) -> &mut Record {
        match place {
            Tree::ROOT => &mut self.root,
            place => &mut self.below[place as usize - 1],
        }
    }
}

impl Tree {
    /// Where the root lies.
    pub(super) const ROOT: u32 = 0;

    pub(super) fn new(root: Data, limit: usize) -> Self {
        let records = Records { root: Record::new(root, NONE), below: Vec::new(), dropped: 0 };
        Tree { limit: limit.min(NONE as usize - 1), roots: None, records: Mutex::new(records) }
    }

    pub(super) fn with_roots(root: Data, roots: Roots) -> Self {
        Tree { roots: Some(roots), ..Tree::new(root, 0) }
    }

    pub(super) fn roots(&self) -> Option<&Roots> {
        self.roots.as_ref()
    }

    /// A new last child. When the tree is full it counts and gives back what it was given.
    pub(super) fn add(&self, parent: u32, data: Data) -> Result<u32, Data> {
        let mut records = self.lock();
        if records.below.len() >= self.limit {
            records.dropped += 1;
            return Err(data);
        }
        records.below.push(Record::new(data, parent));
        let at = records.below.len() as u32;
        let before = std::mem::replace(&mut records.at_mut(parent).last_child, at);
        if before == NONE {
            records.at_mut(parent).first_child = at;
        } else {
            records.at_mut(before).next = at;
        }
        Ok(at)
    }

    pub(super) fn end(&self, at: u32, end: End) {
        self.lock().at_mut(at).data.end(end);
    }

    pub(super) fn get(&self, at: u32) -> Data {
        self.lock().at(at).data.clone()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    pub(super) fn children(&self, of: u32) -> Vec<(u32, Name)> {
        let records = self.lock();
        let mut children = Vec::new();
        let mut at = records.at(of).first_child;
        while at != NONE {
            let record = records.at(at);
            children.push((at, record.data.name().clone()));
            at = record.next;
        }
        children
    }

    /// So many are in the list, the root among them.
    pub(super) fn recorded(&self) -> usize {
        1 + self.lock().below.len()
    }

    /// A trace and all below it, each before its children, with how far below it lies; the first `most` of them.
    pub(super) fn walk(&self, top: u32, most: usize) -> Vec<(usize, Data)> {
        let records = self.lock();
        let mut walk = Vec::new();
        let (mut at, mut depth) = (top, 0);
        loop {
            if walk.len() == most {
                return walk;
            }
            let mut record = records.at(at);
            walk.push((depth, record.data.clone()));
            if record.first_child != NONE {
                at = record.first_child;
                depth += 1;
                continue;
            }
            // The next to the right, of this one or of the nearest above that has one.
            while at != top && record.next == NONE {
                at = record.parent;
                record = records.at(at);
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
