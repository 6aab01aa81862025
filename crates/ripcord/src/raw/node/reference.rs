//! How long a node lives.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::memory::{self, Memory};
use super::{End, Guarded, Node, Payload, Tag, Word, flag, state};
use crate::background;
use crate::raw::cell::Cell;
use crate::slab::NONE;
use crate::sync::{Access, AtomicU8, AtomicU32, Ordering, fence};

/// A strong reference to a node (invariant 1).
pub(crate) struct NodeRef {
    pointer: NonNull<Node>,
}

// SAFETY: a `NodeRef` gives shared access to a `Node`, which is Sync, and may free it, and it is Send.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

/// More references than this can only be leaked ones; the process ends before the count wraps, as with `Arc`.
const MAX_REFS: u32 = u32::MAX / 2;

/// The node of `Context::todo`. It holds a reference to itself that nobody gives up.
#[cfg(not(ripcord_loom))]
static TODO: Node = Node {
    refs: AtomicU32::new(1),
    state: AtomicU8::new(0),
    flags: 0,
    notes: AtomicU8::new(0),
    timer: AtomicU32::new(NONE),
    slot: AtomicU32::new(NONE),
    guarded: Cell::new(Access::new(), ManuallyDrop::new(Guarded::NOTHING)),
    end: Cell::new(Access::new(), End { location: std::panic::Location::caller(), cause: None, detail: 0 }),
    tag: Tag::Todo,
    parent: None,
    word: Word::NOTHING,
    alive: Access::new(),
};

/// A field that is added here has to be written in `NodeRef::allocate` too, where nothing else would miss it.
const _: fn(&Node) = |node| {
    let Node {
        refs: _,
        state: _,
        flags: _,
        notes: _,
        tag: _,
        timer: _,
        slot: _,
        parent: _,
        guarded: _,
        end: _,
        word: _,
        alive: _,
    } = node;
};

impl NodeRef {
    /// The root that `Context::todo` is.
    #[cfg(not(ripcord_loom))]
    pub(crate) fn todo() -> Option<NodeRef> {
        // The static's own reference, which is never given up.
        let own = ManuallyDrop::new(NodeRef { pointer: NonNull::from(&TODO) });
        Some(NodeRef::clone(&own))
    }

    #[cfg(ripcord_loom)]
    pub(crate) fn todo() -> Option<NodeRef> {
        None
    }

    #[inline]
    pub(crate) fn new(parent: Option<NodeRef>, flags: u8, payload: Payload, end: End) -> NodeRef {
        Self::allocate(parent, flags, payload, end, 1)
    }

    /// As `new`, with two references: a context's and its canceler's.
    #[inline]
    pub(crate) fn new_pair(parent: Option<NodeRef>, flags: u8, payload: Payload, end: End) -> (NodeRef, NodeRef) {
        let first = Self::allocate(parent, flags, payload, end, 2);
        let second = NodeRef { pointer: first.pointer };
        (first, second)
    }

    // Always: only where the payload is known does it cost no branch.
    #[inline(always)]
    fn allocate(parent: Option<NodeRef>, flags: u8, payload: Payload, end: End, refs: u32) -> NodeRef {
        let bits = match flags & (flag::DEADLINE | flag::CLOCK | flag::MOVABLE) {
            0 | flag::CLOCK => 0,
            flag::DEADLINE => state::TIMED,
            _ => state::TIMED | state::CLOCKED,
        };
        let (tag, word) = Word::new(payload);
        let End { location, cause, detail } = end;
        let pointer = NonNull::from(Box::leak(memory::allocate())).cast::<Node>();
        let node = pointer.as_ptr();
        // Each field in its place: a node that is put together first is written in small pieces and at once read again in large
        // ones, for which a processor waits (rows C1, C2, C7).
        // SAFETY: `node` points to memory for a `Node` which nobody else knows of. All of its fields are written here.
        unsafe {
            (&raw mut (*node).refs).write(AtomicU32::new(refs));
            (&raw mut (*node).state).write(AtomicU8::new(bits));
            (&raw mut (*node).flags).write(flags);
            (&raw mut (*node).tag).write(tag);
            (&raw mut (*node).notes).write(AtomicU8::new(0));
            (&raw mut (*node).timer).write(AtomicU32::new(NONE));
            (&raw mut (*node).slot).write(AtomicU32::new(NONE));
            (&raw mut (*node).parent).write(parent);
            (&raw mut (*node).guarded).write(Cell::new(Access::new(), ManuallyDrop::new(Guarded::NOTHING)));
            let end = Cell::initialize(&raw mut (*node).end);
            (&raw mut (*end).location).write(location);
            (&raw mut (*end).cause).write(cause);
            (&raw mut (*end).detail).write(detail);
            (&raw mut (*node).word).write(word);
            (&raw mut (*node).alive).write(Access::new());
        }
        NodeRef { pointer }
    }

    /// A strong reference from a pointer of invariant 4, unless the node is already being freed.
    ///
    /// # Safety
    ///
    /// The lock of the list that the pointer was found in is held.
    pub(in crate::raw) unsafe fn upgrade(pointer: NonNull<Node>) -> Option<NodeRef> {
        // SAFETY: by the contract.
        let node = unsafe { Node::follow(pointer) };
        let mut refs = node.refs.load(Ordering::Relaxed);
        while refs != 0 {
            match node.refs.compare_exchange_weak(refs, refs + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(NodeRef { pointer }),
                Err(now) => refs = now,
            }
        }
        None
    }

    /// The nearest node at or above this one that can end: names, values and clocks end with it.
    #[inline]
    pub(crate) fn ender(&self) -> Option<&NodeRef> {
        let mut node = self;
        loop {
            match node.tag {
                Tag::Cancel | Tag::Deadline | Tag::ClockedDeadline | Tag::Movable | Tag::Merge | Tag::Shielded => {
                    return Some(node);
                }
                Tag::WithoutCancel => return None,
                Tag::Value | Tag::Name | Tag::Clock | Tag::Todo => node = node.parent.as_ref()?,
                Tag::Attached => node = node.parent.as_ref()?,
            }
        }
    }

    /// The plain pointer, for a list of invariant 4.
    pub(in crate::raw) fn pointer(&self) -> NonNull<Node> {
        self.pointer
    }

    /// Whether this is the only reference. A list may still lead to the node: what comes from there marks it and lets go.
    #[inline]
    pub(crate) fn is_sole(&self) -> bool {
        self.refs.load(Ordering::Acquire) == 1
    }

    /// Drops a reference that is likely the sole one: then without the read-modify-write.
    #[inline]
    pub(crate) fn drop_likely_sole(self) {
        // In this order. With one reference nobody but a list can make another, nor put the node into a list. Whoever takes it
        // out of a list makes its reference before it stores `NONE`; so when no list has it any more, and the count is still
        // one, that is all there is.
        if self.is_sole() && self.is_unregistered() && self.is_sole() {
            let pointer = self.pointer;
            std::mem::forget(self);
            // SAFETY: this was the sole reference, and none can be made from a list.
            unsafe { free(pointer) }
        }
    }
}

impl Clone for NodeRef {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: a reference is made from one that exists, which keeps the node alive meanwhile.
        if self.refs.fetch_add(1, Ordering::Relaxed) > MAX_REFS {
            std::process::abort();
        }
        NodeRef { pointer: self.pointer }
    }
}

impl Deref for NodeRef {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: a strong reference keeps the node alive (invariant 1), and nobody has it mutably before it is freed.
        let node = unsafe { self.pointer.as_ref() };
        node.alive.read();
        node
    }
}

impl Drop for NodeRef {
    #[inline]
    fn drop(&mut self) {
        // Release: what this reference's holder did happens before the node is freed by the last one.
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            // SAFETY: the count went to zero here.
            unsafe { drop_last(self.pointer) }
        }
    }
}

/// Apart, so that to drop one of several references is no call.
///
/// # Safety
///
/// The caller has taken the count of `pointer` to zero.
#[inline(never)]
unsafe fn drop_last(pointer: NonNull<Node>) {
    // SAFETY: no strong reference is left and `upgrade` makes no new one; after `unregister` no list has the node any more.
    unsafe {
        let node = pointer.as_ref();
        node.acquire_all_uses();
        node.unregister();
        free(pointer);
    }
}

impl Node {
    /// What the holders of references did happens before what follows. The count is zero.
    #[inline]
    fn acquire_all_uses(&self) {
        if cfg!(ripcord_sanitize) {
            // ThreadSanitizer knows no fences.
            self.refs.load(Ordering::Acquire);
        } else {
            fence(Ordering::Acquire);
        }
    }
}

/// Frees a node, and what is above it as long as each was the last reference: a loop, since chains are of the user's length.
///
/// # Safety
///
/// The count of `pointer` is zero, or one that the caller gives up; no list has it, and nobody can raise the count.
unsafe fn free(mut pointer: NonNull<Node>) {
    // Second parents of merged contexts, rarely any.
    let mut pending: Vec<NodeRef> = Vec::new();
    loop {
        // SAFETY: by the contract (and below) nobody else has a reference and no list has a pointer. `NodeRef::allocate` has its
        // memory from `memory::allocate`, and nothing uses it after `drop_in_place`.
        let (memory, node) = unsafe { (Memory::of(pointer), pointer.as_mut()) };
        // Taken out of the node, so that its drop does not recurse.
        let mut next = node.parent.take();
        pending.extend(node.take_second_parent());
        // A panic of a user's `Drop` must not keep the rest of the chain from being released, and a second one must not abort.
        if node.holds_users_code() {
            // SAFETY: as above.
            background::shielded(|| unsafe { pointer.drop_in_place() });
        } else {
            // SAFETY: as above.
            unsafe { pointer.drop_in_place() };
        }
        drop(memory);
        loop {
            let Some(above) = next.take().or_else(|| pending.pop()) else { return };
            pointer = above.pointer;
            std::mem::forget(above);
            // SAFETY: `above` was a strong reference, which is given up here; the node is alive until the count is zero, and
            // then until this frees it.
            let node = unsafe { pointer.as_ref() };
            if node.refs.fetch_sub(1, Ordering::Release) == 1 {
                node.acquire_all_uses();
                node.unregister();
                break;
            }
        }
    }
}
