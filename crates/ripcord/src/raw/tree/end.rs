//! Ending a node and all nodes below it.

use std::cmp::Ordering::{Equal, Less};
use std::collections::HashSet;
use std::panic::Location;

use super::notify::{Notifications, wake};
use crate::atomic::{Ordering, propagations};
use crate::background;
use crate::cause::Cause;
use crate::raw::movable::Movable;
use crate::raw::node::{Child, ChildSlot, End, Kind, Node, NodeGuard, NodeRef, flag, state};

/// The number of children that are marked under their parent's lock before the lock is released and their wakers are called.
const CHUNK: usize = 64;
/// The number of children ahead of the current child whose memory is touched, so that a child is in the cache when it is
/// marked.
const AHEAD: usize = 12;

/// Ends the node by a cancel made at `location`, unless the node has ended already. When this returns, the node and all nodes
/// below it have ended, whichever thread ended them.
pub(crate) fn cancel(node: &NodeRef, location: &'static Location<'static>, cause: Option<Cause>) {
    let Some(Moment { at, number }) = may_cancel(node) else { return };
    let has_children = mark(node, at, |guard| {
        guard.set_cancel_number(number);
        guard.set_end(state::OWN, End { location, cause, detail: at })
    });
    if has_children {
        propagate(vec![node.clone()]);
    }
}

/// Ends the node like `cancel`, for a `Canceler` that is dropped. The location of the end is the line that created the
/// canceler.
pub(crate) fn cancel_dropped(node: &NodeRef) {
    let Some(Moment { at, number }) = may_cancel(node) else { return };
    let has_children = mark(node, at, |guard| {
        guard.set_cancel_number(number);
        guard.set_dropped_end(state::OWN | state::DROPPED, at);
        None
    });
    if has_children {
        propagate(vec![node.clone()]);
    }
}

/// The moment of a cancel (invariant 9).
struct Moment {
    at: i64,
    /// The order of cancels that have the same time of the clock.
    number: u32,
}

/// Returns the moment of a cancel, or `None` if the node ended before the cancel (invariant 9).
fn may_cancel(node: &NodeRef) -> Option<Moment> {
    if node.end().is_some() {
        return None;
    }
    // The clock is read once, so that a cancel that wins over a deadline is never later than that deadline.
    let clock = node.clock();
    let now = clock.ticks();
    let has_ended =
        if node.flags & flag::SHIELDED == 0 { node.marked_above() || node.expired_at(now) } else { node.ended() };
    if has_ended {
        settle(node);
        return None;
    }
    Some(Moment { at: now, number: clock.number_cancel() })
}

/// Ends a new node with its parent's end, if the parent has ended. This also applies to a new node with a deadline in the past.
pub(crate) fn end_at_birth(node: &NodeRef) {
    let Some(parent) = node.cancel_parent() else { return };
    if parent.ended() {
        settle(parent);
        if let Kind::Movable(movable) = node.kind() {
            movable.seal();
        }
        // A new node has no children.
        let _none = inherit(node, parent);
    }
}

/// Returns the end of an unmarked node, if the node has ended. The end is first written on the whole path above the node
/// (invariant 6).
pub(crate) fn settled(node: &NodeRef) -> Option<(u8, &End)> {
    if !node.ended() {
        return None;
    }
    settle(node);
    node.end()
}

/// Marks every ended node among `node` and the nodes above it, from the top down.
pub(in crate::raw) fn settle(node: &NodeRef) {
    let mut marked = Vec::new();
    settle_into(node, &mut marked);
    propagate_if_any(marked);
}

fn propagate_if_any(marked: Vec<NodeRef>) {
    if !marked.is_empty() {
        propagate(marked);
    }
}

/// Marks like `settle`, and adds the marked nodes that have children to `marked`. The caller marks the nodes below them.
fn settle_into(node: &NodeRef, marked: &mut Vec<NodeRef>) {
    // Nearly always there is nothing to do above: the parent is settled already, or has not ended.
    let is_settled = |parent: &NodeRef| parent.end().is_some() || !parent.ended();
    if node.flags & flag::SHIELDED == 0
        && node.cancel_parent().is_none_or(is_settled)
        && node.second_parent().is_none_or(is_settled)
    {
        settle_one(node, marked);
    } else {
        settle_path(node, marked);
    }
}

fn settle_path(node: &NodeRef, marked: &mut Vec<NodeRef>) {
    enum Step<'a> {
        Enter(&'a NodeRef),
        Leave(&'a NodeRef),
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
                if second.is_some() && !seen.insert(std::ptr::from_ref::<Node>(node)) {
                    continue;
                }
                steps.push(Step::Leave(node));
                steps.extend(second.map(Step::Enter));
                steps.extend(node.link_parent().map(Step::Enter));
            }
            Step::Leave(node) => settle_one(node, marked),
        }
    }
}

/// Marks a node whose parents are settled, if the node has ended.
fn settle_one(node: &NodeRef, marked: &mut Vec<NodeRef>) {
    if let (Some(at), Some(parent)) = (node.end_of_grace(), node.link_parent()) {
        if at <= node.clock().ticks() && end_grace(node, parent, at) {
            marked.push(node.clone());
        }
        return;
    }
    let inherited = earlier_of(node.cancel_parent(), node.second_parent());
    let own = match node.kind() {
        Kind::Deadline { when } if when <= node.clock().ticks() => Some(when),
        Kind::Movable(movable) => own_end(movable, node.clock().ticks(), inherited.is_some()),
        _ => None,
    };
    let has_children = match (own, inherited) {
        (Some(when), Some(parent)) if is_first(when, parent.ended_at(), parent.is_canceled()) => {
            mark(node, when, foreseen)
        }
        (_, Some(parent)) => inherit(node, parent),
        (Some(when), None) => mark(node, when, foreseen),
        (None, None) => false,
    };
    if has_children {
        marked.push(node.clone());
    }
}

/// Returns the time at which a movable deadline ended its node, if the deadline did. Seals the deadline if the node ends
/// (invariant 13).
fn own_end(movable: &Movable, now: i64, parent_has_ended: bool) -> Option<i64> {
    if parent_has_ended || movable.expire(now) {
        let when = movable.seal();
        return (when <= now).then_some(when);
    }
    None
}

/// Returns whether a deadline at `when` ends its node before the parent's end does (invariant 9).
fn is_first(when: i64, parent_ended_at: i64, parent_is_canceled: bool) -> bool {
    when < parent_ended_at || when == parent_ended_at && parent_is_canceled
}

/// Marks a node with the end of a done parent. Returns the same as `mark`.
#[must_use]
fn inherit(node: &Node, parent: &Node) -> bool {
    parent.end().is_some_and(|(bits, end)| {
        let at = parent.ended_at();
        mark(node, at, |guard| {
            guard.set_source_of_end(parent);
            guard.set_end(bits & INHERITED, inherited_end(node, bits, end, at))
        })
    })
}

/// Marks a shielded node with the end of its parent, at the time when the grace ended. Returns the same as `mark`.
#[must_use]
fn end_grace(node: &Node, parent: &Node, at: i64) -> bool {
    parent.end().is_some_and(|(bits, end)| {
        let detail = if bits & state::DEADLINE == 0 || node.flags & flag::NO_COPY != 0 { at } else { end.detail };
        mark(node, at, |guard| guard.set_end(bits & INHERITED, End { detail, ..end.clone() }))
    })
}

/// Starts the grace of a node that was not linked because its parent has ended.
pub(super) fn start_grace(node: &NodeRef) {
    let mut marked = Vec::new();
    arm_grace(node, &mut marked);
    propagate_if_any(marked);
}

/// Arms the timer of a shielded node whose parent has ended and whose grace has not ended.
fn arm_grace(node: &NodeRef, marked: &mut Vec<NodeRef>) {
    if node.end().is_none()
        && let Some(at) = node.end_of_grace()
    {
        let clock = node.clock();
        clock.timers().arm(node);
        if clock.armed(at) {
            settle_into(node, marked);
        }
    }
}

/// Returns the end that a node writes when it inherits an end made `at`.
fn inherited_end(node: &Node, bits: u8, end: &End, at: i64) -> End {
    let end = end.clone();
    if bits & state::DEADLINE != 0 && node.flags & flag::NO_COPY != 0 { End { detail: at, ..end } } else { end }
}

/// Writes the end of a node by its own deadline.
fn foreseen(guard: &mut NodeGuard<'_>) -> Option<Cause> {
    guard.set_own_deadline_end(state::DEADLINE | state::OWN);
    None
}

/// Returns the done parent that ended first (invariant 9). Of two deadlines at the same moment, the deadline of the first
/// parent counts.
fn earlier_of<'a>(first: Option<&'a NodeRef>, second: Option<&'a NodeRef>) -> Option<&'a NodeRef> {
    let done = |node: Option<&'a NodeRef>| node.filter(|node| node.end().is_some());
    let order = |node: &NodeRef| (node.ended_at(), node.is_canceled());
    // Each parent is checked once. A parent that ends after its check ended later.
    let (first, second) = (done(first), done(second));
    let (Some(first), Some(second)) = (first, second) else { return first.or(second) };
    let is_second_earlier = match order(second).cmp(&order(first)) {
        // The numbers wrap.
        Equal if first.is_canceled() => second.cancel_number().wrapping_sub(first.cancel_number()).cast_signed() < 0,
        order => order == Less,
    };
    Some(if is_second_earlier { second } else { first })
}

/// The bits that a child inherits from its parent's end.
const INHERITED: u8 = state::DEADLINE | state::DROPPED;

/// Marks the node, which ended `at`, done with the end that `set_end` writes. Then notifies all waiters of the node. Does
/// nothing if the node is done. Returns true if the node was marked and has children. In this case the node was counted into
/// `propagations`, and the caller has to `propagate` it. (`mark` does not propagate, so that nothing recurses.)
#[must_use]
fn mark(node: &Node, at: i64, set_end: impl FnOnce(&mut NodeGuard<'_>) -> Option<Cause>) -> bool {
    let mut guard = node.lock();
    if guard.is_done() {
        return false;
    }
    let has_children = guard.fields().has_children();
    if has_children {
        propagations().fetch_add(1, Ordering::AcqRel);
    }
    let replaced = set_end(&mut guard);
    #[cfg(feature = "metrics")]
    let bits = guard.bits;
    let waiter = guard.fields().take_first();
    let notifications = guard.fields().rest().map(|more| {
        let mut notifications = Notifications::default();
        notifications.take(more, at);
        notifications
    });
    drop(guard);
    #[cfg(feature = "metrics")]
    if let Some(kind) = kind_of_own_end(bits)
        && !node.is_timer()
    {
        crate::metrics::context_ended(kind, node.name());
    }
    if let Some(replaced) = replaced {
        background::shielded(|| drop(replaced));
    }
    waiter.into_iter().for_each(wake);
    if let Some(mut notifications) = notifications {
        notifications.send();
    }
    has_children
}

/// Returns the kind of an end that began at the node with these bits. `None` if the end was inherited.
#[cfg(feature = "metrics")]
fn kind_of_own_end(bits: u8) -> Option<crate::metrics::Kind> {
    use crate::metrics::Kind;
    match bits & (state::OWN | state::DEADLINE | state::DROPPED) {
        own if own & state::OWN == 0 => None,
        own if own & state::DEADLINE != 0 => Some(Kind::DeadlineExceeded),
        own if own & state::DROPPED != 0 => Some(Kind::Dropped),
        _ => Some(Kind::Canceled),
    }
}

/// The number of marks counted into `propagations`. The drop subtracts them (invariant 8).
struct Counted(usize);

impl Drop for Counted {
    fn drop(&mut self) {
        propagations().fetch_sub(self.0, Ordering::AcqRel);
    }
}

/// Marks all nodes below the given nodes, which were just marked and counted. Uses a list instead of recursion, because the
/// user decides how deep a tree is.
fn propagate(mut marked: Vec<NodeRef>) {
    let mut counted = Counted(0);
    let mut notifications = Notifications::default();
    let mut remaining = Remaining::default();
    loop {
        counted.0 += marked.len();
        remaining.parents.extend(marked.drain(..).map(|node| {
            let at = node.ended_at();
            (node, at)
        }));
        while let Some((parent, at)) = remaining.parents.pop() {
            mark_children(&parent, at, &mut remaining, &mut notifications);
            // This may be the last reference, and its drop may run user code.
            background::shielded(|| drop(parent));
        }
        let Some(node) = remaining.late.pop() else { return };
        settle_into(&node, &mut marked);
        arm_grace(&node, &mut marked);
        background::shielded(|| drop(node));
    }
}

/// The work that is left after marking children.
#[derive(Default)]
struct Remaining {
    /// The marked nodes that have children, with the times at which they ended.
    parents: Vec<(NodeRef, i64)>,
    /// Nodes that may have ended before their parent, because of another parent or another clock, and nodes that end after
    /// their parent. `settle` finds out which.
    late: Vec<NodeRef>,
}

/// Marks the children of a node that ended `at`.
fn mark_children(parent: &Node, at: i64, remaining: &mut Remaining, notifications: &mut Notifications) {
    let Some((bits, end)) = parent.end() else { return };
    loop {
        let mut guard = parent.lock();
        let Some(more) = guard.fields().rest() else { return };
        for _ in 0..CHUNK {
            if let Some(ahead) = more.children.peek_back(AHEAD).and_then(ChildSlot::node) {
                // SAFETY: the pointer is in the list of `parent`, whose lock is held (invariant 4).
                let ahead = unsafe { ahead.as_ref() };
                std::hint::black_box(ahead.flags);
            }
            let Some(Child { node, second }) = more.children.pop() else { break };
            // SAFETY: the pointer was in the list of `parent`, whose lock is held, and `unlinked` below is the last access
            // (invariant 4).
            let child = unsafe { Node::follow(node) };
            let marked = mark_child(child, at, bits, end, notifications);
            // SAFETY: as above.
            let upgrade = || unsafe { NodeRef::upgrade(node) };
            match marked {
                Marked::Leaf => {}
                Marked::Parent { at } => remaining.parents.extend(upgrade().map(|child| (child, at))),
                Marked::NotYet => remaining.late.extend(upgrade()),
            }
            // SAFETY: as above, and `child` is not used after this.
            unsafe { Node::unlinked(node, second) };
        }
        let emptied = more.children.is_empty();
        drop(guard);
        notifications.send();
        if emptied {
            return;
        }
    }
}

/// The result of marking a child.
enum Marked {
    /// Nothing is left to do: the child has no children, or another thread marked it and marks its children.
    Leaf,
    /// The child has children, and ended `at`.
    Parent {
        at: i64,
    },
    NotYet,
}

/// Marks one child. The caller holds the parent's lock.
fn mark_child(child: &Node, at: i64, bits: u8, end: &End, notifications: &mut Notifications) -> Marked {
    let mut guard = child.lock();
    if guard.is_done() {
        return Marked::Leaf;
    }
    let own = match child.kind() {
        // The other parent may have ended before this parent.
        Kind::Merge(_) => return Marked::NotYet,
        Kind::Shielded(_) => return Marked::NotYet,
        // The child may be on another clock than its parent. Then the two times cannot be compared.
        Kind::Deadline { .. } | Kind::Movable(_) if child.flags & flag::CLOCK != 0 => return Marked::NotYet,
        Kind::Deadline { when } => Some(when),
        Kind::Movable(movable) => Some(movable.seal()),
        _ => None,
    };
    let at = match own {
        Some(when) if is_first(when, at, bits & state::DEADLINE == 0) => {
            guard.set_own_deadline_end(state::DEADLINE | state::OWN);
            #[cfg(feature = "metrics")]
            if !child.is_timer() {
                notifications.expired.push(child.name().cloned());
            }
            when
        }
        _ => {
            notifications.replaced.extend(guard.set_end(bits & INHERITED, inherited_end(child, bits, end, at)));
            at
        }
    };
    let fields = guard.fields();
    notifications.wakers.extend(fields.take_first());
    match fields.rest() {
        None => Marked::Leaf,
        Some(more) => {
            notifications.take(more, at);
            if more.children.is_empty() { Marked::Leaf } else { Marked::Parent { at } }
        }
    }
}
