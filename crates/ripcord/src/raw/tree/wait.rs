//! Waiting for a node's end: watching the node, its wakers and its functions.

use std::task::{Poll, Waker};

use super::end::{settle, start_grace};
use super::endless::release_if_endless;
use crate::atomic::{Ordering, propagations};
use crate::raw::node::{Callback, Kind, Node, NodeRef, flag, state};
use crate::slab::NONE;

/// Links the node so that every end above is pushed to it from now on (invariant 7). The node may have ended when this returns.
///
/// `node` can end: `NodeRef::ender` returned it.
pub(crate) fn watch(node: &NodeRef) {
    if watch_above(node) {
        node.lock().bits |= state::WATCHED;
    }
}

/// Links the path from the node up, arms the timers on the path, and marks all nodes of the path except the node itself
/// watched. Returns false if this is no longer needed because the node is watched or done. Settles the ends found on the path.
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
                if node.end().is_some() {
                    return false;
                }
                // A shielded node on the path outlives its parent's end. Either the shielded node is linked to a node that
                // was marked here, and the mark has started the grace, or it is linked to no node. All nodes below it are
                // linked to it.
                start_grace(child);
                return true;
            }
            Linked::ToWatched => break,
            Linked::To(parent) => child = parent,
        }
    }
    let mut above = node.link_parent();
    while let Some(node) = above
        && node.state.load(Ordering::Acquire) & state::WATCHED == 0
    {
        node.lock().bits |= state::WATCHED;
        above = node.link_parent();
    }
    true
}

/// The result of linking a child to its parent.
enum Linked<'a> {
    To(&'a NodeRef),
    /// The path above the parent is linked already, or there is no parent.
    ToWatched,
    /// The parent has ended.
    Refused,
}

fn link_to_parent(child: &NodeRef) -> Linked<'_> {
    let Some(parent) = child.link_parent() else { return Linked::ToWatched };
    if !parent.link(child, false) {
        return Linked::Refused;
    }
    if parent.state.load(Ordering::Acquire) & state::WATCHED != 0 {
        return Linked::ToWatched;
    }
    Linked::To(parent)
}

/// Watches a new merged context. Merged contexts are always watched, so that no walk has to fork (except the walks of
/// `any_above`).
///
/// A parent that has ended refuses the link. A thread that marks a merged node checks both parents first. So an end of the
/// second parent that came before this call is not missed while the first parent ends.
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

/// Arms the timer of a node with a deadline.
fn arm(node: &NodeRef) {
    let when = match node.kind() {
        Kind::Deadline { when } => when,
        Kind::Movable(movable) => movable.when(),
        _ => return,
    };
    let clock = node.clock();
    clock.timers().arm(node);
    if clock.armed(when) {
        settle(node);
    }
}

/// Waits for the node's end. Returns ready if the node has ended. Otherwise `waker` is woken at the end. `key` is `NONE` at the
/// first call. A caller that stops waiting passes `key` to `forget_waiter`.
///
/// No wakeup is lost: the path is watched before the waker is inserted under the node's lock, and a thread that marks the node
/// takes the wakers out under that lock. So either this call sees the mark, or the marking thread sees the waker.
///
/// `asked` is true if the caller has just checked whether the node has ended. Otherwise this function checks, so that a
/// deadline in the past is ready at the first call, and so that no call contradicts an end that another observer has reported.
pub(crate) fn poll_done(node: &NodeRef, key: &mut u32, waker: &Waker, asked: bool) -> Poll<()> {
    if node.end().is_some() {
        return Poll::Ready(());
    }
    let is_first = *key == NONE;
    if !asked {
        // While marks are propagated, another thread may know of a mark above. The other marks above are found by linking at
        // the first call, and reach a watched node later.
        let quiet = propagations().load(Ordering::Acquire) == 0;
        let has_ended = if node.flags & flag::SHIELDED == 0 {
            !quiet && node.marked_above() || is_first && node.expired()
        } else {
            (!quiet || is_first) && node.ended()
        };
        if has_ended {
            settle(node);
            return Poll::Ready(());
        }
    }
    if is_first {
        // The waker is cloned before the lock is taken, because the clone is user code (invariant 5).
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

/// Removes the waker of a caller that stops waiting.
pub(crate) fn forget_waiter(node: &Node, key: u32) {
    if node.end().is_some() {
        return;
    }
    let mut guard = node.lock();
    // The wakers of a done node have been taken out already.
    let waker = if guard.is_done() { None } else { guard.fields().remove_waiter(key) };
    drop(guard);
    drop(waker);
}

/// The result of registering a function.
pub(crate) enum Registered {
    /// The function runs at the end of the node. The key removes it.
    Waiting(u32),
    /// The node has ended. The function is returned.
    Ended(Box<dyn FnOnce() + Send>),
    /// Nothing can end the node anymore. The function has been dropped.
    Never,
}

/// Registers a function to run at the end of the node.
///
/// `context` is the context with which the function was registered, at or below the node. It lives until the function runs.
pub(crate) fn add_callback(node: &NodeRef, context: NodeRef, run: Box<dyn FnOnce() + Send>) -> Registered {
    if node.ended() {
        settle(node);
        return Registered::Ended(run);
    }
    watch_above(node);
    let mut guard = node.lock();
    if guard.is_done() {
        drop(guard);
        return Registered::Ended(run);
    }
    guard.bits |= state::WATCHED;
    let key = guard.fields().more().callbacks.insert(Callback { run, context });
    drop(guard);
    // This is checked after the function was inserted: a thread that gives up the last canceler at the same time either finds
    // the function, or is seen here (invariant 11).
    if release_if_endless(node) { Registered::Never } else { Registered::Waiting(key) }
}

/// Removes and drops a function that has not started to run. Returns false if the function has started.
pub(crate) fn remove_callback(node: &Node, key: u32) -> bool {
    let mut guard = node.lock();
    if guard.is_done() {
        return false;
    }
    // `None` if the function has been released. Such a function never runs.
    let callback = guard.fields().rest().and_then(|more| more.callbacks.remove(key));
    drop(guard);
    drop(callback);
    true
}
