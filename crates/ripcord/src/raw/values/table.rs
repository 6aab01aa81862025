//! A table of the nearest value of each type, for nodes with too many values for a walk.

use std::any::TypeId;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

use super::{Way, with_values};
use crate::raw::node::{Kind, Node};

/// Stores the nearest value of every type that is visible from a node, up to the first merged context.
///
/// Uses open addressing over a power of two of slots, at most half of them full. The table is copied for each value that is
/// added, but only where a walk would be too long. It never holds more entries than there are types.
pub(super) struct Table {
    slots: Box<[Option<(TypeId, Above)>]>,
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
        let mut table = Table { slots: vec![None; (most * 2).max(1).next_power_of_two()].into(), len: 0, beyond };
        if let Some(known) = known {
            table.beyond = known.beyond;
            known.slots.iter().flatten().for_each(|(key, above)| table.put(*key, *above));
        }
        found.iter().rev().for_each(|(key, above)| table.put(*key, *above));
        table
    }

    /// Returns the node with the nearest value of the type, or else the merged context where this table ends.
    ///
    /// # Safety
    ///
    /// The table lies in `node`.
    #[inline]
    pub(super) unsafe fn nearest<'a>(&self, key: TypeId, node: &'a Node) -> Option<&'a Node> {
        // SAFETY: by the contract. No other function returns an `Above` to the caller of the table.
        self.find(key).or(self.beyond).map(|above| unsafe { above.follow(node) })
    }

    fn put(&mut self, key: TypeId, above: Above) {
        let mut at = self.start(key);
        loop {
            match &mut self.slots[at] {
                Some((known, known_above)) if *known == key => {
                    *known_above = above;
                    return;
                }
                Some(_) => at = (at + 1) & (self.slots.len() - 1),
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
            match &self.slots[at] {
                Some((known, above)) if *known == key => return Some(*above),
                Some(_) => at = (at + 1) & (self.slots.len() - 1),
                None => return None,
            }
        }
    }

    #[inline]
    fn start(&self, key: TypeId) -> usize {
        let mut hasher = Low(0);
        key.hash(&mut hasher);
        hasher.0 as usize & (self.slots.len() - 1)
    }
}

/// A plain pointer to a node above the node in which the table lies. The pointer is valid because every node above a live node
/// is alive (invariant 1). With counted references, each new value would write to the counts of all older values, which
/// requests share.
#[derive(Clone, Copy)]
struct Above(NonNull<Node>);

// SAFETY: only `follow` follows the pointer. It returns a shared reference to a `Node`, and nodes are Sync.
unsafe impl Send for Above {}
// SAFETY: as above.
unsafe impl Sync for Above {}

impl Above {
    /// # Safety
    ///
    /// The pointer comes from the table that lies in `_below`.
    unsafe fn follow(self, _below: &Node) -> &Node {
        // SAFETY: `Table::new` makes only pointers to nodes above the table's own node. That node is alive while it is
        // borrowed, so the nodes above it are alive too (invariant 1), and nodes do not move.
        unsafe { self.0.as_ref() }
    }
}

/// A hasher that returns its input, because a `TypeId` is a hash already.
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
