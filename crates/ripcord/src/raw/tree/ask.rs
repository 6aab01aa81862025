//! Finds out whether a node has ended. The sources are the node's state, the nodes above it, and the clock.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use super::end::settle;
use super::wait::watch;
use crate::atomic::{Ordering, propagations};
use crate::error::Origin;
use crate::raw::clock::Clock;
use crate::raw::movable::Movable;
use crate::raw::node::{Kind, NEVER, Node, NodeRef, flag, state};

impl NodeRef {
    /// Returns whether the node has ended. The answer is exact: the clock is read if a deadline could have passed. Marks
    /// nothing, so a caller that reports an end settles it first (invariant 6).
    pub(super) fn ended(&self) -> bool {
        let Some(node) = self.ender() else { return false };
        if node.flags & flag::SHIELDED != 0 {
            // The end of the node depends on when the nodes above ended. Those times are known once the nodes are marked
            // (invariant 12).
            settle(node);
            return node.end().is_some();
        }
        node.marked_above() || node.expired()
    }

    /// Returns whether the node has ended, for `is_done`, after `goes_on_at_a_glance` has returned false. An end by the clock
    /// is marked before it is reported, so that no later observer reports otherwise (invariant 6).
    pub(crate) fn ended_in_a_loop(&self) -> bool {
        let Some(node) = self.ender() else { return false };
        if node.goes_on_at_a_glance() {
            return false;
        }
        if node.flags & flag::SHIELDED != 0 {
            return node.end().is_some() || node.ended();
        }
        let quiet = propagations().load(Ordering::Acquire) == 0;
        let bits = node.state.load(Ordering::Acquire);
        if bits & state::DONE != 0 {
            return true;
        }
        if bits & state::WATCHED == 0 || !quiet {
            if every_64th_call() {
                // The node is queried often: from now on, ends are pushed to it.
                watch(node);
            }
            if node.marked_above() {
                return true;
            }
        }
        let expired = node.expired();
        if expired {
            settle(node);
        }
        expired
    }
}

/// A deadline at a node.
#[derive(Clone, Copy)]
enum Deadline<'a> {
    Fixed(i64),
    Movable(&'a Movable),
}

impl Deadline<'_> {
    fn when(self) -> i64 {
        match self {
            Deadline::Fixed(when) => when,
            Deadline::Movable(movable) => movable.when(),
        }
    }

    fn is_idle(self) -> bool {
        matches!(self, Deadline::Movable(movable) if movable.idle().is_some())
    }
}

/// The bits of a node that was ended by its own deadline.
const OWN_DEADLINE: u8 = state::DEADLINE | state::OWN;

/// The result of a look at one node during a walk up the tree.
enum Look {
    Found,
    /// The walk continues above the node.
    Above,
    /// No node above needs a look.
    NotAbove,
}

/// Returns where the deadline of a node that can end was set. Returns `None` if the node has no deadline, or if another end
/// came before the deadline.
pub(crate) fn deadline_origin(node: &Node) -> Option<Origin> {
    let node = if node.holds_effective_deadline() { node } else { node.effective_deadline()?.0 };
    if let Kind::Movable(movable) = node.kind() {
        return movable_origin(node, movable);
    }
    let owner = node.deadline_owner()?;
    let (location, timeout) = match owner.end() {
        Some((bits, end)) => (bits & OWN_DEADLINE == OWN_DEADLINE).then_some((end.location, end.detail))?,
        None => owner.lock().deadline_set()?,
    };
    Some(Origin::of_deadline(owner, location, timeout))
}

fn movable_origin(node: &Node, movable: &Movable) -> Option<Origin> {
    let (location, moves) = match node.end() {
        Some((bits, end)) => {
            (bits & OWN_DEADLINE == OWN_DEADLINE).then(|| (end.location, movable.moves_before_end()))?
        }
        None => (node.lock().deadline_set()?.0, movable.moves_until(node.clock().ticks())),
    };
    Some(Origin::of_movable_deadline(node, location, moves))
}

/// Returns true at every 64th call on this thread. That call may take a slower path.
#[cfg(not(ripcord_loom))]
fn every_64th_call() -> bool {
    thread_local! {
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }
    let calls = CALLS.get().wrapping_add(1);
    CALLS.set(calls);
    calls.is_multiple_of(64)
}

/// Returns false, because a model must take the same path each time.
#[cfg(ripcord_loom)]
fn every_64th_call() -> bool {
    false
}

/// A thread's last reading of the system's clock. A hot loop compares deadlines with it (invariant 10).
struct Reading {
    now: Cell<i64>,
    /// The number of calls until the clock is read again.
    left: Cell<u32>,
    /// The number of calls from one reading to the next.
    stride: Cell<u32>,
}

const MAX_STRIDE: u32 = 64;
/// The maximum time from one reading to the next, in nanoseconds. The stride grows only up to half of this time, so that a loop
/// may slow down.
const MAX_AGE: i64 = 250_000;

impl Reading {
    /// Creates a reading that is renewed at the first call.
    const fn new() -> Reading {
        Reading { now: Cell::new(i64::MIN), left: Cell::new(0), stride: Cell::new(1) }
    }

    /// Returns whether `when` has passed by this reading. Renews the reading first if its calls are used up.
    #[inline]
    fn has_come(&self, when: i64) -> bool {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => self.renew(Clock::SYSTEM.ticks()),
        }
        when <= self.now.get()
    }

    #[cold]
    fn renew(&self, now: i64) {
        let age = now.saturating_sub(self.now.replace(now));
        let stride = match self.stride.get() {
            _ if age > MAX_AGE => 1,
            stride if age > MAX_AGE / 2 => stride,
            stride => (stride * 2).min(MAX_STRIDE),
        };
        self.stride.set(stride);
        self.left.set(stride - 1);
    }
}

/// Returns whether `when` has passed on the system's clock, by this thread's last reading.
#[cfg(not(ripcord_loom))]
#[inline]
fn has_come_at_a_glance(when: i64) -> bool {
    thread_local! {
        static READING: Reading = const { Reading::new() };
    }
    READING.with(|reading| reading.has_come(when))
}

/// Reads the clock at each call, because a model must take the same path each time.
#[cfg(ripcord_loom)]
fn has_come_at_a_glance(when: i64) -> bool {
    Reading::new().has_come(when)
}

impl Node {
    /// Returns whether the node's own state alone shows that the node has not ended (invariant 8). This is the fast path of a
    /// hot loop. A deadline on the system's clock is compared with the thread's last reading of that clock (invariant 10). For
    /// a deadline that can move or that is on another clock, returns false: the slow path reads the clock.
    #[inline]
    pub(crate) fn goes_on_at_a_glance(&self) -> bool {
        const ASKED: u8 = state::DONE | state::WATCHED | state::TIMED | state::CLOCKED;
        const TIMED: u8 = state::WATCHED | state::TIMED;
        let quiet = propagations().load(Ordering::Acquire) == 0;
        match self.state.load(Ordering::Acquire) & ASKED {
            state::WATCHED => quiet,
            TIMED => quiet && !has_come_at_a_glance(self.deadline()),
            _ => false,
        }
    }

    /// Returns whether this node or a node above it is marked (invariants 6 and 8).
    pub(super) fn marked_above(&self) -> bool {
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
            if node.is_merged() {
                return node.any_above(&mut |node| if node.end().is_some() { Look::Found } else { Look::Above });
            }
            match node.cancel_parent() {
                Some(parent) => node = parent,
                None => return false,
            }
        }
    }

    /// Returns whether a deadline at or above this node has passed on its own clock. A movable deadline that has passed is
    /// sealed when this returns (invariant 13).
    pub(super) fn expired(&self) -> bool {
        const MOVABLE: u8 = flag::DEADLINE | flag::MOVABLE;
        match self.flags & (flag::DEADLINE | flag::CLOCK | flag::CLOCKS | flag::MOVABLE) {
            flag::DEADLINE => Clock::SYSTEM.has_come(self.deadline()),
            MOVABLE => Clock::SYSTEM.has_come(self.next_deadline()) && self.expired_at(Clock::SYSTEM.ticks()),
            flags if flags & flag::DEADLINE != 0 => self.expired_at(self.clock().ticks()),
            _ => false,
        }
    }

    /// Returns the same as `expired`, for the time `now` on this node's clock.
    pub(super) fn expired_at(&self, now: i64) -> bool {
        if self.flags & flag::DEADLINE == 0 {
            return false;
        }
        if self.holds_effective_deadline() {
            return self.deadline() <= now;
        }
        // Each deadline is compared with its own clock.
        let one_clock = self.flags & flag::CLOCKS == 0;
        self.any_deadline(&mut |node, deadline| match deadline {
            Deadline::Fixed(when) if one_clock => when <= now,
            Deadline::Fixed(when) => node.clock().has_come(when),
            Deadline::Movable(movable) => movable.expire(if one_clock { now } else { node.clock().ticks() }),
        })
    }

    /// Returns the deadline that a node below this one copies: `NEVER` if this node holds no copy itself.
    #[inline]
    pub(crate) fn copied_deadline(&self) -> i64 {
        if self.holds_effective_deadline() { self.deadline() } else { NEVER }
    }

    /// Returns the earliest deadline at or above this node, including idle timeouts, or `NEVER`.
    pub(crate) fn next_deadline(&self) -> i64 {
        if self.holds_effective_deadline() {
            return if self.flags & flag::DEADLINE == 0 { NEVER } else { self.deadline() };
        }
        let mut earliest = NEVER;
        self.any_deadline(&mut |_, deadline| {
            earliest = earliest.min(deadline.when());
            false
        });
        earliest
    }

    /// Returns the node whose deadline is in effect at this node, which holds no copy, and the time at which that deadline ends
    /// this node. Of equal deadlines, the uppermost counts. Deadlines on different clocks are compared as instants. Idle
    /// timeouts do not count. Below a shielded node, the grace is added.
    pub(crate) fn effective_deadline(&self) -> Option<(&Node, i64)> {
        let mut owner: Option<(&Node, i64)> = None;
        // The grace with which each merged node was visited. A node is visited again only with less grace.
        let mut seen: HashMap<*const Node, i64> = HashMap::new();
        let mut pending: Vec<(&Node, i64)> = Vec::new();
        let mut at = Some((self, 0_i64));
        while let Some((node, grace)) = at.take().or_else(|| pending.pop()) {
            if let Some(deadline) = node.deadline_here()
                && deadline.when() != NEVER
                && !deadline.is_idle()
            {
                let when = deadline.when().saturating_add(grace);
                if owner.is_none_or(|(_, known)| when <= known) {
                    owner = Some((node, when));
                }
            }
            if node.holds_effective_deadline() {
                continue;
            }
            let first = node.link_parent().map(|parent| &**parent);
            match node.kind() {
                Kind::Shielded(shield) => at = first.map(|first| (first, grace.saturating_add(shield.grace))),
                Kind::Merge(_) => {
                    if seen.get(&std::ptr::from_ref(node)).is_none_or(|known| grace < *known) {
                        seen.insert(node, grace);
                        // The first parent comes last: of equal deadlines, the deadline of the first parent counts.
                        pending.extend(first.map(|first| (first, grace)));
                        at = node.second_parent().map(|second| (&**second, grace));
                    }
                }
                _ => at = first.map(|first| (first, grace)),
            }
        }
        owner
    }

    /// Returns whether this node holds the effective deadline of all nodes at and above it (invariant 14). Those deadlines
    /// count on one clock.
    #[inline]
    fn holds_effective_deadline(&self) -> bool {
        self.flags & flag::NO_COPY == 0
    }

    /// Returns this node's own deadline, or the effective deadline if the node holds it.
    fn deadline_here(&self) -> Option<Deadline<'_>> {
        match self.kind() {
            _ if self.flags & flag::DEADLINE == 0 => None,
            _ if self.holds_effective_deadline() => Some(Deadline::Fixed(self.deadline())),
            Kind::Deadline { when } => Some(Deadline::Fixed(when)),
            Kind::Movable(movable) => Some(Deadline::Movable(movable)),
            _ => None,
        }
    }

    /// Returns whether `found` returns true for a deadline at or above this node. Below a movable deadline, or between clocks,
    /// `found` is called for each deadline. Elsewhere it is called for the effective deadline.
    fn any_deadline<'a>(&'a self, found: &mut dyn FnMut(&'a Node, Deadline<'a>) -> bool) -> bool {
        self.any_above(&mut |node| {
            if node.deadline_here().is_some_and(|deadline| found(node, deadline)) {
                Look::Found
            } else if node.holds_effective_deadline() {
                Look::NotAbove
            } else {
                Look::Above
            }
        })
    }

    /// Returns whether `look` finds something in this node or in any node that can end it. The walk follows both parents of a
    /// merged node, once for each merged node. Without merged nodes, nothing is allocated.
    fn any_above<'a>(&'a self, look: &mut dyn FnMut(&'a Node) -> Look) -> bool {
        let mut seen = HashSet::new();
        let mut pending: Vec<&Node> = Vec::new();
        let mut at = Some(self);
        while let Some(node) = at.take().or_else(|| pending.pop()) {
            match look(node) {
                Look::Found => return true,
                Look::NotAbove => continue,
                Look::Above => {}
            }
            match node.second_parent() {
                Some(_) if !seen.insert(std::ptr::from_ref(node)) => continue,
                // The first parent comes last: of equal deadlines, the deadline of the first parent is found last.
                Some(second) => {
                    pending.extend(node.cancel_parent().map(|parent| &**parent));
                    at = Some(second);
                }
                None => at = node.cancel_parent().map(|parent| &**parent),
            }
        }
        false
    }

    /// Returns whether a cancel ended this done node.
    pub(super) fn is_canceled(&self) -> bool {
        self.end().is_some_and(|(bits, _)| bits & state::DEADLINE == 0)
    }

    /// Returns the node, at or above this one, whose own deadline is the deadline of this node. Of a merged context's parents,
    /// the parent with the earlier deadline counts, or the first parent if the deadlines are equal.
    fn deadline_owner(&self) -> Option<&Node> {
        let mut when = self.deadline();
        let mut node = self;
        loop {
            node = match node.kind() {
                Kind::Deadline { when: own } if own == when => return Some(node),
                Kind::Shielded(_) => {
                    let parent = node.link_parent()?;
                    when = parent.deadline();
                    parent
                }
                Kind::Merge(_) => {
                    let first = node.cancel_parent().filter(|parent| parent.deadline() == when);
                    first.or_else(|| node.second_parent())?
                }
                _ => node.cancel_parent()?,
            };
        }
    }

    /// Returns the exact time at which a done node ended (invariant 9).
    pub(crate) fn ended_at(&self) -> i64 {
        match (self.end(), self.kind()) {
            (Some((bits, end)), _) if bits & state::DEADLINE == 0 => end.detail,
            (Some((bits, end)), _) if bits & state::OWN == 0 && !self.holds_effective_deadline() => end.detail,
            (_, Kind::Movable(movable)) => movable.when(),
            _ => self.deadline(),
        }
    }
}
