//! All spans of one root, in one list (invariants 1 to 3).

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::handle::Span;
use super::name::Name;
use super::snapshot::{Data, End};
use crate::context::Context;

pub(super) struct Tree {
    limit: usize,
    /// Creates the roots of spans started below this tree's root. Such a tree has no spans of its own.
    lazy_roots: Option<LazyRoots>,
    records: Mutex<Records>,
}

/// Returns the parent of a span that is started in a context.
///
/// Unwind safe, so that a [`Span`] is unwind safe. The author of the closure is responsible for its state after a panic.
pub(super) type LazyRoots = AssertUnwindSafe<Box<dyn Fn(&Context) -> Option<Span> + Send + Sync>>;

struct Records {
    /// Stored inline, because most trees of a server have only a root.
    root: Record,
    /// At most `limit` records. The first record has index 1.
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

/// No index.
const NONE: u32 = u32::MAX;

impl Record {
    fn new(data: Data, parent: u32) -> Self {
        Record { data, parent, first_child: NONE, last_child: NONE, next: NONE }
    }
}

impl Records {
    fn at(&self, index: u32) -> &Record {
        match index {
            Tree::ROOT => &self.root,
            index => &self.below[index as usize - 1],
        }
    }

    fn at_mut(&mut self, index: u32) -> &mut Record {
        match index {
            Tree::ROOT => &mut self.root,
            index => &mut self.below[index as usize - 1],
        }
    }
}

impl Tree {
    /// The index of the root.
    pub(super) const ROOT: u32 = 0;

    pub(super) fn new(root: Data, limit: usize) -> Self {
        let records = Records { root: Record::new(root, NONE), below: Vec::new(), dropped: 0 };
        Tree { limit: limit.min(NONE as usize - 1), lazy_roots: None, records: Mutex::new(records) }
    }

    pub(super) fn with_lazy_roots(root: Data, lazy_roots: LazyRoots) -> Self {
        Tree { lazy_roots: Some(lazy_roots), ..Tree::new(root, 0) }
    }

    pub(super) fn lazy_roots(&self) -> Option<&LazyRoots> {
        self.lazy_roots.as_ref()
    }

    /// Adds a last child and returns its index. If the tree is full, counts the span as dropped and returns its data.
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

    /// Returns a span and all spans below it, with their depths. Each span comes before its children.
    pub(super) fn walk(&self, top: u32) -> Vec<(usize, Data)> {
        let records = self.lock();
        let mut walk = Vec::new();
        let (mut at, mut depth) = (top, 0);
        loop {
            let mut record = records.at(at);
            walk.push((depth, record.data.clone()));
            if record.first_child != NONE {
                at = record.first_child;
                depth += 1;
                continue;
            }
            // The next sibling of this span, or of its nearest ancestor that has one.
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
        // Only an allocation can panic under the lock, and it leaves the list unchanged.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
