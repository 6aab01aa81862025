//! One node of the tree of contexts: its fields, their synchronization, and its lifetime.
//!
//! # Invariants
//!
//! 1. **Lifetime.** `refs` counts the strong references. A node holds a strong reference to its parent, so every node above a
//!    live node is alive. The thread that decrements the count to zero frees the node, after `unregister`.
//! 2. **The lock bit.** Only the holder of `LOCKED` accesses `guarded`, and `end` while the node is not done. Only the holder
//!    changes `state`, so unlocking is a plain store. A thread that locks two nodes locks the parent first and then the child. No
//!    queue of timers is locked while a node is locked.
//! 3. **An end is permanent.** `end` is written before `DONE` is stored with release, and is not written again. A thread that
//!    reads `DONE` with acquire may read `end` without the lock. So error, cause and done state become visible together.
//! 4. **Pointers down are weak.** A parent's list of children and a queue of timers hold plain pointers. While `slot` (or
//!    `timer`) is not `NONE`, the pointer is in that list. A holder of a strong reference inserts the pointer under the list's
//!    lock. The pointer is removed under the list's lock. The store of `NONE` is the last access of the thread that removes the
//!    pointer. A node whose count is zero removes itself before it is freed, so a pointer found under the list's lock is valid
//!    while that lock is held.
//! 5. **No user code under a lock.** Wakers, callbacks, causes and values are moved out first.

mod children;
mod guarded;
pub(crate) mod memory;
mod payload;
mod reference;

use std::borrow::Cow;
use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::atomic::{Access, AtomicU8, AtomicU32, Ordering, back_off};
use crate::cause::Cause;
use crate::raw::cell::Cell;
use crate::raw::clock::Clock;
use crate::raw::movable::Moves;
use crate::slab::NONE;

pub(crate) use children::{Child, ChildSlot};
pub(crate) use guarded::{Guarded, More};
pub(crate) use payload::{Kind, NEVER, Payload};
use payload::{Tag, Word};
pub(crate) use reference::NodeRef;

/// Bits of `Node::state`.
pub(crate) mod state {
    /// The node's lock is held.
    pub(crate) const LOCKED: u8 = 1;
    /// Ends above are pushed to this node, and the timers of the deadlines above are armed.
    pub(crate) const WATCHED: u8 = 2;
    /// The node has ended; `end` is readable.
    pub(crate) const DONE: u8 = 4;
    /// A deadline ended the node. Otherwise a cancel ended the node.
    pub(crate) const DEADLINE: u8 = 8;
    /// The end began at this node. Otherwise the end was inherited.
    pub(crate) const OWN: u8 = 16;
    /// The cancel was the drop of a `Canceler`.
    pub(crate) const DROPPED: u8 = 32;
    /// A copy of `flag::DEADLINE`, so that the fast path loads one byte.
    pub(crate) const TIMED: u8 = 64;
    /// A deadline that can end the node may be on a clock other than the system's (`flag::CLOCK`), or may move
    /// (`flag::MOVABLE`).
    pub(crate) const CLOCKED: u8 = 128;
}

/// Bits of `Node::flags`. They record what a walk up the tree could find, so that most walks are skipped.
pub(crate) mod flag {
    /// A name at or above this node.
    pub(crate) const NAMED: u8 = 1;
    /// A deadline that can end this node.
    pub(crate) const DEADLINE: u8 = 2;
    /// A clock set at or above this node.
    pub(crate) const CLOCK: u8 = 4;
    /// A value at or above this node.
    pub(crate) const VALUES: u8 = 8;
    /// The deadlines that can end this node may be on different clocks.
    pub(crate) const CLOCKS: u8 = 16;
    /// A shielded context at or above this node can end it (invariant 12 in `tree`).
    pub(crate) const SHIELDED: u8 = 32;
    /// A deadline that can end this node can be moved.
    pub(crate) const MOVABLE: u8 = 64;
    /// The flags of nodes that hold no copy of a deadline (`tree`, invariant 14).
    pub(crate) const NO_COPY: u8 = CLOCKS | MOVABLE;
}

/// Bits of `Node::notes`.
mod note {
    /// The canceler was detached, so only handles can cancel the node. Guarded by the lock.
    pub(super) const DETACHED: u8 = 1;
    /// The node ends a sleep or a wait, and is not a user's context. Set before the first waiter is added.
    pub(super) const TIMER: u8 = 2;
}

/// The fields that a merged context has besides its first parent.
pub(crate) struct Merge {
    /// The second parent.
    pub(crate) other: NodeRef,
    /// The earlier of the parents' deadlines, or `NEVER`.
    pub(crate) when: i64,
    /// The key in the second parent's list of children, or `NONE`.
    slot: AtomicU32,
    /// 1 if the node inherited the second parent's end. Written before `DONE`.
    ended_by_second: AtomicU8,
    /// The number of the cancel that ended the node, if a cancel did. Written before `DONE` (invariant 9).
    cancel_number: AtomicU32,
}

impl Merge {
    pub(crate) fn new(other: NodeRef, when: i64) -> Self {
        Merge {
            other,
            when,
            slot: AtomicU32::new(NONE),
            ended_by_second: AtomicU8::new(0),
            cancel_number: AtomicU32::new(0),
        }
    }
}

/// The fields that a shielded context has besides its parent.
pub(crate) struct Shield {
    /// The time from the end of the parent to the end of the node, in nanoseconds.
    pub(crate) grace: i64,
    /// The parent's deadline plus the grace, or `NEVER`.
    pub(crate) when: i64,
    /// The clock of the grace.
    pub(crate) clock: Clock,
}

/// How a node ended. While the node is live: the line that created the node, and a deadline's cause.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) location: &'static Location<'static>,
    pub(crate) cause: Option<Cause>,
    /// For a deadline, the original timeout in nanoseconds. For a cancel, its exact time in ticks of the clock. For a
    /// deadline's end that a node with a flag of `NO_COPY` has inherited, also the exact time.
    pub(crate) detail: i64,
}

/// A function that runs at the end. It keeps its context alive until it runs or is removed.
pub(crate) struct Callback {
    pub(crate) run: Box<dyn FnOnce() + Send>,
    pub(crate) context: NodeRef,
}

/// One context that is not a root.
// The fields used by a walk up the tree come first (row C4). The fields used to mark a child are adjacent (row C9).
#[repr(C)]
pub(crate) struct Node {
    refs: AtomicU32,
    pub(in crate::raw) state: AtomicU8,
    pub(crate) flags: u8,
    /// Which field of `word` is valid.
    tag: Tag,
    /// Bits of `note`.
    notes: AtomicU8,
    /// For a deadline or a grace, the key in the queue of timers, or `NONE`. For a node that its own cancel ended, the number of
    /// the cancel, written before `DONE` (invariant 9).
    pub(in crate::raw) timer: AtomicU32,
    /// The key in the parent's list of children, or `NONE`.
    slot: AtomicU32,
    pub(crate) parent: Option<NodeRef>,
    guarded: Cell<ManuallyDrop<Guarded>>,
    end: Cell<End>,
    word: Word,
    /// Read by every use and ended by the free, so that loom checks that every use happens before the free.
    alive: Access,
}

// SAFETY: all fields are Send + Sync, except for the two cells and the pointers to children. The cells are accessed only under
// the lock bit or after `DONE` (invariants 2 and 3), and the pointers only as invariant 4 allows.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

// No user code runs under a node's lock (invariant 5), so a panic leaves no invariant broken.
impl UnwindSafe for Node {}
impl RefUnwindSafe for Node {}

impl Node {
    /// Follows a pointer of invariant 4.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the list that contains the pointer, for as long as the reference is used.
    #[inline]
    pub(in crate::raw) unsafe fn follow<'a>(pointer: NonNull<Node>) -> &'a Node {
        // SAFETY: the list's lock is held, so the node is not freed (invariant 4).
        let node = unsafe { pointer.as_ref() };
        node.alive.read();
        node
    }

    /// Returns the kind of this node.
    #[inline]
    pub(crate) fn kind(&self) -> Kind<'_> {
        // SAFETY: `allocate` wrote `tag` and `word` together, and `word` is dropped with the node.
        unsafe { self.word.kind(self.tag) }
    }

    /// Returns the effective deadline of a node that can end, or `NEVER`. The deadline is a copy made when the node was
    /// created, so it is valid only for nodes without a flag of `NO_COPY`.
    #[inline]
    pub(crate) fn deadline(&self) -> i64 {
        // SAFETY: as in `kind`.
        unsafe { self.word.deadline(self.tag) }
    }

    /// Returns the end of a node that is done.
    #[inline]
    pub(crate) fn end(&self) -> Option<(u8, &End)> {
        let bits = self.state.load(Ordering::Acquire);
        // SAFETY: `DONE` was read with acquire, so `end` was written before, and is not written again (invariant 3).
        (bits & state::DONE != 0).then(|| (bits, unsafe { &*self.end.read() }))
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

    /// Returns the nearest node above that can end, if its end is also this node's end.
    #[inline]
    pub(crate) fn cancel_parent(&self) -> Option<&NodeRef> {
        if matches!(self.tag, Tag::WithoutCancel | Tag::Shielded) {
            return None;
        }
        self.parent.as_ref()?.ender()
    }

    /// Returns the nearest node above that can end, if this node ends with it or a grace after it (invariant 12 in `tree`).
    #[inline]
    pub(crate) fn link_parent(&self) -> Option<&NodeRef> {
        if self.tag == Tag::WithoutCancel {
            return None;
        }
        self.parent.as_ref()?.ender()
    }

    /// Returns when this shielded node ends, once its parent has ended. Returns `None` for every other node.
    #[inline]
    pub(in crate::raw) fn end_of_grace(&self) -> Option<i64> {
        let Kind::Shielded(shield) = self.kind() else { return None };
        let parent = self.link_parent()?;
        parent.end().is_some().then(|| parent.ended_at().saturating_add(shield.grace))
    }

    /// Returns the time for which the timer of this node is armed.
    #[inline]
    pub(in crate::raw) fn timer_at(&self) -> i64 {
        match self.kind() {
            Kind::Movable(movable) => movable.armed(),
            _ => self.end_of_grace().unwrap_or_else(|| self.deadline()),
        }
    }

    /// Returns the same as `cancel_parent`, but for the second parent of a merged context.
    #[inline]
    pub(crate) fn second_parent(&self) -> Option<&NodeRef> {
        match self.kind() {
            Kind::Merge(merge) => merge.other.ender(),
            _ => None,
        }
    }

    /// Returns the parent whose end a done node has inherited.
    fn source_of_end(&self) -> Option<&NodeRef> {
        match self.kind() {
            Kind::Merge(merge) if merge.ended_by_second.load(Ordering::Relaxed) != 0 => self.second_parent(),
            _ => self.link_parent(),
        }
    }

    /// Returns the node where the end of this done node began.
    pub(crate) fn origin_of_end(&self) -> &Node {
        let mut node = self;
        while node.end().is_some_and(|(bits, _)| bits & state::OWN == 0)
            && let Some(source) = node.source_of_end()
        {
            node = source;
        }
        node
    }

    /// Returns the moves of this node's deadline before it ended the node, if the deadline can be moved.
    pub(crate) fn moves_before_end(&self) -> Option<Moves> {
        match self.kind() {
            Kind::Movable(movable) => Some(movable.moves_before_end()),
            _ => None,
        }
    }

    /// Returns the number of the cancel that ended this node (invariant 9).
    pub(in crate::raw) fn cancel_number(&self) -> u32 {
        let mut node = self;
        loop {
            if let Kind::Merge(merge) = node.kind() {
                return merge.cancel_number.load(Ordering::Relaxed);
            }
            match node.source_of_end() {
                Some(source) if node.end().is_some_and(|(bits, _)| bits & state::OWN == 0) => node = source,
                _ => return node.timer.load(Ordering::Relaxed),
            }
        }
    }

    /// Records that the canceler was detached. The caller holds the lock.
    pub(in crate::raw) fn set_detached(&self) {
        self.notes.store(note::DETACHED, Ordering::Relaxed);
    }

    pub(in crate::raw) fn is_detached(&self) -> bool {
        self.notes.load(Ordering::Relaxed) == note::DETACHED
    }

    /// Makes a new node with a deadline a timer. Metrics do not count the end of a timer.
    pub(crate) fn set_timer(&self) {
        self.notes.store(note::TIMER, Ordering::Relaxed);
    }

    #[cfg(feature = "metrics")]
    pub(in crate::raw) fn is_timer(&self) -> bool {
        self.notes.load(Ordering::Relaxed) == note::TIMER
    }

    /// Returns whether this is a merged context, with two parents.
    #[inline]
    pub(crate) fn is_merged(&self) -> bool {
        self.tag == Tag::Merge
    }

    /// Returns the key of this node in the list of its first or second parent.
    fn edge(&self, second: bool) -> &AtomicU32 {
        match self.kind() {
            Kind::Merge(merge) if second => &merge.slot,
            _ => &self.slot,
        }
    }

    /// Inserts `child` into this node's list, unless the list contains it. Returns false if this node is done. In that case no
    /// end will be pushed to the child.
    pub(in crate::raw) fn link(&self, child: &NodeRef, second: bool) -> bool {
        let mut guard = self.lock();
        if guard.bits & state::DONE != 0 {
            return false;
        }
        let edge = child.edge(second);
        // Only a holder of this lock changes `edge`.
        if edge.load(Ordering::Relaxed) == NONE {
            let slot = guard.fields().more().children.insert(Child { node: child.pointer(), second });
            edge.store(slot, Ordering::Relaxed);
        }
        true
    }

    /// Records that `child` is no longer in its parent's list. This is the caller's last access to `child` without a strong
    /// reference (invariant 4). Takes a pointer, because the node may be freed before this function returns.
    ///
    /// # Safety
    ///
    /// The caller removed `child` from the list, and holds the lock of the list's node.
    pub(in crate::raw) unsafe fn unlinked(child: NonNull<Node>, second: bool) {
        // SAFETY: the node is not freed before `NONE` is stored (invariant 4).
        let edge = unsafe { child.as_ref() }.edge(second);
        edge.store(NONE, Ordering::Release);
    }

    /// Removes this node from `parent`'s list, if it is in that list.
    fn unlink(&self, parent: Option<&NodeRef>, second: bool) {
        let edge = self.edge(second);
        if edge.load(Ordering::Acquire) == NONE {
            return;
        }
        if let Some(parent) = parent {
            let mut guard = parent.lock();
            // Read again under the lock, because a propagation may have removed the node meanwhile.
            let slot = edge.load(Ordering::Relaxed);
            if slot != NONE
                && let Some(more) = guard.fields().rest()
            {
                more.children.remove(slot);
            }
        }
    }

    /// Removes a dying node from every list that points to it (invariant 4).
    #[inline]
    fn unregister(&self) {
        if self.slot.load(Ordering::Acquire) != NONE {
            self.unlink(self.link_parent(), false);
        }
        if self.is_merged() {
            self.unlink(self.second_parent(), true);
        }
        if self.is_armed() {
            self.clock().timers().disarm(self);
        }
        #[cfg(feature = "tokio-util")]
        super::tree::token::outlive(self);
    }

    /// Returns whether the node is in a queue of timers.
    #[inline]
    fn is_armed(&self) -> bool {
        matches!(self.tag, Tag::Deadline | Tag::ClockedDeadline | Tag::Movable | Tag::Shielded)
            && self.timer.load(Ordering::Acquire) != NONE
    }

    /// Returns whether no list points to this node.
    #[inline]
    fn is_unregistered(&self) -> bool {
        self.slot.load(Ordering::Acquire) == NONE
            && !self.is_armed()
            && (!self.is_merged() || self.edge(true).load(Ordering::Acquire) == NONE)
    }

    /// Returns the nearest name at or above this node. In a merged context, the first parent's name takes precedence.
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
            match node.kind() {
                Kind::Name(name) => return Some(name),
                Kind::Merge(merge) => {
                    if !seen.insert(&raw const *merge) {
                        continue;
                    }
                    pending.push(&*merge.other);
                }
                _ => {}
            }
            at = node.parent.as_deref();
        }
    }

    /// Returns the nearest clock at or above this node.
    pub(crate) fn clock(&self) -> &Clock {
        let mut node = Some(self);
        while let Some(at) = node
            && at.flags & flag::CLOCK != 0
        {
            // SAFETY: as in `kind`.
            if let Some(clock) = unsafe { at.word.clock(at.tag) } {
                return clock;
            }
            node = at.parent.as_deref();
        }
        Clock::SYSTEM
    }
}

impl Node {
    /// Returns whether dropping the node runs user code, because the node holds a value, a cause or a listener.
    fn holds_users_code(&mut self) -> bool {
        matches!(self.tag, Tag::Value | Tag::Attached) || self.end.get_mut().cause.is_some()
    }

    /// Takes the second parent out of a merged node, before the node is dropped.
    #[inline]
    fn take_second_parent(&mut self) -> Option<NodeRef> {
        if !self.is_merged() {
            return None;
        }
        let tag = std::mem::replace(&mut self.tag, Tag::WithoutCancel);
        // SAFETY: as in `kind`. The new tag records that the word holds nothing more.
        unsafe { self.word.drop(tag) }.map(|merge| merge.other)
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        self.alive.end();
        self.end.get_mut();
        let guarded = self.guarded.get_mut();
        // Checked here, so that most nodes need no call.
        if !matches!(**guarded, Guarded::Many(None)) {
            // SAFETY: nothing uses `guarded` after this.
            unsafe { ManuallyDrop::drop(guarded) }
        }
        // SAFETY: as in `kind`. Nothing uses the word after this.
        drop(unsafe { self.word.drop(self.tag) });
    }
}

/// The lock of a node (invariant 2). Unlocks when dropped.
pub(crate) struct NodeGuard<'a> {
    node: &'a Node,
    /// The bits that are stored in `state` at unlock.
    pub(crate) bits: u8,
}

impl NodeGuard<'_> {
    pub(crate) fn is_done(&self) -> bool {
        self.bits & state::DONE != 0
    }

    pub(crate) fn fields(&mut self) -> &mut Guarded {
        // SAFETY: this guard holds the lock bit, which guards the cell (invariant 2).
        unsafe { &mut *self.node.guarded.write() }
    }

    /// Writes the end, which becomes visible at unlock. Returns the replaced cause, which the caller drops without the lock.
    pub(crate) fn set_end(&mut self, bits: u8, end: End) -> Option<Cause> {
        debug_assert!(!self.is_done());
        self.bits |= state::DONE | bits;
        // SAFETY: the node is not done and is locked, so no other thread reads or writes `end` (invariants 2 and 3).
        let End { cause: replaced, .. } = unsafe { std::mem::replace(&mut *self.node.end.write(), end) };
        replaced
    }

    /// Returns where the deadline of a node was set, and its original timeout in nanoseconds. Returns `None` if the node is
    /// done.
    pub(in crate::raw) fn deadline_set(&self) -> Option<(&'static Location<'static>, i64)> {
        if self.is_done() {
            return None;
        }
        // SAFETY: the node is not done and is locked, so no other thread writes `end` (invariants 2 and 3).
        let end = unsafe { &*self.node.end.read() };
        Some((end.location, end.detail))
    }

    /// Records which parent's end a node inherits, before `set_end` makes it visible.
    pub(crate) fn set_source_of_end(&mut self, parent: &Node) {
        if let Kind::Merge(merge) = self.node.kind() {
            let is_second =
                self.node.second_parent().is_some_and(|second| std::ptr::eq::<Node>(&raw const **second, parent));
            merge.ended_by_second.store(u8::from(is_second), Ordering::Relaxed);
            merge.cancel_number.store(parent.cancel_number(), Ordering::Relaxed);
        }
    }

    /// Records the number of the cancel that ends this node, before `set_end` makes it visible.
    pub(crate) fn set_cancel_number(&mut self, number: u32) {
        self.node.timer.store(number, Ordering::Relaxed);
    }

    /// Does the same as `set_end` for a node that its own deadline ends. `end` was written when the node was created.
    pub(crate) fn set_own_deadline_end(&mut self, bits: u8) {
        debug_assert!(!self.is_done());
        self.bits |= state::DONE | bits;
        if let Kind::Movable(movable) = self.node.kind() {
            movable.record_end();
        }
    }

    /// Does the same as `set_end` for a dropped `Canceler`. The location was written when the node was created.
    pub(crate) fn set_dropped_end(&mut self, bits: u8, detail: i64) {
        debug_assert!(!self.is_done());
        self.bits |= state::DONE | bits;
        // SAFETY: as in `set_end`.
        unsafe { (*self.node.end.write()).detail = detail }
    }
}

impl Drop for NodeGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.node.state.store(self.bits & !state::LOCKED, Ordering::Release);
    }
}
