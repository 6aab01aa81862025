//! Strong references to nodes: allocation, counting and freeing.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

use super::memory::{self, Memory};
use super::{End, Guarded, Node, Payload, Tag, Word, flag, state};
use crate::atomic::{Access, AtomicU8, AtomicU32, Ordering, fence};
use crate::background;
use crate::raw::cell::Cell;
use crate::slab::NONE;

/// A strong reference to a node (invariant 1).
pub(crate) struct NodeRef {
    pointer: NonNull<Node>,
}

// SAFETY: a `NodeRef` gives shared access to a `Node`, which is Sync. It may free the node, which is Send.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

/// Maximum number of references. Only leaks can exceed it. The process aborts before the count wraps, as with `Arc`.
const MAX_REFS: u32 = u32::MAX / 2;

/// The node of `Context::todo`. Its count includes a reference that is never dropped.
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

/// Fails to compile when a field is added. `NodeRef::allocate` has to write that field too.
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
    /// Returns the root of `Context::todo`.
    #[cfg(not(ripcord_loom))]
    pub(crate) fn todo() -> Option<NodeRef> {
        // The reference that is never dropped.
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

    /// Creates a node like `new`. Returns two references to it: for a context and its canceler.
    #[inline]
    pub(crate) fn new_pair(parent: Option<NodeRef>, flags: u8, payload: Payload, end: End) -> (NodeRef, NodeRef) {
        let first = Self::allocate(parent, flags, payload, end, 2);
        let second = NodeRef { pointer: first.pointer };
        (first, second)
    }

    // Always inlined, so that the match on the payload costs nothing where its kind is known.
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
        // Each field is written in place. If a node were built first and then moved, it would be written in small pieces and
        // immediately read in large pieces, which stalls the processor (rows C1, C2, C7).
        // SAFETY: `node` points to memory for a `Node` that no other thread can reach. All of its fields are written here.
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

    /// Creates a strong reference from a pointer of invariant 4. Returns `None` if the node is being freed.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the list that contains the pointer.
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

    /// Returns the nearest node at or above this node that can end. Names, values and clocks end with that node.
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

    /// Returns the plain pointer, for a list of invariant 4.
    pub(in crate::raw) fn pointer(&self) -> NonNull<Node> {
        self.pointer
    }

    /// Returns whether this is the only strong reference. A list may still contain the node, and a thread that finds the node
    /// there may mark it.
    #[inline]
    pub(crate) fn is_sole(&self) -> bool {
        self.refs.load(Ordering::Acquire) == 1
    }

    /// Drops a reference that is likely the only one. In that case no read-modify-write is needed.
    #[inline]
    pub(crate) fn drop_likely_sole(self) {
        // The order matters. While this is the only reference, another reference can only come from a list, and no thread can
        // insert the node into a list. A thread that removes the node from a list creates its reference before it stores
        // `NONE`. So if no list contains the node, and the count is still one after the lists were checked, this is the only
        // reference.
        if self.is_sole() && self.is_unregistered() && self.is_sole() {
            let pointer = self.pointer;
            std::mem::forget(self);
            // SAFETY: this was the only reference, and no list contains the node.
            unsafe { free(pointer) }
        }
    }
}

impl Clone for NodeRef {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed, because the existing reference keeps the node alive.
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
        // SAFETY: a strong reference keeps the node alive (invariant 1), and only the free borrows the node mutably.
        let node = unsafe { self.pointer.as_ref() };
        node.alive.read();
        node
    }
}

impl Drop for NodeRef {
    #[inline]
    fn drop(&mut self) {
        // Release, so that all uses by this reference happen before the free.
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            // SAFETY: this drop decremented the count to zero.
            unsafe { drop_last(self.pointer) }
        }
    }
}

/// Frees the node. A separate function, so that dropping one of several references needs no call.
///
/// # Safety
///
/// The caller has decremented the count of `pointer` to zero.
#[inline(never)]
unsafe fn drop_last(pointer: NonNull<Node>) {
    // SAFETY: no strong reference is left, and `upgrade` creates none. After `unregister` no list contains the node.
    unsafe {
        let node = pointer.as_ref();
        node.acquire_all_uses();
        node.unregister();
        free(pointer);
    }
}

impl Node {
    /// Makes all uses by the dropped references happen before the code after this call. The count is zero.
    #[inline]
    fn acquire_all_uses(&self) {
        if cfg!(ripcord_sanitize) {
            // ThreadSanitizer does not support fences.
            self.refs.load(Ordering::Acquire);
        } else {
            fence(Ordering::Acquire);
        }
    }
}

/// Frees a node, and every node above it whose last reference that node held. Uses a loop instead of recursion, because the
/// user decides how long a chain is.
///
/// # Safety
///
/// The count of `pointer` is zero, or it is one and the caller holds that reference. No list contains the node, and no thread
/// can increment the count.
unsafe fn free(mut pointer: NonNull<Node>) {
    // The second parents of merged contexts. Usually empty.
    let mut pending: Vec<NodeRef> = Vec::new();
    loop {
        // SAFETY: by the contract (and below) there is no other reference, and no list contains the node. `NodeRef::allocate`
        // got the memory from `memory::allocate`, and nothing uses the node after `drop_in_place`.
        let (memory, node) = unsafe { (Memory::new(pointer), pointer.as_mut()) };
        // The parent is taken out, so that the drop of the node does not recurse.
        let mut next = node.parent.take();
        pending.extend(node.take_second_parent());
        // A panic in a user's `Drop` must not prevent the free of the rest of the chain, and a second panic must not abort.
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
            // SAFETY: `above` was a strong reference, which is dropped here. The node is alive until the count is zero, and
            // after that until this loop frees the node.
            let node = unsafe { pointer.as_ref() };
            if node.refs.fetch_sub(1, Ordering::Release) == 1 {
                node.acquire_all_uses();
                node.unregister();
                break;
            }
        }
    }
}
