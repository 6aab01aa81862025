//! The tokens of tokio-util that end with a node.
//!
//! A token cannot say that its last clone was dropped. So it must not keep a context alive, and must still be canceled when a
//! context ends that nobody holds anymore. Therefore the tokens form a tree of their own beside the nodes: the token of a node
//! is a child of its parent's token, and whoever marks a node cancels its token. When a node is freed, tokio-util moves the
//! children of its token to the parent's token. A deadline above which nobody holds a node is left to a timer: a node that
//! holds the token and nothing else. So is the end of a shielded context: its timer also holds the context that it shields from.
//! One that can move is left to such a timer when its node is freed.

use std::panic::Location;

use tokio_util::sync::CancellationToken;

use super::end::settle;
use super::wait::watch;
use crate::background;
use crate::raw::node::{End, Kind, NEVER, Node, NodeRef, Payload, SharedToken, Shield, flag};

/// Returns the token that is canceled when the node ends; it is canceled already if the node has ended.
pub(crate) fn shared_token(node: &NodeRef) -> CancellationToken {
    watch(node);
    let mut missing = Vec::new();
    let mut at = Some(node);
    let mut above = None;
    while let Some(node) = at {
        above = node.lock().fields().rest().and_then(|more| Some(more.token.as_ref()?.token.clone()));
        if above.is_some() {
            break;
        }
        missing.push(node);
        at = node.cancel_parent();
    }
    let mut token = above.unwrap_or_default();
    for (index, node) in missing.iter().rev().enumerate() {
        // The token of the topmost node has no parent, unless there was one above.
        let made = if index == 0 && at.is_none() { token.clone() } else { token.child_token() };
        token = put(node, made);
    }
    if node.ended() {
        settle(node);
        token.cancel();
    }
    token
}

/// Gives `token` to a node that has none, unless it has ended. Returns the one that the node has.
pub(crate) fn put(node: &NodeRef, token: CancellationToken) -> CancellationToken {
    let mut guard = node.lock();
    if guard.is_done() {
        return token;
    }
    let more = guard.fields().more();
    if let Some(known) = &more.token {
        return known.token.clone();
    }
    more.token = Some(SharedToken { token: token.clone(), timer: None });
    drop(guard);
    let timed = match node.kind() {
        Kind::Deadline { when } => {
            let (flags, payload) = deadline(node, when);
            Some((None, flags, payload))
        }
        Kind::Shielded(&Shield { grace, when, ref clock }) => {
            let shield = Shield { grace, when, clock: clock.clone() };
            Some((node.parent.clone(), node.flags, Payload::Shielded(Box::new(shield))))
        }
        _ => None,
    };
    if let Some((parent, flags, payload)) = timed {
        let end = End { location: Location::caller(), cause: None, detail: 0 };
        let timer = start_timer(NodeRef::new(parent, flags, payload, end), token.clone());
        let mut guard = node.lock();
        match guard.fields().rest().and_then(|more| more.token.as_mut()) {
            Some(shared) => shared.timer = Some(timer),
            // The node has been marked meanwhile.
            None => {
                drop(guard);
                stop_timer(&timer);
            }
        }
    }
    token
}

/// What a node is that ends `when` the deadline of `node` is due, and nothing else.
fn deadline(node: &Node, when: i64) -> (u8, Payload) {
    let flags = node.flags & flag::CLOCK | flag::DEADLINE;
    let clock = (flags & flag::CLOCK != 0).then(|| node.clock().clone());
    (flags, Payload::Deadline { when, clock })
}

/// Has a node cancel the token at its end, and keep itself alive until then.
fn start_timer(timer: NodeRef, token: CancellationToken) -> NodeRef {
    timer.lock().fields().more().token = Some(SharedToken { token, timer: Some(timer.clone()) });
    watch(&timer);
    timer
}

/// Leaves the token of a dying node with a movable deadline to a timer: nobody is left who could move the deadline.
pub(in crate::raw) fn outlive(node: &Node) {
    let Kind::Movable(movable) = node.kind() else { return };
    let shared = node.lock().fields().rest().and_then(|more| more.token.take());
    if let Some(SharedToken { token, .. }) = shared
        && movable.when() != NEVER
    {
        let (flags, payload) = deadline(node, movable.when());
        let end = End { location: Location::caller(), cause: None, detail: 0 };
        let _armed = start_timer(NodeRef::new(None, flags, payload, end), token);
    }
}

/// Takes from a timer what keeps it alive.
fn stop_timer(timer: &NodeRef) {
    let taken = timer.lock().fields().rest().and_then(|more| more.token.take());
    drop(taken);
}

/// Cancels the token of a node that was marked.
pub(super) fn cancel(shared: SharedToken) {
    let SharedToken { token, timer } = shared;
    background::shielded(|| token.cancel());
    if let Some(timer) = timer {
        stop_timer(&timer);
    }
}
