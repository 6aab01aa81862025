//! How an end reaches an observer: a query walks up the tree, and a waiter has ends pushed down to it.
//!
//! A new node holds a reference to its parent, and the parent does not know the node. A walk up the tree finds out whether the
//! node has ended. When the first waiter is added to a node, or when the node is queried often, each parent on the path to the
//! root is linked to its child, and the timers of the deadlines on the path are armed. From then on the node is *watched*:
//! every end is pushed to it, and its own state shows whether it has ended.
//!
//! # Invariants (1 to 5 are in `node`)
//!
//! 6. **What an end is.** A node has ended when the node itself, or any node that can end it, is `DONE`, or when a deadline of
//!    one of these nodes has passed. `DONE` of the node records this, and is written once. A thread that finds an end by the
//!    clock first writes `DONE` on every node of the path, from the top down, and only then reports the end. So no later
//!    observer of the node, or of a node below it, reports otherwise.
//! 7. **Watched.** `WATCHED` is stored after every edge from the node to its root (or to a watched node) has been linked and
//!    the timers of the deadlines on that path have been armed. Edges are linked from the bottom up. A parent that is `DONE`
//!    refuses the link, and then the child has ended. So every end above a watched node reaches it.
//! 8. **Propagations.** A thread that marks a node with children `DONE` increments `propagations` before the mark. It
//!    decrements the count after it has marked all the children that it took, and their descendants. So if a node above a
//!    watched node is marked and the watched node is not, the count is not zero, and every thread that reads it after the mark
//!    above (happens-before) reads a count above zero. Therefore `propagations` is read before `state`, and `WATCHED` is
//!    trusted only if the count was zero. This is why a `cancel` that finds its node done may return at once: the descendants
//!    are done for every observer, although another thread is still writing the marks.
//! 9. **One end.** Of two ends, the earlier one wins. Of a deadline and a cancel at the same moment, the deadline wins. A
//!    cancel therefore records its exact time, read from the clock on which the deadlines count, and looks for ends above its
//!    node before it marks the node. A stopped clock (a manual clock, or tokio's clock while paused) shows the same
//!    time to several cancels, so each cancel also takes a number. A merged node records which parent's end it inherited.
//!    An end of the other parent that is written later changes nothing.
//! 10. **A hot loop.** `is_done` of a watched node compares the deadline with the thread's last reading of the system's clock.
//!     The reading is renewed after at most 64 calls, or at each call if the calls between two readings take longer than 250
//!     us. So a loop that queries several contexts in turn sees the end of each context in time, even if the timer's thread is
//!     late. A reading is in the past, so no end is seen early. An end that is seen is marked before it is reported (invariant
//!     6), so no later comparison with an older reading denies the end.
//! 11. **Endless.** No function is registered on a node that no canceler and no deadline, at the node or above it, can end. A
//!     function is inserted under the node's lock, on a path that is linked. Only then is the path checked. A lost canceler is
//!     recorded under its node's lock. Only then are the nodes above and below it visited, each under its own lock. So of a
//!     registration and a loss, or of two losses, at least one sees the other.
//! 12. **Shielded.** A shielded node ends a fixed time after its parent. So `cancel_parent` stops at it, and `link_parent` does
//!     not. The time of its end is known once its parent is marked, and does not change after that. So a query of a node with
//!     the flag `SHIELDED` marks all ended nodes above it, from the top down, and then checks whether the node itself is
//!     marked. No shorter path exists for such a node. If a shielded node is linked, the thread that marks its parent arms its
//!     timer. If the parent is already marked when the node is linked, the linking thread arms the timer. In the recorded end
//!     of a shielded node, the time of a cancel is the end of the grace, so that ends below compare with it (invariant 9). The
//!     error reports the time at the node where the end began.
//! 13. **A move and the expiry are one decision.** A movable deadline is one word: the time, or the complement of the time once
//!     the deadline is sealed. A reset replaces an unsealed word. A thread that finds that the time has come replaces the word
//!     by its complement. Both use a compare-and-swap. So no end at the old time follows a reset that returned true, and no
//!     reset returns true after an end. A thread that reports an expiry first seals the word, and then marks the node
//!     (invariant 6). A node that inherits an end is sealed before the two times are compared (invariant 9), so that the result
//!     stays true.
//! 14. **No copies below.** A node below a movable deadline, or below deadlines on different clocks, has a flag of `NO_COPY`.
//!     Such a node holds no copy of a deadline, and every deadline there has a node of its own. The reason is that the deadline
//!     that is earlier now may be moved, and that the clock with the later deadline may reach it first. The effective deadline is
//!     found by a walk up to the first node without such a flag. The copy in that node covers all nodes above it. A marked node
//!     records the time of a deadline's end, because a later walk might find another time.
//! 15. **The timer looks again.** The time for which a movable deadline's timer is in the queue is stored beside the deadline,
//!     guarded by the lock of the queue. A move to a later time does not change it. If the deadline is unsealed and later when
//!     the timer fires, the timer is put into the queue again. A thread that moves the deadline earlier takes the lock after
//!     its compare-and-swap, and a thread that arms the timer reads the word under the lock. So one of the two sees the other.
//!     Without a deadline no timer is in the queue, but the need for a timer is recorded.

mod ask;
mod end;
mod endless;
mod moving;
mod notify;
#[cfg(feature = "tokio-util")]
pub(crate) mod token;
mod wait;

pub(crate) use ask::deadline_origin;
pub(in crate::raw) use end::settle;
pub(crate) use end::{cancel, cancel_dropped, end_at_birth, settled};
pub(crate) use endless::{add_handle, detach, drop_handle};
pub(crate) use moving::{
    add_movable_handle, drop_movable_handle, extend_deadline, move_deadline, progress, reset_idle_timeout,
};
pub(crate) use wait::{Registered, add_callback, forget_waiter, poll_done, remove_callback, watch_merged};

#[cfg(all(test, not(ripcord_loom)))]
mod tests {
    use crate::Context;
    use crate::atomic::{Ordering, propagations};

    #[test]
    fn propagations_return_to_zero() {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, cancel_child) = ctx.with_cancel();
        let waits: Vec<_> = (0..3).map(|_| child.after_func(|| {})).collect();
        cancel_child.cancel();
        let (_sibling, _cancel) = ctx.with_cancel();
        cancel.cancel();
        assert!(child.is_done() && waits.len() == 3);
        // Other tests of this binary also change the count, each for a moment.
        for _ in 0..1_000_000 {
            if propagations().load(Ordering::Acquire) == 0 {
                return;
            }
            std::thread::yield_now();
        }
        panic!("propagations stay at {}", propagations().load(Ordering::Acquire));
    }
}
