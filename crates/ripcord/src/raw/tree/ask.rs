//! Whether a node has ended: from what it remembers, from what is above it, and from the clock.

use std::cell::Cell;
use std::collections::HashSet;

use super::end::settle;
use super::wait::watch;
use crate::clock::Clock;
use crate::error::Origin;
use crate::raw::node::{Kind, Node, NodeRef, flag, state};
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

/// Where the deadline of a node that can end was set; `None` if it has none, or if another end has replaced that.
pub(crate) fn deadline_origin(node: &Node) -> Option<Origin> {
    const OWN_DEADLINE: u8 = state::DEADLINE | state::OWN;
    let owner = node.deadline_owner()?;
    let (location, timeout) = match owner.end() {
        Some((bits, end)) => (bits & OWN_DEADLINE == OWN_DEADLINE).then_some((end.location, end.detail))?,
        None => owner.lock().foreseen()?,
    };
    Some(Origin::of_deadline(owner, location, timeout))
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
                return node.any_above(&mut |node| node.end().is_some());
            }
            match node.cancel_parent() {
                Some(parent) => node = parent,
                None => return false,
            }
        }
    }

    /// Whether a deadline at or above this node has passed on its own clock.
    pub(super) fn expired(&self) -> bool {
        match self.flags & (flag::DEADLINE | flag::CLOCK | flag::CLOCKS) {
            flag::DEADLINE => Clock::SYSTEM.has_come(self.deadline()),
            flags if flags & flag::DEADLINE != 0 => self.expired_at(self.clock().ticks()),
            _ => false,
        }
    }

    /// As `expired`, when this node's clock shows `now`.
    pub(super) fn expired_at(&self, now: i64) -> bool {
        if self.flags & flag::DEADLINE == 0 {
            return false;
        }
        if self.flags & flag::CLOCKS != 0 {
            // Each deadline is asked for itself.
            return self.any_above(&mut |node| match node.kind() {
                Kind::Deadline { when } => node.clock().has_come(when),
                _ => false,
            });
        }
        self.deadline() <= now
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
    pub(in crate::raw) fn ended_at(&self) -> i64 {
        match self.end() {
            Some((bits, end)) if bits & state::DEADLINE == 0 => end.detail,
            _ => self.deadline(),
        }
    }
}
