//! How an end travels: pulled by whoever asks, pushed to whoever waits.
//!
//! A new node only holds its parent; nobody knows of it. Whether it has ended is found by walking up. The first time somebody
//! waits on it (or asks often), the path to its root is linked, each parent to child, and the timers above are armed: from then
//! on it is *watched*, and its own state says it all.
//!
//! # Invariants (1 to 5 are in `node`)
//!
//! 6. **What an end is.** A node has ended when it or any node it can be ended by is `DONE`, or a deadline among them has passed.
//!    `DONE` of the node itself is the memory of that, written once. Whoever reports an error or a cause first writes it on every
//!    node of the path, from the top down, so that it cannot change afterwards.
//! 7. **Watched.** `WATCHED` is stored after each edge from the node to its root (or to a watched node) has been linked and the
//!    timers of the deadlines on that path have been armed. Edges are linked from below; a parent that is `DONE` refuses, and
//!    then the child has ended. So every end above a watched node reaches it.
//! 8. **Propagations.** Whoever marks a node that has children `DONE` counts itself in `propagations` before the mark and
//!    leaves after each of the children it took is marked, and theirs. So if a watched node is not marked although one above it
//!    is, the count is not zero, and who knows of the mark above (happens-before) reads it so. Therefore `propagations` is read
//!    before `state`, and `WATCHED` is believed only when it read zero. This is why a `cancel` that finds its node done may
//!    return at once: the descendants are done for every asker, though another thread still writes the marks.
//! 9. **One end.** Of two ends the earlier wins, a deadline against a cancel at the same moment. A cancel therefore notes its
//!    time, and looks for ends above itself before it marks.

use std::collections::HashSet;
use std::panic::Location;
use std::task::{Poll, Waker};

use super::node::{Callback, Child, End, More, NEVER, Node, NodeGuard, NodeRef, Payload, flag, state};
use crate::background;
use crate::cause::Cause;
use crate::clock::Clock;
use crate::slab::NONE;
use crate::sync::{Ordering, propagations};

/// How many children are marked under their parent's lock before their wakers are called without it.
const CHUNK: usize = 64;
/// How far ahead a child's memory is touched, so that it is near when its turn comes.
const AHEAD: usize = 12;

// ===== asking =====

impl NodeRef {
    /// Whether the node has ended, exactly: with a reading of the clock when a deadline could have passed.
    pub(crate) fn ended(&self) -> bool {
        let Some(node) = self.ender() else { return false };
        node.marked_above() || node.expired()
    }

    /// As `ended`, for a hot loop.
    ///
    /// A watched node under a deadline is told by its timer, and asks the clock itself on a `frequent` call only: late by
    /// the timer's lateness or by the calls between, whichever is less. (On a clock that is moved by hand it always asks.)
    #[inline]
    pub(crate) fn ended_in_a_loop(&self) -> bool {
        const ASKED: u8 = state::DONE | state::WATCHED | state::TIMED | state::CLOCKED;
        const TIMED: u8 = state::WATCHED | state::TIMED;
        let quiet = propagations().load(Ordering::Acquire) == 0;
        match self.state.load(Ordering::Acquire) & ASKED {
            state::WATCHED if quiet => false,
            TIMED if quiet && !frequent() => false,
            _ => self.ended_in_a_loop_slow(quiet),
        }
    }

    #[inline(never)]
    fn ended_in_a_loop_slow(&self, quiet: bool) -> bool {
        let Some(node) = self.ender() else { return false };
        let bits = node.state.load(Ordering::Acquire);
        if bits & state::DONE != 0 {
            return true;
        }
        if bits & state::WATCHED != 0 && quiet {
            return node.expired();
        }
        if frequent() {
            // Asked again and again: from now on let an end be pushed here.
            watch(node);
        }
        node.marked_above() || node.expired()
    }
}

/// Whether this call is the one of many, on this thread, that may take a longer way.
#[cfg(not(ripcord_loom))]
#[inline]
fn frequent() -> bool {
    thread_local! {
        static CALLS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    let calls = CALLS.get().wrapping_add(1);
    CALLS.set(calls);
    calls.is_multiple_of(64)
}

/// A model must take the same way each time.
#[cfg(ripcord_loom)]
fn frequent() -> bool {
    false
}

impl Node {
    /// Whether this node or one above is marked (invariants 6 and 8).
    fn marked_above(&self) -> bool {
        let quiet = propagations().load(Ordering::Acquire) == 0;
        let mut node = self;
        loop {
            let bits = node.state.load(Ordering::Acquire);
            if bits & state::DONE != 0 {
                return true;
            }
            if bits & state::WATCHED != 0 && quiet {
                return false;
            }
            if matches!(node.payload, Payload::Merge(_)) {
                return node.any_above(&mut |node| node.end().is_some());
            }
            match node.cancel_parent() {
                Some(parent) => node = parent,
                None => return false,
            }
        }
    }

    /// Whether a deadline at or above this node has passed on its own clock.
    fn expired(&self) -> bool {
        if self.flags & flag::DEADLINE == 0 {
            return false;
        }
        if self.flags & flag::CLOCK != 0 {
            // Several clocks may be involved: each deadline is asked for itself.
            return self.any_above(&mut |node| match node.payload {
                Payload::Deadline { when } => node.clock().has_come(when),
                _ => false,
            });
        }
        Clock::SYSTEM.has_come(self.deadline())
    }

    /// Whether `found` holds of this node or of any that can end it: along both parents of merged ones, each merged one once.
    fn any_above(&self, found: &mut dyn FnMut(&Node) -> bool) -> bool {
        let mut seen = HashSet::new();
        let mut pending = vec![self];
        while let Some(mut node) = pending.pop() {
            loop {
                if found(node) {
                    return true;
                }
                if let Some(second) = node.second_parent() {
                    if !seen.insert(std::ptr::from_ref(node)) {
                        break;
                    }
                    pending.push(second);
                }
                match node.cancel_parent() {
                    Some(parent) => node = parent,
                    None => break,
                }
            }
        }
        false
    }

    /// The effective deadline of a node that can end, or `NEVER`.
    #[inline]
    pub(crate) fn deadline(&self) -> i64 {
        match &self.payload {
            Payload::Cancel { when } | Payload::Deadline { when } => *when,
            Payload::Merge(merge) => merge.when,
            _ => NEVER,
        }
    }

    /// When a done node ended.
    fn ended_at(&self) -> i64 {
        match self.end() {
            Some((bits, end)) if bits & state::DEADLINE == 0 => end.detail,
            _ => self.deadline(),
        }
    }
}

// ===== ending =====

/// Ends the node by a cancel made at `location`, unless it has ended already. When this returns the node and all below have
/// ended, whoever ended them.
pub(crate) fn cancel(node: &Node, location: &'static Location<'static>, cause: Option<Cause>) {
    if let Some(at) = may_cancel(node) {
        mark(node, |guard| Some(guard.set_end(state::OWN, End { location, cause, detail: at })));
    }
}

/// As `cancel`, for a `Canceler` that is dropped: the place is where it was made.
pub(crate) fn cancel_dropped(node: &Node) {
    if let Some(at) = may_cancel(node) {
        mark(node, |guard| {
            guard.set_end_at_place_foreseen(state::OWN | state::DROPPED, at);
            None
        });
    }
}

/// The time, if the node has not ended by anything else up to now (invariant 9).
fn may_cancel(node: &Node) -> Option<i64> {
    if node.end().is_some() {
        return None;
    }
    if node.marked_above() || node.expired() {
        settle(node);
        return None;
    }
    // With nothing below it nothing there can have ended before: then the time is only for people. (What is derived later is
    // done from its first moment.)
    Some(if node.is_childless() { node.clock().coarse_ticks() } else { node.clock().ticks() })
}

/// Ends a new node with its parent's end, if the parent has ended: also when the new one has a deadline that is in the past.
pub(crate) fn end_at_birth(node: &NodeRef) {
    let Some(parent) = node.cancel_parent() else { return };
    if parent.ended() {
        settle(parent);
        inherit(node, parent);
    }
}

/// The end of a node that is not marked, once it has ended: written down on the whole path above it first (invariant 6).
pub(crate) fn settled(node: &NodeRef) -> Option<(u8, &End)> {
    if !node.ended() {
        return None;
    }
    settle(node);
    node.end()
}

/// Marks every ended node among `node` and those above it, from the top down.
pub(super) fn settle(node: &Node) {
    // Nearly always there is nothing to do above: it is settled already, or has not ended.
    let is_settled = |parent: &NodeRef| parent.end().is_some() || !parent.ended();
    if node.cancel_parent().is_none_or(is_settled) && node.second_parent().is_none_or(is_settled) {
        settle_one(node);
        return;
    }
    settle_path(node);
}

fn settle_path(node: &Node) {
    enum Step<'a> {
        Enter(&'a Node),
        Leave(&'a Node),
    }
    let mut seen = HashSet::new();
    let mut steps = vec![Step::Enter(node)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Enter(node) => {
                if node.end().is_some() {
                    continue;
                }
                let second = node.second_parent();
                if matches!(node.payload, Payload::Merge(_)) && !seen.insert(std::ptr::from_ref(node)) {
                    continue;
                }
                steps.push(Step::Leave(node));
                steps.extend(second.map(|node| Step::Enter(node)));
                steps.extend(node.cancel_parent().map(|node| Step::Enter(node)));
            }
            Step::Leave(node) => settle_one(node),
        }
    }
}

/// Marks a node whose parents are settled, if it has ended.
fn settle_one(node: &Node) {
    let inherited = earlier_of(node.cancel_parent(), node.second_parent());
    let own = match node.payload {
        Payload::Deadline { when } if node.clock().has_come(when) => Some(when),
        _ => None,
    };
    match (own, inherited) {
        (Some(when), Some(parent)) if when <= parent.ended_at() => mark(node, foreseen),
        (_, Some(parent)) => inherit(node, parent),
        (Some(_), None) => mark(node, foreseen),
        (None, None) => {}
    }
}

/// Marks a node with the end of a done parent.
fn inherit(node: &Node, parent: &Node) {
    if let Some((bits, end)) = parent.end() {
        mark(node, |guard| Some(guard.set_end(bits & INHERITED, end.clone())));
    }
}

/// A deadline's own end.
fn foreseen(guard: &mut NodeGuard<'_>) -> Option<End> {
    guard.set_end_as_foreseen(state::DEADLINE | state::OWN);
    None
}

/// Of the parents that are done the one that ended first. (When is asked only if both are: it may take a walk.)
fn earlier_of<'a>(first: Option<&'a NodeRef>, second: Option<&'a NodeRef>) -> Option<&'a NodeRef> {
    let done = |node: Option<&'a NodeRef>| node.filter(|node| node.end().is_some());
    match (done(first), done(second)) {
        (Some(first), Some(second)) if second.ended_at() < first.ended_at() => Some(second),
        (first, second) => first.or(second),
    }
}

/// What a child takes over of its parent's end.
const INHERITED: u8 = state::DEADLINE | state::DROPPED;

/// Marks the node done with what `set_end` writes, unless it is done; then tells everybody who waits for it.
fn mark(node: &Node, set_end: impl FnOnce(&mut NodeGuard<'_>) -> Option<End>) {
    let mut guard = node.lock();
    if guard.is_done() {
        return;
    }
    let has_children = guard.fields().has_children();
    if has_children {
        propagations().fetch_add(1, Ordering::AcqRel);
    }
    let replaced = set_end(&mut guard);
    let waiter = guard.fields().take_first();
    let told = guard.fields().rest().map(|more| {
        let mut told = Told::default();
        told.take(more);
        told
    });
    drop(guard);
    let _counted = has_children.then(|| Counted);
    if let Some(replaced) = replaced {
        background::shielded(|| drop(replaced));
    }
    waiter.into_iter().for_each(wake);
    if let Some(mut told) = told {
        told.tell();
        if has_children {
            propagate(node, &mut told);
        }
    }
}

/// Leaves `propagations` (invariant 8), also when unwinding.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        propagations().fetch_sub(1, Ordering::AcqRel);
    }
}

/// Marks everything below a node that was just marked: from a list, since trees are of the user's size.
fn propagate(top: &Node, told: &mut Told) {
    let mut found = Found::default();
    mark_children(top, top.ended_at(), &mut found, told);
    while let Some((parent, at)) = found.parents.pop() {
        mark_children(&parent, at, &mut found, told);
        // It may be dropped here: no lock is held.
    }
    for node in found.late {
        settle(&node);
    }
}

/// What marking children left to do.
#[derive(Default)]
struct Found {
    /// Nodes that were marked and have children, and when they ended.
    parents: Vec<(NodeRef, i64)>,
    /// Merged nodes that were not marked, since their other parent may have ended before: `settle` finds out.
    late: Vec<NodeRef>,
}

/// Marks the children of a node that ended `at`.
fn mark_children(parent: &Node, at: i64, found: &mut Found, told: &mut Told) {
    let Some((bits, end)) = parent.end() else { return };
    loop {
        let mut guard = parent.lock();
        let Some(more) = guard.fields().rest() else { return };
        for _ in 0..CHUNK {
            if let Some(ahead) = more.children.peek_back(AHEAD) {
                // SAFETY: in the list of `parent`, whose lock is held (invariant 4).
                let ahead = unsafe { ahead.node.as_ref() };
                std::hint::black_box(ahead.flags);
            }
            let Some(Child { node, second }) = more.children.pop() else { break };
            // SAFETY: it was in the list of `parent`, whose lock is held, and `unlinked` below is the last access
            // (invariant 4).
            let child = unsafe { node.as_ref() };
            let marked = mark_child(child, at, bits, end, told);
            // SAFETY: as above.
            let upgrade = || unsafe { NodeRef::upgrade(node) };
            match marked {
                Marked::Leaf => {}
                Marked::Parent { at } => found.parents.extend(upgrade().map(|child| (child, at))),
                Marked::NotYet => found.late.extend(upgrade()),
            }
            child.unlinked(second);
        }
        let emptied = more.children.is_empty();
        drop(guard);
        told.tell();
        if emptied {
            return;
        }
    }
}

/// What became of a child.
enum Marked {
    /// Nothing is left to do: it has no children, or somebody else marked it and sees to them.
    Leaf,
    /// It has children, and ended `at`.
    Parent {
        at: i64,
    },
    NotYet,
}

/// Marks one child, under its parent's lock.
fn mark_child(child: &Node, at: i64, bits: u8, end: &End, told: &mut Told) -> Marked {
    let mut guard = child.lock();
    if guard.is_done() {
        return Marked::Leaf;
    }
    let at = match &child.payload {
        Payload::Deadline { when } if *when <= at => {
            guard.set_end_as_foreseen(state::DEADLINE | state::OWN);
            *when
        }
        Payload::Merge(merge) if merge.when <= at => return Marked::NotYet,
        _ => {
            told.garbage.extend(guard.set_end(bits & INHERITED, end.clone()).cause);
            at
        }
    };
    let fields = guard.fields();
    told.wakers.extend(fields.take_first());
    match fields.rest() {
        None => Marked::Leaf,
        Some(more) => {
            told.take(more);
            if more.children.is_empty() { Marked::Leaf } else { Marked::Parent { at } }
        }
    }
}

/// What to tell once no lock is held: users' code, all of it (invariant 5).
#[derive(Default)]
struct Told {
    wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
    garbage: Vec<Cause>,
}

impl Told {
    fn take(&mut self, more: &mut More) {
        while let Some(waker) = more.waiters.pop() {
            self.wakers.push(waker);
        }
        while let Some(callback) = more.callbacks.pop() {
            self.callbacks.push(callback);
        }
    }

    fn tell(&mut self) {
        self.wakers.drain(..).for_each(wake);
        for callback in self.callbacks.drain(..) {
            if callback.inline {
                background::shielded(callback.run);
            } else {
                background::spawn(callback.run);
            }
        }
        // A cause is the user's, and so is its drop.
        self.garbage.drain(..).for_each(|cause| background::shielded(|| drop(cause)));
    }
}

/// Wakes; a waker that panics is the panic hook's to report, and keeps nobody else from being woken.
fn wake(waker: Waker) {
    background::shielded(|| waker.wake());
}

// ===== waiting =====

/// Sees to it that every end above is pushed to the node from now on (invariant 7). It may have ended when this returns.
///
/// `node` can end, as `NodeRef::ender` gives it.
pub(crate) fn watch(node: &NodeRef) {
    if watch_above(node) {
        node.lock().bits |= state::WATCHED;
    }
}

/// Links the path from the node up, arms the timers on it, and marks all but the node itself watched. False when that is not
/// needed any more: the node is watched or done. Ends found on the way are settled.
fn watch_above(node: &NodeRef) -> bool {
    if node.state.load(Ordering::Acquire) & (state::WATCHED | state::DONE) != 0 {
        return false;
    }
    let mut child = node;
    loop {
        arm(child);
        match link_to_parent(child) {
            Linked::Refused => {
                settle(node);
                return false;
            }
            Linked::ToWatched => break,
            Linked::To(parent) => child = parent,
        }
    }
    let mut above = node.cancel_parent();
    while let Some(node) = above
        && node.state.load(Ordering::Acquire) & state::WATCHED == 0
    {
        node.lock().bits |= state::WATCHED;
        above = node.cancel_parent();
    }
    true
}

/// What became of linking a child to its parent.
enum Linked<'a> {
    To(&'a NodeRef),
    /// To a parent from which the way up is linked already, or to none at all.
    ToWatched,
    /// The parent has ended.
    Refused,
}

fn link_to_parent(child: &NodeRef) -> Linked<'_> {
    let Some(parent) = child.cancel_parent() else { return Linked::ToWatched };
    if !parent.link(child, false) {
        return Linked::Refused;
    }
    if parent.state.load(Ordering::Acquire) & state::WATCHED != 0 {
        return Linked::ToWatched;
    }
    Linked::To(parent)
}

/// Watches a new merged context: always, so that no walk has to fork (but for those of `any_above`).
pub(crate) fn watch_merged(node: &NodeRef) {
    for (parent, second) in [(node.cancel_parent(), false), (node.second_parent(), true)] {
        if let Some(parent) = parent {
            watch(parent);
            if !parent.link(node, second) {
                settle(node);
                return;
            }
        }
    }
    node.lock().bits |= state::WATCHED;
}

/// Arms the timer of a deadline's node.
fn arm(node: &NodeRef) {
    if let Payload::Deadline { when } = node.payload {
        let clock = node.clock();
        clock.timers().arm(node, when);
        // A clock that is moved by hand may have passed `when` before the timer was in its queue.
        if !clock.drives_itself() && clock.has_come(when) {
            settle(node);
        }
    }
}

/// Waits for the node's end: ready when it has ended, else `waker` will be woken then. `key` is `NONE` at the first call, and
/// goes to `forget_waiter` when the caller waits no more.
///
/// No wake-up is lost: the path is watched before the waker is put in under the node's lock, and whoever marks the node takes
/// the wakers out under that lock. So either the mark is seen here, or the waker by the marker.
///
/// `asked` says that the caller has just asked whether the node has ended; else it is asked here, so that a deadline in the past
/// is ready at the first call.
pub(crate) fn poll_done(node: &NodeRef, key: &mut u32, waker: &Waker, asked: bool) -> Poll<()> {
    if node.end().is_some() {
        return Poll::Ready(());
    }
    if *key == NONE {
        // Of the marks above, linking finds all that a propagation under way does not bring.
        let quiet = propagations().load(Ordering::Acquire) == 0;
        if !asked && (!quiet && node.marked_above() || node.expired()) {
            settle(node);
            return Poll::Ready(());
        }
        // Cloned before the lock is taken: it is user code (invariant 5).
        let waker = waker.clone();
        watch_above(node);
        let mut guard = node.lock();
        if guard.is_done() {
            drop(guard);
            return Poll::Ready(());
        }
        guard.bits |= state::WATCHED;
        *key = guard.fields().add_waiter(waker);
        return Poll::Pending;
    }
    let mut guard = node.lock();
    if guard.is_done() {
        return Poll::Ready(());
    }
    if guard.fields().waiter(*key).is_some_and(|known| known.will_wake(waker)) {
        return Poll::Pending;
    }
    drop(guard);
    let waker = waker.clone();
    let mut guard = node.lock();
    if guard.is_done() {
        drop(guard);
        return Poll::Ready(());
    }
    let replaced = guard.fields().waiter(*key).map(|known| std::mem::replace(known, waker));
    drop(guard);
    drop(replaced);
    Poll::Pending
}

/// Takes back the waker of a caller that waits no more.
pub(crate) fn forget_waiter(node: &Node, key: u32) {
    if node.end().is_some() {
        return;
    }
    let mut guard = node.lock();
    // A done node's wakers are on their way already.
    let waker = if guard.is_done() { None } else { guard.fields().remove_waiter(key) };
    drop(guard);
    drop(waker);
}

/// Registers a function to run at the end; gives it back when the node has ended.
pub(crate) fn add_callback(
    node: &NodeRef,
    inline: bool,
    run: Box<dyn FnOnce() + Send>,
) -> Result<u32, Box<dyn FnOnce() + Send>> {
    if node.ended() {
        settle(node);
        return Err(run);
    }
    let keep = node.clone();
    watch_above(node);
    let mut guard = node.lock();
    if guard.is_done() {
        drop(guard);
        return Err(run);
    }
    guard.bits |= state::WATCHED;
    Ok(guard.fields().more().callbacks.insert(Callback { run, inline, _keep: keep }))
}

/// Takes a function back that has not begun to run.
pub(crate) fn remove_callback(node: &Node, key: u32) -> Option<Callback> {
    let mut guard = node.lock();
    if guard.is_done() {
        return None;
    }
    guard.fields().rest()?.callbacks.remove(key)
}

/// The one token that is cancelled when the node ends; cancelled already when it has.
#[cfg(feature = "tokio-util")]
pub(crate) fn shared_token(node: &NodeRef) -> tokio_util::sync::CancellationToken {
    let token = {
        let mut guard = node.lock();
        if let Some(token) = guard.fields().more().token.clone() {
            drop(guard);
            // Whoever put it in may not have come to register it.
            if node.ended() {
                token.cancel();
            }
            return token;
        }
        // Put in at once, so that a second caller finds it: one registration is enough.
        guard.fields().more().token.insert(tokio_util::sync::CancellationToken::new()).clone()
    };
    let at_end = token.clone();
    if add_callback(node, true, Box::new(move || at_end.cancel())).is_err() {
        token.cancel();
    }
    token
}

#[cfg(all(test, not(ripcord_loom)))]
mod tests {
    use crate::Context;
    use crate::sync::{Ordering, propagations};

    #[test]
    fn who_counts_itself_into_propagations_leaves() {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, cancel_child) = ctx.with_cancel();
        let waits: Vec<_> = (0..3).map(|_| child.after_func(|| {})).collect();
        cancel_child.cancel();
        let (_sibling, _cancel) = ctx.with_cancel();
        cancel.cancel();
        assert!(child.is_done() && waits.len() == 3);
        // Other tests of this binary propagate too, each for a moment.
        for _ in 0..1_000_000 {
            if propagations().load(Ordering::Acquire) == 0 {
                return;
            }
            std::thread::yield_now();
        }
        panic!("propagations stay at {}", propagations().load(Ordering::Acquire));
    }
}
