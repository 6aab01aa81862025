//! The armed deadlines of one clock: plain pointers to nodes, in a queue under one lock.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

use super::lock::{Lock, LockGuard};
use super::movable::Movable;
use super::node::{Kind, Node, NodeRef};
use super::queue::Queue;
use super::tree;
use super::wheel::{Due, Timed};
use crate::atomic::Ordering;
use crate::background;
use crate::slab::NONE;

/// The armed deadlines of one clock.
pub(crate) struct Timers {
    armed: Lock<Armed>,
    /// Called, without the lock, when a deadline is armed that is earlier than the time until which the clock's driver sleeps.
    /// Returns false if no driver runs.
    alarm: Box<dyn Fn() -> bool + Send + Sync>,
}

// No user code runs under the lock, so a panic in user code leaves no invariant broken.
impl UnwindSafe for Timers {}
impl RefUnwindSafe for Timers {}

struct Armed {
    queue: Queue<Target>,
    /// The time until which the clock's driver sleeps. `i64::MIN` while the driver is awake, because it looks at the queue
    /// again before it sleeps.
    sleeps_until: i64,
}

/// A pointer to a node in the queue, as in invariant 4 of `node`.
struct Target(NonNull<Node>);

// SAFETY: nodes are Send and Sync. The pointer is followed only under the queue's lock (invariant 4).
unsafe impl Send for Target {}

impl Timed for Target {
    fn when(&self) -> i64 {
        // SAFETY: `when` is called only while the target is in the queue, whose lock is held, so the node is not freed
        // (invariant 4).
        unsafe { Node::follow(self.0) }.timer_at()
    }
}

impl Armed {
    /// Returns whether the deadline of a node that was taken out of the queue was moved past `now`. In this case the timer is
    /// armed for the new deadline, if there is one. Otherwise the deadline has passed, and no move can change that (invariant
    /// 13).
    ///
    /// # Safety
    ///
    /// `node` was just taken out of the queue.
    unsafe fn has_moved(&mut self, node: NonNull<Node>, now: i64) -> bool {
        // SAFETY: by the contract. `NONE` is not stored yet (invariant 4).
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

    /// Puts the first entry into the queue again while its deadline is later than its timer. When this returns, the deadline of
    /// the first entry is the time of its timer.
    fn put_first_where_it_belongs(&mut self) {
        while let Some(Target(node)) = self.queue.first() {
            let node = *node;
            // SAFETY: the pointer was found in the queue, whose lock is held.
            let target = unsafe { Node::follow(node) };
            let Kind::Movable(movable) = target.kind() else { return };
            let armed = movable.armed();
            if movable.when() <= armed {
                return;
            }
            self.queue.remove(target.timer.load(Ordering::Relaxed));
            // SAFETY: the node was just taken out. Its deadline is later than `armed`, so its timer is armed for a later time.
            let _moved = unsafe { self.has_moved(node, armed) };
        }
    }
}

impl Timers {
    /// Creates an empty queue of the exact kind, ordered to the nanosecond.
    pub(crate) fn exact(alarm: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(Queue::exact(), alarm)
    }

    /// Creates an empty queue of the fast kind.
    pub(crate) fn wheel(alarm: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::new(Queue::wheel(), alarm)
    }

    fn new(queue: Queue<Target>, alarm: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Timers { armed: Lock::new(Armed { queue, sleeps_until: i64::MAX }), alarm: Box::new(alarm) }
    }

    /// Arms the timer of a node with a deadline, unless the timer is armed.
    pub(super) fn arm(&self, node: &NodeRef) {
        if node.timer.load(Ordering::Acquire) != NONE || node.end().is_some() {
            return;
        }
        let armed = self.armed.lock();
        // Only a holder of this lock changes `timer`.
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

    /// Arms the timer for the earlier time to which a movable deadline was moved, if the node has a waiter (invariant 15).
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
            // The deadline was moved again meanwhile.
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
            // No driver sleeps for this deadline. So the next thread that arms a deadline has to try again, even for a later
            // deadline.
            self.armed.lock().sleeps_until = i64::MAX;
        }
    }

    /// Takes the timer of a dying node out of the queue.
    pub(super) fn disarm(&self, node: &Node) {
        let mut armed = self.armed.lock();
        let key = node.timer.load(Ordering::Relaxed);
        if key != NONE {
            armed.queue.remove(key);
        }
    }

    /// Ends a bounded number of nodes that are due at `now`, the earliest first. Returns `None` if more nodes may be due.
    /// Otherwise returns the deadline to sleep for, or `i64::MAX` if no deadline is armed.
    pub(crate) fn fire(&self, now: i64) -> Option<i64> {
        let mut due: Vec<NodeRef> = Vec::new();
        let mut armed = self.armed.lock();
        // From an exact queue, each call takes one node. The reason is that a waker may have advanced the clock, and the
        // deadlines that are due only then come after the deadlines that were due before.
        let most = if armed.queue.is_exact() { 1 } else { 256 };
        armed.sleeps_until = i64::MIN;
        let mut next = None;
        for _ in 0..most {
            match armed.queue.pop_due(now) {
                // SAFETY: the node was found in the queue, whose lock is held, and has just been taken out of the queue.
                Due::Entry(Target(node)) if unsafe { armed.has_moved(node, now) } => {}
                Due::Entry(Target(node)) => {
                    // SAFETY: the node was found in the queue, whose lock is held. The store of `NONE` is the last access
                    // unless a reference was obtained (invariant 4).
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
            // This may be the last reference, and its drop may run user code.
            background::shielded(|| drop(node));
        }
        next
    }

    /// Returns the number of armed deadlines.
    pub(crate) fn len(&self) -> usize {
        self.armed.lock().queue.len()
    }

    /// Returns the time until which the driver has to sleep. The driver checks this after user code ran, because user code may
    /// have consumed the driver's wakeup.
    pub(crate) fn sleeps_until(&self) -> i64 {
        self.armed.lock().sleeps_until
    }

    /// Returns the first deadline if it is not after `limit`. Otherwise calls `otherwise` under the lock, so that a thread that
    /// arms a deadline later sees the effect of `otherwise`.
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

    /// A thread may fail to start and succeed a moment later. The deadlines armed meanwhile must still get a driver.
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
        // The timers are taken out here, because a node removes itself only from the queue of its own clock.
        for node in nodes {
            timers.disarm(node);
            node.timer.store(NONE, Ordering::Release);
        }
    }

    /// A move that took one of these locks would wait forever.
    #[test]
    fn move_to_a_later_time_takes_no_lock() {
        let hour = Duration::from_secs(3600);
        let (clock, time) = crate::Clock::manual();
        let (parent, _cancel) = Context::background().with_clock(clock.clone()).with_cancel();
        let (timed, deadline) = parent.with_movable_deadline(time.now() + hour);
        let (ctx, idle) = timed.with_idle_timeout(hour);
        let _after = ctx.after_func(|| {});
        assert!(time.timers() > 0);
        time.advance(Duration::from_secs(1));
        let _queue = clock.timers().armed.lock();
        let _nodes = [&parent, &timed, &ctx].map(|ctx| ctx.ender().expect("its handle ends it").lock());
        assert!(deadline.reset_after(2 * hour) && idle.reset() && ctx.progress());
    }
}
