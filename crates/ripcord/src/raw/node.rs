//! One node of the tree of contexts: what it holds, who may touch it, and how long it lives.
//!
//! # Invariants
//!
//! 1. **Lifetime.** `refs` counts the strong references. A node holds one on its parent, so whatever is above a live node is
//!    alive. The node is freed by whoever takes the count to zero, after `unregister`.
//! 2. **The lock bit.** `guarded`, and `end` while the node is not done, are touched only by the holder of `LOCKED`. Only the
//!    holder changes `state`, so unlocking is a plain store. Locks are taken from parent to child, never two otherwise; a queue
//!    of timers is never locked with a node locked.
//! 3. **An end is for ever.** `end` is written before `DONE` is stored with release, and never again. Who reads `DONE` with
//!    acquire may read `end` without the lock. So error, cause and the done state become visible together.
//! 4. **Pointers down are weak.** A parent's list of children and a queue of timers hold plain pointers. While `slot` (or
//!    `timer`) is not `NONE` the pointer is in that list. It is put in by somebody who holds a strong reference, under the
//!    list's lock; it is taken out under the list's lock; and the store of `NONE` is the last access by whoever takes it out.
//!    A node whose count is zero takes itself out before it is freed, so a pointer found under the list's lock is valid while
//!    that lock is held.
//! 5. **No user code under a lock.** Wakers, callbacks, causes and values are moved out first.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Deref;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

use super::values::ValueEntry;
use crate::cause::Cause;
use crate::clock::Clock;
use crate::slab::{NONE, Slab};
use crate::sync::{AtomicU8, AtomicU32, Ordering, UnsafeCell, back_off, fence};

/// Bits of `Node::state`.
pub(crate) mod state {
    /// Somebody holds the node's lock.
    pub(crate) const LOCKED: u8 = 1;
    /// An end above is pushed down to this node, and the timers of the deadlines above are armed.
    pub(crate) const WATCHED: u8 = 2;
    /// The node has ended; `end` is readable.
    pub(crate) const DONE: u8 = 4;
    /// It ended by a deadline (else by a cancel).
    pub(crate) const DEADLINE: u8 = 8;
    /// The end began here (else it was inherited).
    pub(crate) const OWN: u8 = 16;
    /// The cancel came from a `Canceler` being dropped.
    pub(crate) const DROPPED: u8 = 32;
    /// A deadline can end it (`flag::DEADLINE`): here too, so that the fast way loads one byte.
    pub(crate) const TIMED: u8 = 64;
    /// Such a deadline may count on a clock other than the system's (`flag::CLOCK`).
    pub(crate) const CLOCKED: u8 = 128;
}

/// Bits of `Node::flags`: what a walk upwards could find, so that most walks are not begun.
pub(crate) mod flag {
    /// A name at or above this node.
    pub(crate) const NAMED: u8 = 1;
    /// A deadline that can end this node.
    pub(crate) const DEADLINE: u8 = 2;
    /// A clock of its own at or above this node.
    pub(crate) const CLOCK: u8 = 4;
    /// A value at or above this node.
    pub(crate) const VALUES: u8 = 8;
}

/// No deadline.
pub(crate) const NEVER: i64 = i64::MAX;

/// What kind of context a node is.
pub(crate) enum Payload {
    /// The root that `Context::todo` is: there is one, and it is static.
    #[cfg_attr(ripcord_loom, expect(dead_code, reason = "loom's atomics cannot lie in a static"))]
    Todo,
    Cancel {
        /// The deadline above it: here too, so that none is searched for. `NEVER` when there is none.
        when: i64,
    },
    /// What listens to something outside that can end the context above; it is dropped with the node.
    #[cfg(any(feature = "tokio-util", feature = "signals"))]
    Attached {
        _listener: Box<dyn Send + Sync>,
    },
    Deadline {
        when: i64,
    },
    Merge(Box<Merge>),
    WithoutCancel,
    Value(Box<ValueEntry>),
    /// Shared with the errors that tell it.
    Name(Arc<Cow<'static, str>>),
    Clock(Box<Clock>),
}

/// The second parent of a merged context, and the earlier deadline of the two.
pub(crate) struct Merge {
    pub(crate) other: NodeRef,
    /// Or `NEVER`.
    pub(crate) when: i64,
    slot: AtomicU32,
}

impl Merge {
    pub(crate) fn new(other: NodeRef, when: i64) -> Self {
        Merge { other, when, slot: AtomicU32::new(NONE) }
    }
}

/// How a node ended; before that, what is known of the end it may come to: the place that made it, a deadline's cause.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) location: &'static Location<'static>,
    pub(crate) cause: Option<Cause>,
    /// For a deadline the original timeout in nanoseconds; for a cancel the moment it came, as `clock::Ticks`.
    pub(crate) detail: i64,
}

/// What the lock bit guards: in two words what most nodes have, which is nothing or one waiter.
pub(crate) enum Guarded {
    One(Waker),
    Many(Option<Box<More>>),
}

/// What few nodes have.
pub(crate) struct More {
    /// The waiter whose key is 0; the keys of the others are those of `waiters`, plus one.
    first: Option<Waker>,
    pub(super) waiters: Slab<Waker>,
    pub(super) children: Slab<Child>,
    pub(super) callbacks: Slab<Callback>,
    /// The parent of all tokens made of this context: a callback cancels it.
    #[cfg(feature = "tokio-util")]
    pub(super) token: Option<tokio_util::sync::CancellationToken>,
}

impl Guarded {
    pub(super) const NOTHING: Guarded = Guarded::Many(None);

    /// The rest, if there is any.
    pub(super) fn rest(&mut self) -> Option<&mut More> {
        match self {
            Guarded::Many(more) => more.as_deref_mut(),
            Guarded::One(_) => None,
        }
    }

    /// The rest, made if there is none.
    pub(super) fn more(&mut self) -> &mut More {
        if !matches!(self, Guarded::Many(Some(_))) {
            let first = self.take_first();
            *self = Guarded::Many(Some(Box::new(More {
                first,
                waiters: Slab::new(),
                children: Slab::new(),
                callbacks: Slab::new(),
                #[cfg(feature = "tokio-util")]
                token: None,
            })));
        }
        match self {
            Guarded::Many(Some(more)) => more,
            _ => unreachable!("it was made above"),
        }
    }

    pub(super) fn has_children(&mut self) -> bool {
        self.rest().is_some_and(|more| !more.children.is_empty())
    }

    /// Takes the waiter whose key is 0.
    #[inline]
    pub(super) fn take_first(&mut self) -> Option<Waker> {
        match self {
            Guarded::Many(None) => None,
            Guarded::Many(Some(more)) => more.first.take(),
            Guarded::One(_) => match std::mem::replace(self, Guarded::NOTHING) {
                Guarded::One(waker) => Some(waker),
                Guarded::Many(_) => None,
            },
        }
    }

    #[inline]
    pub(super) fn waiter(&mut self, key: u32) -> Option<&mut Waker> {
        match (self, key) {
            (Guarded::One(waker), 0) => Some(waker),
            (Guarded::Many(Some(more)), 0) => more.first.as_mut(),
            (Guarded::Many(Some(more)), key) => more.waiters.get_mut(key - 1),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn add_waiter(&mut self, waker: Waker) -> u32 {
        if matches!(self, Guarded::Many(None)) {
            *self = Guarded::One(waker);
            return 0;
        }
        let more = self.more();
        if more.first.is_none() {
            more.first = Some(waker);
            return 0;
        }
        more.waiters.insert(waker) + 1
    }

    #[inline]
    pub(super) fn remove_waiter(&mut self, key: u32) -> Option<Waker> {
        match key {
            0 => self.take_first(),
            _ => self.rest()?.waiters.remove(key - 1),
        }
    }
}

/// A pointer in a parent's list of children (invariant 4).
pub(crate) struct Child {
    pub(crate) node: NonNull<Node>,
    /// It hangs by its second edge, a merged context's.
    pub(crate) second: bool,
}

/// A function to run at the end, which keeps its context alive until then.
pub(crate) struct Callback {
    pub(crate) run: Box<dyn FnOnce() + Send>,
    /// One of our own that is short and never blocks: it runs in the canceller's thread.
    pub(crate) inline: bool,
    pub(crate) _keep: NodeRef,
}

/// One context that is not a root.
// In this order: what marking a child touches lies together (row C9).
#[repr(C)]
pub(crate) struct Node {
    refs: AtomicU32,
    pub(super) state: AtomicU8,
    pub(crate) flags: u8,
    /// Whether a context was ever derived from this one (0 or 1).
    derived: AtomicU8,
    /// The key in the queue of timers, or `NONE`.
    pub(super) timer: AtomicU32,
    /// The key in the parent's list of children, or `NONE`.
    slot: AtomicU32,
    guarded: UnsafeCell<Guarded>,
    end: UnsafeCell<End>,
    pub(crate) payload: Payload,
    pub(crate) parent: Option<NodeRef>,
}

// SAFETY: everything in a node is Send + Sync by itself, but for the two cells and the pointers to children. The cells are
// reached only under the lock bit or after `DONE` (invariants 2 and 3), the pointers only as invariant 4 allows.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

// A panic in users' code leaves nothing of a node half done: none runs under its lock (invariant 5).
impl UnwindSafe for Node {}
impl RefUnwindSafe for Node {}

impl Node {
    /// What the end is, once there is one.
    #[inline]
    pub(crate) fn end(&self) -> Option<(u8, &End)> {
        let bits = self.state.load(Ordering::Acquire);
        // SAFETY: `DONE` was read with acquire, so `end` was written before and never is again (invariant 3).
        (bits & state::DONE != 0).then(|| (bits, unsafe { &*self.end.get() }))
    }

    pub(crate) fn lock(&self) -> NodeGuard<'_> {
        let mut step = 0;
        let mut bits = self.state.load(Ordering::Relaxed) & !state::LOCKED;
        loop {
            match self.state.compare_exchange(bits, bits | state::LOCKED, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return NodeGuard { node: self, bits },
                Err(now) if now & state::LOCKED == 0 => bits = now,
                Err(now) => {
                    bits = now & !state::LOCKED;
                    back_off(&mut step);
                }
            }
        }
    }

    /// The node whose end is this one's too: the nearest one above that can end, unless the chain is cut here.
    #[inline]
    pub(crate) fn cancel_parent(&self) -> Option<&NodeRef> {
        match self.payload {
            Payload::WithoutCancel => None,
            _ => self.parent.as_ref()?.ender(),
        }
    }

    /// A merged context's other parent, as `cancel_parent` gives the first.
    pub(crate) fn second_parent(&self) -> Option<&NodeRef> {
        match &self.payload {
            Payload::Merge(merge) => merge.other.ender(),
            _ => None,
        }
    }

    /// The place of this node in the list of that parent.
    fn edge(&self, second: bool) -> &AtomicU32 {
        match &self.payload {
            Payload::Merge(merge) if second => &merge.slot,
            _ => &self.slot,
        }
    }

    /// Puts `child` into this node's list, unless it is there already. False when this node has ended: nothing is pushed then.
    pub(super) fn link(&self, child: &NodeRef, second: bool) -> bool {
        let mut guard = self.lock();
        if guard.bits & state::DONE != 0 {
            return false;
        }
        let edge = child.edge(second);
        // Only a holder of this lock changes it.
        if edge.load(Ordering::Relaxed) == NONE {
            let slot = guard.fields().more().children.insert(Child { node: child.pointer, second });
            edge.store(slot, Ordering::Relaxed);
        }
        true
    }

    /// Says that `child` is no longer in its parent's list. The caller took it out under that parent's lock, and must not
    /// touch it again without a reference of its own (invariant 4).
    pub(super) fn unlinked(&self, second: bool) {
        self.edge(second).store(NONE, Ordering::Release);
    }

    /// Takes this node out of `parent`'s list, if it is in it.
    fn unlink(&self, parent: Option<&NodeRef>, second: bool) {
        let edge = self.edge(second);
        if edge.load(Ordering::Acquire) == NONE {
            return;
        }
        if let Some(parent) = parent {
            let mut guard = parent.lock();
            // Looked at again under the lock: a propagation may have taken it out meanwhile.
            let slot = edge.load(Ordering::Relaxed);
            if slot != NONE
                && let Some(more) = guard.fields().rest()
            {
                more.children.remove(slot);
            }
        }
    }

    /// Takes a dying node out of every list that points to it (invariant 4).
    #[inline]
    fn unregister(&self) {
        if self.slot.load(Ordering::Acquire) != NONE {
            self.unlink(self.cancel_parent(), false);
        }
        if matches!(self.payload, Payload::Merge(_)) {
            self.unlink(self.second_parent(), true);
        }
        if self.timer.load(Ordering::Acquire) != NONE {
            self.clock().timers().disarm(self);
        }
    }

    /// Whether no list points to this node.
    #[inline]
    fn is_unregistered(&self) -> bool {
        self.slot.load(Ordering::Acquire) == NONE
            && self.timer.load(Ordering::Acquire) == NONE
            && (!matches!(self.payload, Payload::Merge(_)) || self.edge(true).load(Ordering::Acquire) == NONE)
    }

    /// Whether no context was ever derived from this one, as far as this thread can know.
    pub(crate) fn is_childless(&self) -> bool {
        self.derived.load(Ordering::Relaxed) == 0
    }

    /// The name nearest at or above this node; above a merged context, of the first parent, else of the other.
    pub(crate) fn name(&self) -> Option<&Arc<Cow<'static, str>>> {
        let mut seen = HashSet::new();
        let mut pending = Vec::new();
        let mut at = Some(self);
        loop {
            let node = at.or_else(|| pending.pop())?;
            at = None;
            if node.flags & flag::NAMED == 0 {
                continue;
            }
            match &node.payload {
                Payload::Name(name) => return Some(name),
                Payload::Merge(merge) => {
                    if !seen.insert(&raw const **merge) {
                        continue;
                    }
                    pending.push(&*merge.other);
                }
                _ => {}
            }
            at = node.parent.as_deref();
        }
    }

    /// The clock at or above this node.
    pub(crate) fn clock(&self) -> &Clock {
        let mut node = Some(self);
        while let Some(at) = node
            && at.flags & flag::CLOCK != 0
        {
            if let Payload::Clock(clock) = &at.payload {
                return clock;
            }
            node = at.parent.as_deref();
        }
        Clock::SYSTEM
    }
}

/// The lock of a node (invariant 2). Unlocks when dropped.
pub(crate) struct NodeGuard<'a> {
    node: &'a Node,
    /// What `state` becomes at unlock.
    pub(crate) bits: u8,
}

impl NodeGuard<'_> {
    pub(crate) fn is_done(&self) -> bool {
        self.bits & state::DONE != 0
    }

    pub(crate) fn fields(&mut self) -> &mut Guarded {
        // SAFETY: this guard holds the lock bit, which guards the cell (invariant 2).
        unsafe { &mut *self.node.guarded.get() }
    }

    /// Writes the end; it becomes visible at unlock. Gives back what it replaced, to be dropped without the lock.
    pub(crate) fn set_end(&mut self, bits: u8, end: End) -> End {
        debug_assert!(!self.is_done());
        self.bits |= state::DONE | bits;
        // SAFETY: not done and under the lock, so nobody reads or writes `end` (invariants 2 and 3).
        unsafe { std::mem::replace(&mut *self.node.end.get(), end) }
    }

    /// As `set_end`, when the end is the one foreseen: a deadline's own.
    pub(crate) fn set_end_as_foreseen(&mut self, bits: u8) {
        debug_assert!(!self.is_done());
        self.bits |= state::DONE | bits;
    }

    /// As `set_end`, for the end of a cancel at the place foreseen: a dropped `Canceler`'s.
    pub(crate) fn set_end_at_place_foreseen(&mut self, bits: u8, detail: i64) {
        debug_assert!(!self.is_done());
        self.bits |= state::DONE | bits;
        // SAFETY: as in `set_end`.
        unsafe { (*self.node.end.get()).detail = detail }
    }
}

impl Drop for NodeGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.node.state.store(self.bits & !state::LOCKED, Ordering::Release);
    }
}

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
    derived: AtomicU8::new(0),
    timer: AtomicU32::new(NONE),
    slot: AtomicU32::new(NONE),
    guarded: UnsafeCell::new(Guarded::NOTHING),
    end: UnsafeCell::new(End { location: Location::caller(), cause: None, detail: 0 }),
    parent: None,
    payload: Payload::Todo,
};

impl NodeRef {
    /// The root that `Context::todo` is.
    #[cfg(not(ripcord_loom))]
    pub(crate) fn todo() -> Option<NodeRef> {
        // The static's own reference, which is never given up.
        let own = std::mem::ManuallyDrop::new(NodeRef { pointer: NonNull::from(&TODO) });
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

    #[inline]
    fn allocate(parent: Option<NodeRef>, flags: u8, payload: Payload, end: End, refs: u32) -> NodeRef {
        let bits = match flags & (flag::DEADLINE | flag::CLOCK) {
            0 | flag::CLOCK => 0,
            flag::DEADLINE => state::TIMED,
            _ => state::TIMED | state::CLOCKED,
        };
        let node = Box::new(Node {
            refs: AtomicU32::new(refs),
            state: AtomicU8::new(bits),
            flags,
            derived: AtomicU8::new(0),
            timer: AtomicU32::new(NONE),
            slot: AtomicU32::new(NONE),
            guarded: UnsafeCell::new(Guarded::NOTHING),
            end: UnsafeCell::new(end),
            parent,
            payload,
        });
        NodeRef { pointer: NonNull::from(Box::leak(node)) }
    }

    /// A strong reference from a pointer of invariant 4, unless the node is already being freed.
    ///
    /// # Safety
    ///
    /// The lock of the list that the pointer was found in is held.
    pub(super) unsafe fn upgrade(pointer: NonNull<Node>) -> Option<NodeRef> {
        // SAFETY: the list's lock is held, so the node is not freed (invariant 4).
        let node = unsafe { pointer.as_ref() };
        let mut refs = node.refs.load(Ordering::Relaxed);
        while refs != 0 {
            match node.refs.compare_exchange_weak(refs, refs + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(NodeRef { pointer }),
                Err(now) => refs = now,
            }
        }
        None
    }

    /// A reference for a context that is derived from this one.
    #[inline]
    pub(crate) fn as_parent(&self) -> NodeRef {
        // Looked at first, so that deriving again and again does not write; whoever knows of the child knows of this.
        if self.derived.load(Ordering::Relaxed) == 0 {
            self.derived.store(1, Ordering::Relaxed);
        }
        self.clone()
    }

    /// The nearest node at or above this one that can end: names, values and clocks end with it.
    #[inline]
    pub(crate) fn ender(&self) -> Option<&NodeRef> {
        let mut node = self;
        loop {
            match node.payload {
                Payload::Value(_) | Payload::Name(_) | Payload::Clock(_) | Payload::Todo => {
                    node = node.parent.as_ref()?
                }
                #[cfg(any(feature = "tokio-util", feature = "signals"))]
                Payload::Attached { .. } => node = node.parent.as_ref()?,
                _ => return Some(node),
            }
        }
    }

    /// The plain pointer, for a list of invariant 4.
    pub(super) fn pointer(&self) -> NonNull<Node> {
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
        // In this order. Whoever takes the node out of a list makes its reference before it stores `NONE`, so when no list
        // has it the count is all there is; the count alone may be about to rise.
        if self.is_unregistered() && self.is_sole() {
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
        unsafe { self.pointer.as_ref() }
    }
}

impl Drop for NodeRef {
    #[inline]
    fn drop(&mut self) {
        // Release: what this reference's holder did happens before the node is freed by the last one.
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            self.unregister();
            // SAFETY: the count went to zero here, so no strong reference is left and `upgrade` makes no new one; and no list
            // has the node any more.
            unsafe { free(self.pointer) }
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
        // SAFETY: by the contract (and below) nobody else has a reference and no list has a pointer. It was made by `Box::leak`
        // in `allocate`.
        let mut node = unsafe { Box::from_raw(pointer.as_ptr()) };
        // Taken out of the node, so that its drop does not recurse. It may run users' `Drop`, and a panic there must not keep
        // the rest of the chain from being released: these are locals of this frame, so an unwind drops them.
        let mut next = node.parent.take();
        if matches!(node.payload, Payload::Merge(_))
            && let Payload::Merge(merge) = std::mem::replace(&mut node.payload, Payload::WithoutCancel)
        {
            pending.push(merge.other);
        }
        drop(node);
        loop {
            let Some(above) = next.take().or_else(|| pending.pop()) else { return };
            pointer = above.pointer;
            std::mem::forget(above);
            // SAFETY: `above` was a strong reference, which is given up here; the node is alive until the count is zero, and
            // then until this frees it.
            let node = unsafe { pointer.as_ref() };
            if node.refs.fetch_sub(1, Ordering::Release) == 1 {
                fence(Ordering::Acquire);
                node.unregister();
                break;
            }
        }
    }
}
