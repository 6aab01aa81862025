//! Finds a value by its type: by a walk while there are few values, and otherwise by a table.

mod table;

use std::any::TypeId;
use std::collections::HashSet;
use std::ops::Deref;
use std::ptr::NonNull;

use self::table::Table;
use super::node::{Kind, Merge, Node, flag};
use crate::value::Value;

/// A value's type, a pointer to the value, and the way to the values above it. It lies in an [`OwnedValue`].
pub(crate) struct ValueEntry {
    key: TypeId,
    /// The value, which lies right behind this entry.
    value: NonNull<dyn Value>,
    /// Drops and frees the entry and the value.
    free: unsafe fn(NonNull<ValueEntry>),
    way: Way,
}

// SAFETY: the pointer is to a value, which is Send + Sync and owned with this entry. It is followed only to share the value.
unsafe impl Send for ValueEntry {}
// SAFETY: as above.
unsafe impl Sync for ValueEntry {}

impl ValueEntry {
    pub(crate) fn value(&self) -> &dyn Value {
        // SAFETY: the value lives as long as this entry, and is only ever shared.
        unsafe { self.value.as_ref() }
    }

    /// Returns the value, if it is of type `V`.
    fn get<V: Value>(&self) -> Option<&V> {
        if self.key != TypeId::of::<V>() {
            return None;
        }
        // SAFETY: `new` stores a value of the type in `key`, and neither is changed. For the lifetime see `value`. (A checked
        // downcast would ask the value for its type, with two more dependent loads and a call. That is half the cost of a
        // lookup.)
        Some(unsafe { self.value.cast::<V>().as_ref() })
    }
}

/// A value and its entry in one allocation, held by one word. A request has several values, and half the cost of a value is the
/// allocation.
pub(crate) struct OwnedValue(NonNull<ValueEntry>);

// SAFETY: an `OwnedValue` owns its entry and value, which are Send + Sync.
unsafe impl Send for OwnedValue {}
// SAFETY: as above.
unsafe impl Sync for OwnedValue {}

/// The allocation: an entry and its value.
#[repr(C)]
struct Whole<V> {
    // The entry is the first field, so that a pointer to the entry is a pointer to the whole.
    entry: ValueEntry,
    value: V,
}

/// Fails to compile when a field is added. `OwnedValue::new` has to write that field too, and the compiler does not report a
/// missing one.
const _: fn(&Whole<()>) = |whole| {
    let Whole { entry: ValueEntry { key: _, value: _, free: _, way: _ }, value: () } = whole;
};

impl OwnedValue {
    pub(crate) fn new<V: Value>(value: V, parent: Option<&Node>) -> Self {
        let key = TypeId::of::<V>();
        let way = Way::below(parent, key);
        let whole = NonNull::from(Box::leak(Box::<Whole<V>>::new_uninit())).cast::<Whole<V>>();
        // SAFETY: `whole` points to memory for a `Whole` that nothing else refers to. All of it is written here, each part in
        // its place (see `NodeRef::allocate`). Both pointers are derived from `whole` and not from a reference to a part. So
        // the entry's pointer may be used for the whole, and a reference to one part does not invalidate the pointer to the
        // other part.
        unsafe {
            let place = NonNull::new_unchecked(&raw mut (*whole.as_ptr()).value);
            place.write(value);
            let entry = &raw mut (*whole.as_ptr()).entry;
            (&raw mut (*entry).key).write(key);
            (&raw mut (*entry).value).write(place);
            (&raw mut (*entry).free).write(Whole::<V>::free);
            (&raw mut (*entry).way).write(way);
        }
        OwnedValue(whole.cast())
    }
}

impl Deref for OwnedValue {
    type Target = ValueEntry;

    #[inline]
    fn deref(&self) -> &ValueEntry {
        // SAFETY: the entry lives until this `OwnedValue` is dropped, and is not changed after `new`.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedValue {
    #[inline]
    fn drop(&mut self) {
        let free = self.free;
        // SAFETY: `new` stored the function that frees its allocation, and the function is called once.
        unsafe { free(self.0) }
    }
}

impl<V> Whole<V> {
    /// # Safety
    ///
    /// `entry` is from `OwnedValue::new` of a value of type `V`, and this is its last use.
    unsafe fn free(entry: NonNull<ValueEntry>) {
        // SAFETY: by the contract the allocation is a `Whole<V>` from a box, and the entry lies at its start.
        drop(unsafe { Box::from_raw(entry.cast::<Whole<V>>().as_ptr()) });
    }
}

/// The way to the values at and above a value.
enum Way {
    /// A walk of this length.
    Walk(Walk),
    /// A table of all values above.
    Table(Table),
}

impl Way {
    /// Returns the way for a new value of the type `key` under `parent`.
    fn below(parent: Option<&Node>, key: TypeId) -> Way {
        match Walk::below(parent, key) {
            Some(walk) => Way::Walk(walk),
            None => Way::Table(Table::new(parent)),
        }
    }
}

/// Maximum number of types above a value that are found by a walk. A request has about this many values, each set and looked up
/// a few times.
const SHORT: u8 = 5;
/// Maximum number of nodes above a value that a walk visits.
const FAR: u8 = 12;

/// An upper bound for the length of a walk to the root, or to the nearest merged context. A type that is set again after
/// another type counts twice.
#[derive(Clone, Copy)]
struct Walk {
    types: u8,
    nodes: u8,
}

impl Walk {
    /// Returns `None` if the walk would be too long. Visits nodes only up to the nearest value, which stores the length of the
    /// rest of the walk.
    fn below(parent: Option<&Node>, key: TypeId) -> Option<Walk> {
        let mut walk = Walk { types: 0, nodes: 0 };
        for node in with_values(parent) {
            match node.kind() {
                Kind::Value(ValueEntry { way: Way::Table(_), .. }) => return None,
                Kind::Value(ValueEntry { key: above, way: Way::Walk(on), .. }) => {
                    // A run of values of one type, such as spans, counts as one type.
                    walk.types = on.types - u8::from(*above == key);
                    walk.nodes += on.nodes;
                    break;
                }
                Kind::Merge(_) => break,
                _ => walk.nodes += 1,
            }
            if walk.nodes > FAR {
                return None;
            }
        }
        let is_short = walk.types <= SHORT && walk.nodes <= FAR;
        is_short.then_some(Walk { types: walk.types + 1, nodes: walk.nodes + 1 })
    }
}

/// Returns the nearest value of a type at or above a node.
pub(crate) fn find<V: Value>(node: &Node) -> Option<&V> {
    match node.kind() {
        Kind::Value(entry) if entry.key == TypeId::of::<V>() => entry.get(),
        _ => find_above(node, TypeId::of::<V>())?.get(),
    }
}

fn find_above(mut node: &Node, key: TypeId) -> Option<&ValueEntry> {
    while node.flags & flag::VALUES != 0 {
        match step(node, key) {
            Step::Found(entry) => return Some(entry),
            Step::On(next) => node = next?,
            Step::Fork(merge) => return find_in_both(node, merge, key),
        }
    }
    None
}

/// The step of a search from one node.
enum Step<'a> {
    Found(&'a ValueEntry),
    On(Option<&'a Node>),
    Fork(&'a Merge),
}

#[inline]
fn step(node: &Node, key: TypeId) -> Step<'_> {
    match node.kind() {
        Kind::Value(entry) if entry.key == key => Step::Found(entry),
        Kind::Value(entry) => Step::On(match &entry.way {
            Way::Walk(_) => node.parent.as_deref(),
            // SAFETY: the table lies in `node`.
            Way::Table(table) => unsafe { table.nearest(key, node) },
        }),
        Kind::Merge(merge) => Step::Fork(merge),
        _ => Step::On(node.parent.as_deref()),
    }
}

/// Searches the values above a merged context: first those of its first parent, then those of the other parent. Uses a list,
/// because merged contexts may lie above merged contexts. Visits each merged context once.
fn find_in_both<'a>(node: &'a Node, merge: &'a Merge, key: TypeId) -> Option<&'a ValueEntry> {
    let mut seen: HashSet<*const Merge> = HashSet::from([&raw const *merge]);
    let mut pending = vec![&*merge.other];
    let mut at = node.parent.as_deref();
    loop {
        let node = at.or_else(|| pending.pop())?;
        at = match step(node, key) {
            Step::Found(entry) => return Some(entry),
            Step::On(next) => next,
            Step::Fork(merge) if seen.insert(&raw const *merge) => {
                pending.push(&merge.other);
                node.parent.as_deref()
            }
            Step::Fork(_) => None,
        };
    }
}

/// Returns every value of a type at or above a node, each once. Above a merged context, the values of both sides are included.
pub(crate) fn all<V: Value>(node: &Node) -> Vec<&V> {
    let key = TypeId::of::<V>();
    let mut found: Vec<&V> = Vec::new();
    let mut seen: HashSet<*const Merge> = HashSet::new();
    let mut pending = Vec::new();
    let mut at = Some(node);
    loop {
        let Some(node) = at.or_else(|| pending.pop()) else { return found };
        at = None;
        if node.flags & flag::VALUES == 0 {
            continue;
        }
        at = match step(node, key) {
            Step::Found(entry) => {
                // Both sides of a merged context may lead to this value.
                let value = entry.get::<V>().filter(|value| !found.iter().any(|known| std::ptr::eq(*known, *value)));
                found.extend(value);
                node.parent.as_deref()
            }
            Step::On(next) => next,
            Step::Fork(merge) if seen.insert(&raw const *merge) => {
                pending.push(&*merge.other);
                node.parent.as_deref()
            }
            Step::Fork(_) => None,
        };
    }
}

/// Returns the nodes from `parent` up that have values at or above them.
fn with_values(parent: Option<&Node>) -> impl Iterator<Item = &Node> {
    let has_values = |node: &&Node| node.flags & flag::VALUES != 0;
    std::iter::successors(parent.filter(has_values), move |node| node.parent.as_deref().filter(has_values))
}
