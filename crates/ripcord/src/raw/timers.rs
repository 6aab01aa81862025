//! The armed deadlines of one clock: plain pointers to nodes, in a queue under one lock.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

use super::lock::{Lock, LockGuard};
use super::movable::Movable;
use super::node::{Kind, Node, NodeRef};
use super::tree;
use crate::background;
use crate::clock::queue::{Due, Queue};
use crate::clock::wheel::Timed;
use crate::slab::NONE;
use crate::sync::Ordering;

/// The armed deadlines of one clock.
pub(crate) struct Timers {
    armed: Lock<Armed>,
    /// Called, without the lock, when a deadline comes before the one the clock's driver sleeps for. False when nobody drives.
    alarm: Box<dyn Fn() -> bool + Send + Sync>,
}

// No users' code runs under its lock, so a panic there leaves nothing of it half done.
impl UnwindSafe for Timers {}
impl RefUnwindSafe for Timers {}

struct Armed {
    queue: Queue<Target>,
    /// What the clock's driver sleeps for; the least there is while it is awake, since it looks again by itself.
    sleeps_until: i64,
}

/// A pointer of the tree's invariant 4.
struct Target(NonNull<Node>);

// SAFETY: nodes are Send and Sync; the pointer is followed under the queue's lock alone (invariant 4).
unsafe impl Send for Target {}

impl Timed for Target {
    fn when(&self) -> i64 {
        // SAFETY: it is asked only in the queue, whose lock is held, so the node is not freed (invariant 4).
        unsafe { Node::follow(self.0) }.timer_at()
    }
}

impl Armed {
    /// Whether a node that was taken out of the queue has a deadline that was moved past `now`. Then its timer is armed for that,
    /// if there still is a deadline; else the deadline has passed, and no move can change that (invariant 13).
    ///
    /// # Safety
    ///
    /// `node` was just taken out of the queue.
    unsafe fn has_moved(&mut self, node: NonNull<Node>, now: i64) -> bool {
        // SAFETY: by the contract; `NONE` is not stored yet (invariant 4).
        let target = unsafe { Node::follow(node) };
        let Kind::Movable(movable) = target.kind() else { return false };
        if movable.expire(now) {
            return false;
        }
        match movable.arm() {
            Some(_) => target.timer.store(self.queue.insert(Target(node)), Ordering::Relaxed),
            None => target.timer.store(NONE, Ordering::Release),
        }
        true
    }

    /// Moves first entries on whose deadlines were moved later than their timers, so that the first entry is due when it says.
    fn put_first_where_it_belongs(&mut self) {
        while let Some(Target(node)) = self.queue.first() {
            let node = *node;
            // SAFETY: found in the queue, whose lock is held.
            let target = unsafe { Node::follow(node) };
            let Kind::Movable(movable) = target.kind() else { return };
            let armed = movable.armed();
            if movable.when() <= armed {
                return;
            }
            self.queue.remove(target.timer.load(Ordering::Relaxed));
            // SAFETY: just taken out. It is not due at the moment before, so it is armed for a later one.
            let _moved = unsafe { self.has_moved(node, armed) };
        }
    }
}

impl Timers {
    /// An empty queue of the exact kind, in order to the nanosecond.
    pub(crate) fn exact(alarm: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(Queue::exact(), alarm)
    }

    /// An empty queue of the fast kind.
    pub(crate) fn wheel(alarm: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(Queue::wheel(), alarm)
    }

    fn new(queue: Queue<Target>, alarm: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Timers { armed: Lock::new(Armed { queue, sleeps_until: i64::MAX }), alarm: Box::new(alarm) }
    }

    /// Arms the timer of a deadline's node, unless it is armed.
    pub(super) fn arm(&self, node: &NodeRef) {
        if node.timer.load(Ordering::Acquire) != NONE || node.end().is_some() {
            return;
        }
        let armed = self.armed.lock();
        // Only a holder of this lock changes it.
        if node.timer.load(Ordering::Relaxed) != NONE {
            return;
        }
        if let Kind::Movable(movable) = node.kind()
            && movable.arm().is_none()
        {
            return;
        }
        self.insert(armed, node, node.timer_at());
    }

    /// Arms a timer for the earlier time that a movable deadline was moved to, if anything waits for it (invariant 15).
    pub(super) fn rearm(&self, node: &NodeRef, movable: &Movable) {
        let mut armed = self.armed.lock();
        if !movable.is_before_timer() {
            return;
        }
        let key = node.timer.load(Ordering::Relaxed);
        if key != NONE {
            armed.queue.remove(key);
        }
        match movable.arm() {
            Some(when) => self.insert(armed, node, when),
            // Moved again meanwhile.
            None => node.timer.store(NONE, Ordering::Release),
        }
    }

    fn insert(&self, mut armed: LockGuard<'_, Armed>, node: &NodeRef, when: i64) {
        let key = armed.queue.insert(Target(node.pointer()));
        node.timer.store(key, Ordering::Relaxed);
        let is_first = when < armed.sleeps_until;
        if is_first {
            armed.sleeps_until = when;
        }
        drop(armed);
        if is_first && !(self.alarm)() {
            // Nobody sleeps for it, so whoever arms the next one has to try again, however late that is due.
            self.armed.lock().sleeps_until = i64::MAX;
        }
    }

    /// Takes a dying node's timer out.
    pub(super) fn disarm(&self, node: &Node) {
        let mut armed = self.armed.lock();
        let key = node.timer.load(Ordering::Relaxed);
        if key != NONE {
            armed.queue.remove(key);
        }
    }

    /// Ends nodes that are due at `now`, a bounded number of them, the earliest first. `None` when there may be more;
    /// else the deadline to sleep for, the greatest there is when none is armed.
    pub(crate) fn fire(&self, now: i64) -> Option<i64> {
        let mut due: Vec<NodeRef> = Vec::new();
        let mut armed = self.armed.lock();
        // An exact queue is asked for each one anew: a waker may have moved the clock on, and what falls due then comes after
        // what was due before.
        let most = if armed.queue.is_exact() { 1 } else { 256 };
        armed.sleeps_until = i64::MIN;
        let mut next = None;
        for _ in 0..most {
            match armed.queue.pop_due(now) {
                // SAFETY: found in the queue, whose lock is held, and just taken out of it.
                Due::Entry(Target(node)) if unsafe { armed.has_moved(node, now) } => {}
                Due::Entry(Target(node)) => {
                    // SAFETY: found in the queue, whose lock is held; the store of `NONE` is the last access unless a
                    // reference was had (invariant 4).
                    unsafe {
                        let upgraded = NodeRef::upgrade(node);
                        Node::follow(node).timer.store(NONE, Ordering::Release);
                        due.extend(upgraded);
                    }
                }
                Due::Busy => break,
                Due::Later(when) => {
                    armed.sleeps_until = when;
                    next = Some(when);
                    break;
                }
            }
        }
        drop(armed);
        for node in due {
            tree::settle(&node);
            // It may be the last reference, and what is freed with it the user's.
            background::shielded(|| drop(node));
        }
        next
    }

    /// The number of armed deadlines.
    pub(crate) fn len(&self) -> usize {
        self.armed.lock().queue.len()
    }

    /// What the driver is to sleep for, looked at after users' code ran: it may have taken the driver's wake-up.
    pub(crate) fn sleeps_until(&self) -> i64 {
        self.armed.lock().sleeps_until
    }

    /// The first deadline, when it is not after `limit`; else calls `otherwise` under the lock, so that a deadline armed
    /// later sees what it did.
    pub(crate) fn next_until(&self, limit: i64, otherwise: impl FnOnce()) -> Option<i64> {
        let mut armed = self.armed.lock();
        armed.put_first_where_it_belongs();
        let next = armed.queue.next().filter(|next| *next <= limit);
        if next.is_none() {
            otherwise();
        }
        next
    }
}

#[cfg(all(test, not(ripcord_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;
    use crate::Context;

    /// A thread may be refused once and be had a moment later; the deadlines armed meanwhile must not stay without a driver.
    #[test]
    fn alarm_that_failed_is_tried_again_for_a_later_deadline() {
        let tries = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&tries);
        let timers = Timers::exact(move || counted.fetch_add(1, SeqCst) > 0);
        let contexts = [1, 2, 3].map(|hours| Context::background().with_timeout(Duration::from_secs(hours * 3600)));
        let nodes = contexts.each_ref().map(|ctx| ctx.ender().expect("a deadline ends it"));
        for (node, tried) in nodes.iter().zip([1, 2, 2]) {
            timers.arm(node);
            assert_eq!(tries.load(SeqCst), tried);
        }
        // Taken out again, since nodes take themselves out of their own clock's queue.
        for node in nodes {
            timers.disarm(node);
            node.timer.store(NONE, Ordering::Release);
        }
    }
}
