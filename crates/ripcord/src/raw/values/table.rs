//! Where the nearest value of each type lies, when there are too many to walk.

use std::any::TypeId;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

use super::{Way, with_values};
use crate::raw::node::{Kind, Node};

/// Every type visible from a node, up to the first merged context: where its nearest value lies.
///
/// Open addressing over a power of two of places, at most half of them full. It is copied for each value that is added, but
/// only where a walk would be too long, and it never holds more than there are types.
pub(super) struct Table {
    places: Box<[Option<(TypeId, Above)>]>,
    len: usize,
    /// The merged context where this table ends.
    beyond: Option<Above>,
}

impl Table {
    pub(super) fn new(parent: Option<&Node>) -> Table {
        let mut found: Vec<(TypeId, Above)> = Vec::new();
        let mut beyond = None;
        let mut known: Option<&Table> = None;
        for node in with_values(parent) {
            match node.kind() {
                Kind::Value(entry) => {
                    if !found.iter().any(|(key, _)| *key == entry.key) {
                        found.push((entry.key, Above(NonNull::from(node))));
                    }
                    if let Way::Table(table) = &entry.way {
                        known = Some(table);
                        break;
                    }
                }
                Kind::Merge(_) => {
                    beyond = Some(Above(NonNull::from(node)));
                    break;
                }
                _ => {}
            }
        }
        let most = found.len() + known.map_or(0, |table| table.len);
        let mut table = Table { places: vec![None; (most * 2).max(1).next_power_of_two()].into(), len: 0, beyond };
        if let Some(known) = known {
            table.beyond = known.beyond;
            known.places.iter().flatten().for_each(|(key, above)| table.put(*key, *above));
        }
        found.iter().rev().for_each(|(key, above)| table.put(*key, *above));
        table
    }

    /// The node with the nearest value of the type, or else the merged context where this table ends.
    ///
    /// # Safety
    ///
    /// The table lies in `node`.
    #[inline]
    pub(super) unsafe fn nearest<'a>(&self, key: TypeId, node: &'a Node) -> Option<&'a Node> {
        // SAFETY: by the contract, and `Above`s are handed out by no other function.
        self.find(key).or(self.beyond).map(|above| unsafe { above.follow(node) })
    }

    fn put(&mut self, key: TypeId, above: Above) {
        let mut at = self.start(key);
        loop {
            match &mut self.places[at] {
                Some((known, known_above)) if *known == key => {
                    *known_above = above;
                    return;
                }
                Some(_) => at = (at + 1) & (self.places.len() - 1),
                free => {
                    *free = Some((key, above));
                    self.len += 1;
                    return;
                }
            }
        }
    }

    #[inline]
    fn find(&self, key: TypeId) -> Option<Above> {
        let mut at = self.start(key);
        loop {
            match &self.places[at] {
                Some((known, above)) if *known == key => return Some(*above),
                Some(_) => at = (at + 1) & (self.places.len() - 1),
                None => return None,
            }
        }
    }

    #[inline]
    fn start(&self, key: TypeId) -> usize {
        let mut hasher = Low(0);
        key.hash(&mut hasher);
        hasher.0 as usize & (self.places.len() - 1)
    }
}

/// A node above the one that the table lies in: a plain pointer, since whoever is above a live node is alive (invariant 1). A
/// table of counted references would make each new value write to the counts of all the older ones, which requests share.
#[derive(Clone, Copy)]
struct Above(NonNull<Node>);

// SAFETY: it is followed only by `follow`, which gives a shared reference to a `Node`, and those are Sync.
unsafe impl Send for Above {}
// SAFETY: as above.
unsafe impl Sync for Above {}

impl Above {
    /// # Safety
    ///
    /// It comes from the table that lies in `_below`.
    unsafe fn follow(self, _below: &Node) -> &Node {
        // SAFETY: `Table::new` makes pointers to nodes above the table's own alone; that one is alive while it is
        // borrowed, so those above are too (invariant 1), and nodes do not move.
        unsafe { self.0.as_ref() }
    }
}

/// A `TypeId` is a hash already; this takes what it gives.
struct Low(u64);

impl Hasher for Low {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = part;
    }
}
