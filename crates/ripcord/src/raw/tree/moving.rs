//! Moving a deadline (invariant 13) and its timer (invariant 15).

use std::collections::HashSet;

use super::end::settle;
use super::endless::give_up;
use crate::raw::movable::{Movable, Moved};
use crate::raw::node::{Kind, NEVER, Node, NodeRef, flag};

/// Moves a movable deadline to the time that `when` returns for the present time. A time in the past counts as now. Returns
/// false and changes nothing if the node has ended.
pub(crate) fn move_deadline(node: &NodeRef, when: impl FnOnce(i64) -> i64) -> bool {
    move_to(node, when, false)
}

/// Moves a movable deadline to `when`, unless the deadline is already later. Returns false and changes nothing if the node has
/// ended.
pub(crate) fn extend_deadline(node: &NodeRef, when: i64) -> bool {
    move_to(node, |_| when, true)
}

fn move_to(node: &NodeRef, when: impl FnOnce(i64) -> i64, only_later: bool) -> bool {
    let Kind::Movable(movable) = node.kind() else { return false };
    let clock = node.clock();
    let now = clock.ticks();
    if node.marked_above() || parent_has_ended(node, now) {
        settle(node);
        return false;
    }
    let when = when(now);
    match movable.move_to(when, now, only_later) {
        Moved::Refused => {
            settle(node);
            return false;
        }
        Moved::Later => {}
        Moved::Earlier => {
            clock.timers().rearm(node, movable);
            if when <= now || clock.armed(when) {
                settle(node);
            }
        }
    }
    true
}

/// Restarts an idle timeout.
pub(crate) fn reset_idle_timeout(node: &NodeRef) -> bool {
    let Kind::Movable(movable) = node.kind() else { return false };
    let timeout = movable.idle().unwrap_or(NEVER);
    move_deadline(node, |now| now.saturating_add(timeout))
}

/// Restarts the nearest idle timeout at or above `node`. Above a merged node, restarts the nearest idle timeout of each side.
/// Returns whether an idle timeout was found and none refused.
pub(crate) fn progress(node: &NodeRef) -> bool {
    let (mut found, mut refused) = (false, false);
    let mut seen = HashSet::new();
    let mut pending: Vec<&NodeRef> = Vec::new();
    let mut at = Some(node);
    while let Some(node) = at.take().or_else(|| pending.pop()) {
        match node.kind() {
            _ if node.flags & flag::MOVABLE == 0 => continue,
            Kind::Movable(movable) if movable.idle().is_some() => {
                found = true;
                refused |= !reset_idle_timeout(node);
                continue;
            }
            Kind::Merge(_) if !seen.insert(std::ptr::from_ref::<Node>(node)) => continue,
            _ => {}
        }
        pending.extend(node.second_parent());
        at = node.cancel_parent();
    }
    found && !refused
}

/// Returns whether a deadline above has passed, or a shielded context above has ended. The caller has already looked for marks
/// above.
fn parent_has_ended(node: &Node, now: i64) -> bool {
    let Some(parent) = node.cancel_parent() else { return false };
    match node.flags & (flag::CLOCKS | flag::SHIELDED) {
        0 => parent.expired_at(now),
        flag::CLOCKS => parent.expired(),
        _ => parent.ended(),
    }
}

fn movable_of(node: &Node) -> Option<&Movable> {
    match node.kind() {
        Kind::Movable(movable) => Some(movable),
        _ => None,
    }
}

/// Adds a handle of a movable deadline to the count.
pub(crate) fn add_movable_handle(node: &Node) {
    if let Some(movable) = movable_of(node) {
        movable.add_handle();
    }
}

/// Removes a handle of a movable deadline from the count. The handle may have been the last that could end the node.
pub(crate) fn drop_movable_handle(node: &NodeRef) {
    if let Some(movable) = movable_of(node) {
        give_up(node, |_locked| movable.drop_handle());
    }
}
