//! Waiting for a node's end: watching it, its wakers and its functions.

use std::task::{Poll, Waker};

use super::end::{settle, start_grace};
use super::endless::release_if_endless;
use crate::raw::node::{Callback, Kind, Node, NodeRef, flag, state};
use crate::slab::NONE;
use crate::sync::{Ordering, propagations};

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
                if node.end().is_some() {
                    return false;
                }
                // A shielded node on the path goes on after its parent's end. It is linked to a node that was marked here, which
                // has started the grace, or to none, and all below it are linked to it.
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

/// What became of linking a child to its parent.
enum Linked<'a> {
    To(&'a NodeRef),
    /// To a parent from which the way up is linked already, or to none at all.
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

/// Watches a new merged context: always, so that no walk has to fork (but for those of `any_above`).
///
/// A parent that has ended refuses the link. Whoever marks a merged node asks both parents first, so an end of the second
/// parent that came before this call is not missed while the first parent ends.
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

/// Waits for the node's end: ready when it has ended, else `waker` will be woken then. `key` is `NONE` at the first call, and
/// goes to `forget_waiter` when the caller waits no more.
///
/// No wake-up is lost: the path is watched before the waker is put in under the node's lock, and whoever marks the node takes
/// the wakers out under that lock. So either the mark is seen here, or the waker by the marker.
///
/// `asked` says that the caller has just asked whether the node has ended. Otherwise it is asked here, so that a deadline in the
/// past is ready at the first call, and so that no call takes back an end that another observer has reported.
pub(crate) fn poll_done(node: &NodeRef, key: &mut u32, waker: &Waker, asked: bool) -> Poll<()> {
    if node.end().is_some() {
        return Poll::Ready(());
    }
    let is_first = *key == NONE;
    if !asked {
        // While marks are on their way down, somebody may know of one above. Other marks above are found by linking at the first
        // call, and reach a watched node later.
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

/// What became of registering a function.
pub(crate) enum Registered {
    /// It runs at the end of the node. The key removes it.
    Waiting(u32),
    /// The node has ended: the function is given back.
    Ended(Box<dyn FnOnce() + Send>),
    /// Nothing can end the node anymore: the function has been dropped.
    Never,
}

/// Registers a function to run at the end.
///
/// `context` is the one it was registered with, at or below the node: it lives until then.
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
    // Asked after the function was put in: whoever gives up the last canceler at the same time either finds the function, or
    // is seen here (invariant 11).
    if release_if_endless(node) { Registered::Never } else { Registered::Waiting(key) }
}

/// Removes and drops a function that has not started to run. False if it has started.
pub(crate) fn remove_callback(node: &Node, key: u32) -> bool {
    let mut guard = node.lock();
    if guard.is_done() {
        return false;
    }
    // None if it has been released: then it never runs.
    let callback = guard.fields().rest().and_then(|more| more.callbacks.remove(key));
    drop(guard);
    drop(callback);
    true
}
