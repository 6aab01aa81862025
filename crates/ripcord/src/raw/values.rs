//! Finding a value by its type: by walking while there are few, by a table else.

use std::any::{Any, TypeId};
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

use super::node::{Node, Payload, flag};
use crate::value::Value;

/// The value of a type that is nearest at or above a node.
pub(crate) fn find<V: Value>(node: &Node) -> Option<&V> {
    let key = TypeId::of::<V>();
    let mut pending: Vec<&Node> = Vec::new();
    let mut seen: Vec<*const ()> = Vec::new();
    let mut at = Some(node);
    loop {
        let Some(node) = at.or_else(|| pending.pop()) else { return None };
        at = None;
        if node.flags & flag::VALUES == 0 {
            continue;
        }
        match &node.payload {
            Payload::Value(entry) => {
                if entry.key == key {
                    return (&*entry.value as &dyn Any).downcast_ref();
                }
                at = match &entry.table {
                    None => node.parent.as_deref(),
                    Some(table) => match table.find(key) {
                        // SAFETY: the table lies in `node`.
                        Some(found) => Some(unsafe { found.follow(node) }),
                        // SAFETY: as above.
                        None => table.beyond.map(|beyond| unsafe { beyond.follow(node) }),
                    },
                };
            }
            Payload::Merge(merge) => {
                let this = std::ptr::from_ref(&**merge).cast();
                if !seen.contains(&this) {
                    seen.push(this);
                    pending.push(&merge.other);
                    at = node.parent.as_deref();
                }
            }
            _ => at = node.parent.as_deref(),
        }
    }
}

/// Every type visible from a node, up to the first merged context: where its nearest value lies.
///
/// Open addressing over a power of two of places, at most half of them full. It is copied for each value that is added, but
/// only where a walk would be longer than [`SHORT`], and it never holds more than there are types.
pub(crate) struct Table {
    places: Box<[Option<(TypeId, Above)>]>,
    len: usize,
    /// The merged context where this table ends.
    beyond: Option<Above>,
}

/// So many values are found by walking.
const SHORT: usize = 3;

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
        // SAFETY: `Table::below` makes pointers to nodes above the table's own alone; that one is alive while it is
        // borrowed, so those above are too (invariant 1), and nodes do not move.
        unsafe { self.0.as_ref() }
    }
}

impl Table {
    /// The table of a new value under `parent`, which says where the values above it are.
    pub(crate) fn below(parent: Option<&Node>) -> Option<Table> {
        let mut found: Vec<(TypeId, Above)> = Vec::new();
        let mut beyond = None;
        let mut known: Option<&Table> = None;
        let mut at = parent.filter(|node| node.flags & flag::VALUES != 0);
        while let Some(node) = at {
            match &node.payload {
                Payload::Value(entry) => {
                    if !found.iter().any(|(key, _)| *key == entry.key) {
                        found.push((entry.key, Above(NonNull::from(node))));
                    }
                    if let Some(table) = &entry.table {
                        known = Some(table);
                        break;
                    }
                }
                Payload::Merge(_) => {
                    beyond = Some(Above(NonNull::from(node)));
                    break;
                }
                _ => {}
            }
            at = node.parent.as_deref().filter(|node| node.flags & flag::VALUES != 0);
        }
        let most = found.len() + known.map_or(0, |table| table.len);
        if most < SHORT {
            return None;
        }
        let mut table = Table { places: vec![None; (most * 2).next_power_of_two()].into(), len: 0, beyond };
        if let Some(known) = known {
            table.beyond = known.beyond;
            known.places.iter().flatten().for_each(|(key, above)| table.put(*key, *above));
        }
        found.iter().rev().for_each(|(key, above)| table.put(*key, *above));
        Some(table)
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

