//! Releasing functions that wait for an end that cannot come (invariant 11).
//!
//! A function of `after_func` holds its context, so the reference count alone never frees the two. A node is ended by its
//! canceler, by its deadline, or by a node above it. The canceler can be lost by `Canceler::detach`, or when the last
//! `CancelHandle` is dropped. The handles of a movable deadline can be lost while no deadline is set. The thread that gives up
//! the last canceler or handle looks for nodes that have become endless, at this node and below it.

use std::collections::HashSet;

use crate::background;
use crate::raw::node::{Callback, Kind, Node, NodeGuard, NodeRef};

/// Adds a handle of a live node to the count.
pub(crate) fn add_handle(node: &NodeRef) {
    let mut guard = node.lock();
    if !guard.is_done() {
        guard.fields().more().handles += 1;
    }
}

/// Removes a handle of a live node from the count. The handle may have been the last that could cancel the node.
pub(crate) fn drop_handle(node: &NodeRef) {
    give_up(node, |guard| {
        if let Some(more) = guard.fields().rest() {
            more.handles -= 1;
        }
    });
}

/// Records that the canceler is gone. It may have been the last that could cancel the node.
pub(crate) fn detach(node: &NodeRef) {
    give_up(node, |_locked| node.set_detached());
}

pub(super) fn give_up(node: &NodeRef, record: impl FnOnce(&mut NodeGuard<'_>)) {
    // Without another reference there is no function and no child, and no thread will read the record.
    if node.is_sole() {
        return;
    }
    let mut guard = node.lock();
    if guard.is_done() {
        return;
    }
    record(&mut guard);
    // Without functions and children there is nothing to release. A later function or child finds the record.
    let is_waited_on =
        guard.fields().rest().is_some_and(|more| !more.callbacks.is_empty() || !more.children.is_empty());
    drop(guard);
    if is_waited_on {
        release_if_endless(node);
    }
}

/// Releases the functions of the node, and of the endless nodes below it, if nothing can end the node anymore. Returns whether
/// nothing can end the node.
pub(super) fn release_if_endless(node: &NodeRef) -> bool {
    if can_end(node) {
        return false;
    }
    let mut endless = vec![node.clone()];
    while let Some(node) = endless.pop() {
        let (mut callbacks, mut children) = (Vec::new(), Vec::new());
        let mut guard = node.lock();
        if let Some(more) = guard.fields().rest() {
            more.is_endless = true;
            while let Some(callback) = more.callbacks.pop() {
                callbacks.push(callback);
            }
            // SAFETY: the pointers are in the list of `node`, whose lock is held.
            let upgraded = more.children.slots().iter().filter_map(|slot| unsafe { NodeRef::upgrade(slot.node()?) });
            children.extend(upgraded);
        }
        drop(guard);
        for Callback { run, context } in callbacks {
            background::shielded(|| drop(run));
            background::shielded(|| drop(context));
        }
        for child in children {
            if can_end(&child) {
                background::shielded(|| drop(child));
            } else {
                endless.push(child);
            }
        }
        background::shielded(|| drop(node));
    }
    true
}

/// Returns whether a canceler or a deadline, at the node or above it, can still end the node. Returns true if the node has
/// ended.
fn can_end(node: &NodeRef) -> bool {
    let mut seen = HashSet::new();
    let mut pending = vec![node];
    while let Some(node) = pending.pop() {
        match node.kind() {
            Kind::Deadline { .. } => return true,
            Kind::Movable(movable) if movable.can_end() => return true,
            _ => {}
        }
        let mut guard = node.lock();
        if guard.is_done() {
            return true;
        }
        let handles = match guard.fields().rest() {
            Some(more) if more.is_endless => continue,
            Some(more) => more.handles,
            None => 0,
        };
        if matches!(node.kind(), Kind::Cancel) && (handles > 0 || !node.is_detached()) {
            return true;
        }
        drop(guard);
        if let Some(second) = node.second_parent() {
            if !seen.insert(std::ptr::from_ref::<Node>(node)) {
                continue;
            }
            pending.push(second);
        }
        pending.extend(node.link_parent());
    }
    false
}
