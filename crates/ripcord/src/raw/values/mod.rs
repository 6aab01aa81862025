//! Finding a value by its type: by walking while there are few, by a table else.

mod table;

use std::any::TypeId;
use std::collections::HashSet;
use std::ops::Deref;
use std::ptr::NonNull;

use self::table::Table;
use super::node::{Kind, Merge, Node, flag};
use crate::value::Value;

/// A value, its type, and how what is visible from here is found. It lies in an [`OwnedValue`].
pub(crate) struct ValueEntry {
    key: TypeId,
    /// Where the value lies: right behind this.
    value: NonNull<dyn Value>,
    /// Drops and frees both.
    free: unsafe fn(NonNull<ValueEntry>),
    way: Way,
}

// SAFETY: the pointer is to a value, which is Send + Sync and owned with this; it is followed only to share it.
unsafe impl Send for ValueEntry {}
// SAFETY: as above.
unsafe impl Sync for ValueEntry {}

impl ValueEntry {
    pub(crate) fn value(&self) -> &dyn Value {
        // SAFETY: the value lives as long as this, and is only ever shared.
        unsafe { self.value.as_ref() }
    }

    /// The value, if it is of this type.
    #[inline]
    fn get<V: Value>(&self) -> Option<&V> {
        if self.key != TypeId::of::<V>() {
            return None;
        }
        // SAFETY: `new` stores a value of the type that `key` names, and neither is changed; for its life see `value`. (A checked
        // downcast would ask the value for its type by two more dependent loads and a call: half of what finding one costs.)
        Some(unsafe { self.value.cast::<V>().as_ref() })
    }
}

/// A value and its entry in one allocation, by one word: a request has some, and half of what one costs is the allocator's.
pub(crate) struct OwnedValue(NonNull<ValueEntry>);

// SAFETY: it owns what it points to, which is Send + Sync.
unsafe impl Send for OwnedValue {}
// SAFETY: as above.
unsafe impl Sync for OwnedValue {}

/// What is allocated.
#[repr(C)]
struct Whole<V> {
    // The first, so that a pointer to it is one to the whole.
    entry: ValueEntry,
    value: V,
}

/// A field that is added here has to be written in `OwnedValue::new` too, where nothing else would miss it.
const _: fn(&Whole<()>) = |whole| {
    let Whole { entry: ValueEntry { key: _, value: _, free: _, way: _ }, value: () } = whole;
};

impl OwnedValue {
    pub(crate) fn new<V: Value>(value: V, parent: Option<&Node>) -> Self {
        let key = TypeId::of::<V>();
        let way = Way::below(parent, key);
        let whole = NonNull::from(Box::leak(Box::<Whole<V>>::new_uninit())).cast::<Whole<V>>();
        // SAFETY: `whole` points to memory for a `Whole` which nobody else knows, all of which is written here, each part in its
        // place (see `NodeRef::allocate`). Both pointers are made of it and not of a reference to a part, so the one may be used
        // for the whole, and neither is invalidated by references to the other's part.
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
        // SAFETY: it lives until this is dropped, and is not changed after `new`.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for OwnedValue {
    #[inline]
    fn drop(&mut self) {
        let free = self.free;
        // SAFETY: `new` stored what frees what it allocated, and this is called once.
        unsafe { free(self.0) }
    }
}

impl<V> Whole<V> {
    /// # Safety
    ///
    /// `entry` is from `OwnedValue::new` of a value of this type, and this is its last use.
    unsafe fn free(entry: NonNull<ValueEntry>) {
        // SAFETY: by the contract it is a `Whole<V>` from a box, and the entry lies at its start.
        drop(unsafe { Box::from_raw(entry.cast::<Whole<V>>().as_ptr()) });
    }
}

/// How the values at and above one are found.
enum Way {
    /// By walking so far.
    Walk(Walk),
    /// By a table of everything above.
    Table(Table),
}

impl Way {
    /// That of a new value of the type `key` under `parent`.
    fn below(parent: Option<&Node>, key: TypeId) -> Way {
        match Walk::below(parent, key) {
            Some(walk) => Way::Walk(walk),
            None => Way::Table(Table::new(parent)),
        }
    }
}

/// So many types are found by walking, over this many nodes at most: what a request has, whose values are set and looked up a
/// few times each.
const SHORT: u8 = 5;
const FAR: u8 = 12;

/// How long a walk is to the end, or to the nearest merged context: at most, since a type that is set again with others in between
/// counts twice.
#[derive(Clone, Copy)]
struct Walk {
    types: u8,
    nodes: u8,
}

impl Walk {
    /// None where it would be long. It looks no further than the nearest value, which knows of the others.
    fn below(parent: Option<&Node>, key: TypeId) -> Option<Walk> {
        let mut walk = Walk { types: 0, nodes: 0 };
        for node in with_values(parent) {
            match node.kind() {
                Kind::Value(ValueEntry { way: Way::Table(_), .. }) => return None,
                Kind::Value(ValueEntry { key: above, way: Way::Walk(on), .. }) => {
                    // A run of values of one type, such as spans, is one step.
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

/// The value of a type that is nearest at or above a node.
#[inline]
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

/// Where a search goes from one node.
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

/// Through a merged context: its first parent's values, then the other's; from a list, since merges may lie above merges, and
/// each of them once.
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

/// Returns every value of a type at or above a node, above a merged context those on both sides, each once.
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
                // Both sides of a merged context may lead here.
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

/// The nodes from `parent` up that have values at or above them.
fn with_values(parent: Option<&Node>) -> impl Iterator<Item = &Node> {
    let has_values = |node: &&Node| node.flags & flag::VALUES != 0;
    std::iter::successors(parent.filter(has_values), move |node| node.parent.as_deref().filter(has_values))
}
