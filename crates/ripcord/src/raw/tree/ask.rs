//! Whether a node has ended: from what it remembers, from what is above it, and from the clock.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use super::end::settle;
use super::wait::watch;
use crate::clock::Clock;
use crate::error::Origin;
use crate::raw::movable::Movable;
use crate::raw::node::{Kind, NEVER, Node, NodeRef, flag, state};
use crate::sync::{Ordering, propagations};

impl NodeRef {
    /// Whether the node has ended, exactly: with a reading of the clock when a deadline could have passed. Marks nothing, so a
    /// caller that reports an end settles it first (invariant 6).
    pub(super) fn ended(&self) -> bool {
        let Some(node) = self.ender() else { return false };
        if node.flags & flag::SHIELDED != 0 {
            // Its end depends on when nodes above ended, which is known once they are marked (invariant 12).
            settle(node);
            return node.end().is_some();
        }
        node.marked_above() || node.expired()
    }

    /// Whether the node has ended, for `is_done`, once `goes_on_at_a_glance` has said no. An end by the clock is marked before
    /// it is reported, so that no later observer reports otherwise (invariant 6).
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
                // Asked again and again: from now on let an end be pushed here.
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

/// The bits of a node that its own deadline ended.
const OWN_DEADLINE: u8 = state::DEADLINE | state::OWN;

/// What a look at one node says about a walk upwards.
enum Look {
    Found,
    /// Go on above the node.
    Above,
    /// Nothing above the node needs a look.
    NotAbove,
}

/// Where the deadline of a node that can end was set; `None` if it has none, or if another end has replaced that.
pub(crate) fn deadline_origin(node: &Node) -> Option<Origin> {
    let node = if node.flags & flag::MOVABLE == 0 { node } else { node.owner_of_movable()?.0 };
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

/// Whether this call is the one of many, on this thread, that may take a longer way.
#[cfg(not(ripcord_loom))]
fn every_64th_call() -> bool {
    thread_local! {
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }
    let calls = CALLS.get().wrapping_add(1);
    CALLS.set(calls);
    calls.is_multiple_of(64)
}

/// A model must take the same way each time.
#[cfg(ripcord_loom)]
fn every_64th_call() -> bool {
    false
}

/// A thread's last reading of the system's clock, which a hot loop compares deadlines with (invariant 10).
struct Reading {
    now: Cell<i64>,
    /// Calls until the clock is read again.
    left: Cell<u32>,
    /// Calls from one reading to the next.
    stride: Cell<u32>,
}

const MAX_STRIDE: u32 = 64;
/// The longest time, in nanoseconds, that a loop may take from one reading to the next. Half of it is left for a loop that
/// slows down.
const MAX_AGE: i64 = 250_000;

impl Reading {
    /// Creates a reading that is renewed at the first call.
    const fn new() -> Reading {
        Reading { now: Cell::new(i64::MIN), left: Cell::new(0), stride: Cell::new(1) }
    }

    /// Whether `when` has passed by this reading, which is renewed first when its calls are used up.
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

/// Whether `when` has passed on the system's clock, as of this thread's last reading of it.
#[cfg(not(ripcord_loom))]
#[inline]
fn has_come_at_a_glance(when: i64) -> bool {
    thread_local! {
        static READING: Reading = const { Reading::new() };
    }
    READING.with(|reading| reading.has_come(when))
}

/// A model must take the same way each time.
#[cfg(ripcord_loom)]
fn has_come_at_a_glance(when: i64) -> bool {
    Reading::new().has_come(when)
}

impl Node {
    /// Whether the node is seen not to have ended by its own state alone (invariant 8): the fast way of a hot loop. A deadline
    /// on the system's clock is compared with the thread's last reading of that clock (invariant 10); any other clock is asked.
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

    /// Whether this node or one above is marked (invariants 6 and 8).
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

    /// Whether a deadline at or above this node has passed on its own clock. One that can be moved is sealed then
    /// (invariant 13).
    pub(super) fn expired(&self) -> bool {
        const MOVABLE: u8 = flag::DEADLINE | flag::MOVABLE;
        match self.flags & (flag::DEADLINE | flag::CLOCK | flag::CLOCKS | flag::MOVABLE) {
            flag::DEADLINE => Clock::SYSTEM.has_come(self.deadline()),
            MOVABLE => Clock::SYSTEM.has_come(self.next_deadline()) && self.expired_at(Clock::SYSTEM.ticks()),
            flags if flags & flag::DEADLINE != 0 => self.expired_at(self.clock().ticks()),
            _ => false,
        }
    }

    /// As `expired`, when this node's clock shows `now`.
    pub(super) fn expired_at(&self, now: i64) -> bool {
        if self.flags & flag::DEADLINE == 0 {
            return false;
        }
        if self.holds_effective_deadline() {
            return self.deadline() <= now;
        }
        // Each deadline is asked for itself.
        let one_clock = self.flags & flag::CLOCKS == 0;
        self.any_deadline(&mut |node, deadline| match deadline {
            Deadline::Fixed(when) if one_clock => when <= now,
            Deadline::Fixed(when) => node.clock().has_come(when),
            Deadline::Movable(movable) => movable.expire(if one_clock { now } else { node.clock().ticks() }),
        })
    }

    /// The deadline that a node below this one copies: `NEVER` if it can be moved.
    #[inline]
    pub(crate) fn copied_deadline(&self) -> i64 {
        if self.flags & flag::MOVABLE == 0 { self.deadline() } else { NEVER }
    }

    /// The earliest deadline at or above this node, idle timeouts among them, or `NEVER`.
    pub(crate) fn next_deadline(&self) -> i64 {
        if self.flags & flag::MOVABLE == 0 {
            return if self.flags & flag::DEADLINE == 0 { NEVER } else { self.deadline() };
        }
        let mut earliest = NEVER;
        self.any_deadline(&mut |_, deadline| {
            earliest = earliest.min(deadline.when());
            false
        });
        earliest
    }

    /// The node whose deadline is the one in effect at this node with `flag::MOVABLE`, and when it ends this node: the uppermost of
    /// equal ones. An idle timeout is none. Below a shielded node its grace is added.
    pub(crate) fn owner_of_movable(&self) -> Option<(&Node, i64)> {
        let mut owner: Option<(&Node, i64)> = None;
        // With how much grace each merged node has been seen: again only with less.
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
                        // The first parent last: of equal deadlines its counts.
                        pending.extend(first.map(|first| (first, grace)));
                        at = node.second_parent().map(|second| (&**second, grace));
                    }
                }
                _ => at = first.map(|first| (first, grace)),
            }
        }
        owner
    }

    /// Whether this node holds the effective one of all deadlines at and above it (invariant 14); they count on one clock.
    fn holds_effective_deadline(&self) -> bool {
        self.flags & (flag::CLOCKS | flag::MOVABLE) == 0
    }

    /// This node's own deadline, or the effective one if the node holds it.
    fn deadline_here(&self) -> Option<Deadline<'_>> {
        match self.kind() {
            _ if self.flags & flag::DEADLINE == 0 => None,
            _ if self.holds_effective_deadline() => Some(Deadline::Fixed(self.deadline())),
            Kind::Deadline { when } => Some(Deadline::Fixed(when)),
            Kind::Movable(movable) => Some(Deadline::Movable(movable)),
            _ => None,
        }
    }

    /// Whether `found` holds of a deadline at or above this node: of each by itself below a movable one or between clocks, and
    /// elsewhere of the effective one.
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

    /// Whether `look` finds something in this node or any that can end it: along both parents of merged ones, each merged one
    /// once. Without merged ones, nothing is allocated.
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
                // The first parent last: of equal deadlines its is found last.
                Some(second) => {
                    pending.extend(node.cancel_parent().map(|parent| &**parent));
                    at = Some(second);
                }
                None => at = node.cancel_parent().map(|parent| &**parent),
            }
        }
        false
    }

    /// Whether a cancel ended this done node.
    pub(super) fn is_canceled(&self) -> bool {
        self.end().is_some_and(|(bits, _)| bits & state::DEADLINE == 0)
    }

    /// The node at or above this one whose own deadline is this one's: of a merged context's parents the one with the earlier
    /// deadline, the first if they are equal.
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

    /// When a done node ended, exactly (invariant 9).
    pub(crate) fn ended_at(&self) -> i64 {
        match (self.end(), self.kind()) {
            (Some((bits, end)), _) if bits & state::DEADLINE == 0 => end.detail,
            (Some((bits, end)), _) if bits & state::OWN == 0 && self.flags & flag::MOVABLE != 0 => end.detail,
            (_, Kind::Movable(movable)) => movable.when(),
            (_, Kind::Deadline { when }) if self.flags & flag::MOVABLE != 0 => when,
            _ => self.deadline(),
        }
    }
}
