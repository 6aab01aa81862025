//! How an end travels: pulled by whoever asks, pushed to whoever waits.
//!
//! A new node only holds its parent; nobody knows of it. Whether it has ended is found by walking up. The first time somebody
//! waits on it (or asks often), the path to its root is linked, each parent to child, and the timers above are armed: from then
//! on it is *watched*, and its own state says it all.
//!
//! # Invariants (1 to 5 are in `node`)
//!
//! 6. **What an end is.** A node has ended when it or any node it can be ended by is `DONE`, or a deadline among them has passed.
//!    `DONE` of the node itself is the memory of that, written once. Whoever finds an end by the clock first writes it on every
//!    node of the path, from the top down, and only then reports it: so no later observer of the node, or of one below, reports
//!    otherwise.
//! 7. **Watched.** `WATCHED` is stored after each edge from the node to its root (or to a watched node) has been linked and the
//!    timers of the deadlines on that path have been armed. Edges are linked from below; a parent that is `DONE` refuses, and
//!    then the child has ended. So every end above a watched node reaches it.
//! 8. **Propagations.** Whoever marks a node that has children `DONE` counts itself in `propagations` before the mark and
//!    leaves after each of the children it took is marked, and theirs. So if a watched node is not marked although one above it
//!    is, the count is not zero, and who knows of the mark above (happens-before) reads it so. Therefore `propagations` is read
//!    before `state`, and `WATCHED` is believed only when it read zero. This is why a `cancel` that finds its node done may
//!    return at once: the descendants are done for every asker, though another thread still writes the marks.
//! 9. **One end.** Of two ends the earlier wins, a deadline against a cancel at the same moment. A cancel therefore notes its
//!    exact time, read from the clock that deadlines count on, and looks for ends above itself before it marks. A clock that
//!    stands still (a manual one, tokio's while paused) shows one time to several cancels, so each of them also takes a number.
//!    A merged node notes which parent's end it took over: an end of the other parent that is written later changes nothing.
//! 10. **A hot loop.** `is_done` of a watched node compares the deadline with the thread's last reading of the system's clock,
//!     which is renewed after at most 64 calls, or at each call if those take longer than 250 us. So the end of each context that
//!     a loop asks in turn is seen in time, whatever the timer's thread does. A reading is in the past, so no end is seen early;
//!     and an end that is seen is marked before it is reported (invariant 6), so no later look at an older reading denies it.
//! 11. **Endless.** No function is registered on a node that no canceler and no deadline, at the node or above it, can end. A
//!     function is put in under the node's lock, on a path that is linked, and only then is the path asked. A lost canceler is
//!     recorded under its node's lock, and only then are the nodes above and below it visited, each under its lock. So of a
//!     registration and a loss, or of two losses, at least one sees the other.
//! 12. **Shielded.** A shielded node ends a fixed time after its parent: so `cancel_parent` stops at it, and `link_parent` does not.
//!     Its end is known once its parent is marked, and never moves then. So whoever asks a node with the flag `SHIELDED` marks
//!     all ended nodes above it, from the top down, and looks whether it is marked; no such node takes a shorter way. Whoever
//!     marks the parent of a linked one, or finds it marked when linking, arms its timer. Among the details of its end, the time
//!     of a cancel is when the grace ended, so that ends below compare with it (invariant 9); the error tells of the time where
//!     the end began.
//! 13. **A move and the expiry are one decision.** A deadline that can be moved is one word: the time, or its complement once the
//!     deadline is sealed. A reset replaces an open word; whoever finds that the time has come replaces it by its complement; each
//!     by a compare-and-swap. So a reset that returned true is not followed by an end at the old time, and after an end no reset
//!     returns true. Whoever reports an expiry seals before, and then marks (invariant 6). A node that takes an end over is sealed
//!     before the two times are compared (invariant 9), so that the comparison stays true.
//! 14. **No copies below.** A node with the flag `MOVABLE` holds no copy of a deadline, and every deadline below one that can be
//!     moved has a node of its own. The effective deadline is found by a walk up to the first node without the flag, whose copy
//!     holds for all above it. A marked node notes the time of a deadline's end, since a walk might find another one later.
//! 15. **The timer looks again.** The time that a movable deadline's timer is in the queue for lies beside the deadline, guarded by
//!     the lock of the queue. A move to a later time does not touch it: when the timer fires and the deadline is open and later, it
//!     is put in again. Whoever moves the deadline earlier takes that lock after its compare-and-swap, and whoever arms the timer
//!     reads the word under it: so one of the two sees the other. Without a deadline no timer is in the queue, but it is noted that
//!     one is wanted.

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
    use crate::sync::{Ordering, propagations};

    #[test]
    fn propagation_is_left_by_everything_that_entered_it() {
        let (ctx, cancel) = Context::background().with_cancel();
        let (child, cancel_child) = ctx.with_cancel();
        let waits: Vec<_> = (0..3).map(|_| child.after_func(|| {})).collect();
        cancel_child.cancel();
        let (_sibling, _cancel) = ctx.with_cancel();
        cancel.cancel();
        assert!(child.is_done() && waits.len() == 3);
        // Other tests of this binary propagate too, each for a moment.
        for _ in 0..1_000_000 {
            if propagations().load(Ordering::Acquire) == 0 {
                return;
            }
            std::thread::yield_now();
        }
        panic!("propagations stay at {}", propagations().load(Ordering::Acquire));
    }
}
