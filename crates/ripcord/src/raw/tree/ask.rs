//! Whether a node has ended: from what it remembers, from what is above it, and from the clock.

use std::collections::HashSet;

use super::wait::watch;
use crate::clock::Clock;
use crate::error::Origin;
use crate::raw::node::{Kind, Node, NodeRef, flag, state};
use crate::sync::{Ordering, propagations};

impl NodeRef {
    /// Whether the node has ended, exactly: with a reading of the clock when a deadline could have passed.
    pub(crate) fn ended(&self) -> bool {
        let Some(node) = self.ender() else { return false };
        node.marked_above() || node.expired()
    }

    /// As `ended`, for a hot loop, once `goes_on_at_a_glance` has said no.
    pub(crate) fn ended_in_a_loop(&self) -> bool {
        let Some(node) = self.ender() else { return false };
        let quiet = propagations().load(Ordering::Acquire) == 0;
        let bits = node.state.load(Ordering::Acquire);
        if bits & state::DONE != 0 {
            return true;
        }
        if bits & state::WATCHED != 0 && quiet {
            return node.expired();
        }
        if every_64th_call() {
            // Asked again and again: from now on let an end be pushed here.
            watch(node);
        }
        node.marked_above() || node.expired()
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
#[inline]
fn every_64th_call() -> bool {
    thread_local! {
        static CALLS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
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

impl Node {
    /// Whether the node is seen not to have ended by its own state alone (invariant 8): the fast way of a hot loop.
    ///
    /// A watched node under a deadline is told by its timer, and asks the clock itself on every 64th call only: late by
    /// the timer's lateness or by the calls between, whichever is less. (On a clock that is moved by hand it always asks.)
    #[inline]
    pub(crate) fn goes_on_at_a_glance(&self) -> bool {
        const ASKED: u8 = state::DONE | state::WATCHED | state::TIMED | state::CLOCKED;
        const TIMED: u8 = state::WATCHED | state::TIMED;
        let quiet = propagations().load(Ordering::Acquire) == 0;
        match self.state.load(Ordering::Acquire) & ASKED {
            state::WATCHED => quiet,
            TIMED => quiet && !every_64th_call(),
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
        let clock = if self.flags & flag::CLOCK == 0 { Clock::SYSTEM } else { self.clock() };
        clock.has_come(self.deadline())
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
        let when = self.deadline();
        let mut node = self;
        loop {
            node = match node.kind() {
                Kind::Deadline { when: own } if own == when => return Some(node),
                Kind::Merge(_) => {
                    let first = node.cancel_parent().filter(|parent| parent.deadline() == when);
                    first.or_else(|| node.second_parent())?
                }
                _ => node.cancel_parent()?,
            };
        }
    }

    /// When a done node ended.
    pub(super) fn ended_at(&self) -> i64 {
        match self.end() {
            Some((bits, end)) if bits & state::DEADLINE == 0 => end.detail,
            _ => self.deadline(),
        }
    }
}
