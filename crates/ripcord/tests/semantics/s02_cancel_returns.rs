//! 2. When `cancel()` returns, every descendant is done, even if another thread is canceling an ancestor at that moment.

use ripcord::{Context, DoneOwned};

use crate::common::{HOUR, Wakes, assert_canceled, jitter, manual, poll, race, rounds};

/// Returns a tree below `root` with `depth` levels of `width` children. Some contexts have a waiter and so are linked to their
/// parents, and some have none. Parents come before their children.
fn tree(root: &Context, depth: usize, width: usize) -> (Vec<Context>, Vec<DoneOwned>) {
    let (mut all, mut waits) = (vec![root.clone()], Vec::new());
    let mut level = vec![root.clone()];
    // Under Miri each check of a context takes long.
    let depth = if cfg!(miri) { depth.min(2) } else { depth };
    for below in 0..depth {
        let mut next = Vec::new();
        let width = if cfg!(miri) && below > 0 { width.min(2) } else { width };
        for parent in &level {
            for i in 0..width {
                let child = match i % 4 {
                    0 => {
                        let (child, cancel) = parent.with_cancel();
                        cancel.detach();
                        child
                    }
                    1 => parent.with_timeout(HOUR),
                    2 => parent.with_name("n"),
                    _ => parent.merge(root),
                };
                if (all.len() + i).is_multiple_of(2) {
                    let mut wait = child.done_owned();
                    assert!(poll(&mut wait, &Wakes::new()).is_pending());
                    waits.push(wait);
                }
                all.push(child.clone());
                next.push(child);
            }
        }
        level = next;
    }
    (all, waits)
}

#[test]
fn s02_every_descendant_is_done_when_cancel_returns() {
    let (root, _time) = manual();
    let (top, cancel) = root.with_cancel();
    let (all, waits) = tree(&top, 4, 4);
    cancel.cancel_with("stop");
    for ctx in &all {
        assert_canceled(ctx, Some("stop"));
    }
    for mut wait in waits {
        assert!(poll(&mut wait, &Wakes::new()).is_ready());
    }
    assert!(!root.is_done());
}

#[test]
fn s02_dropping_the_canceler_counts_as_cancel() {
    let (root, _time) = manual();
    let (top, cancel) = root.with_cancel();
    let (all, _waits) = tree(&top, 3, 4);
    drop(cancel);
    assert!(all.iter().all(Context::is_done));
}

#[test]
fn s02_every_descendant_is_done_while_another_thread_cancels_an_ancestor() {
    for round in 0..rounds(300) {
        let (root, _time) = manual();
        let (top, cancel_top) = root.with_cancel();
        let (mid, cancel_mid) = top.with_name("between").with_cancel();
        let (below_top, _waits) = tree(&top, 2, 4);
        let (below_mid, _more) = tree(&mid, 3, 3);
        let living = |all: &[Context]| all.iter().filter(|ctx| !ctx.is_done()).count();
        let (top_left, mid_left) = race(
            || {
                jitter(round);
                cancel_top.cancel_with("top");
                living(&below_top) + living(&below_mid)
            },
            || {
                cancel_mid.cancel_with("mid");
                living(&below_mid)
            },
        );
        assert_eq!((top_left, mid_left), (0, 0), "round {round}: a cancel came back before its descendants were done");
        // One of the two cancels ended `mid`, and every context below reports the same cause.
        let cause = mid.cause().expect("done").to_string();
        assert!(cause == "top" || cause == "mid", "{cause}");
        for ctx in below_mid.iter().filter(|ctx| !ctx.to_string().contains("Merge")) {
            assert_canceled(ctx, Some(&cause));
        }
        assert_canceled(&top, Some("top"));
    }
}

#[test]
fn s02_also_for_the_thread_that_came_second_to_the_same_context() {
    for round in 0..rounds(300) {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let handle = cancel.handle();
        let (all, _waits) = tree(&top, 3, 4);
        let living = || all.iter().filter(|ctx| !ctx.is_done()).count();
        let (a, b) = race(
            || {
                jitter(round);
                cancel.cancel_with("a");
                living()
            },
            || {
                handle.cancel_with("b");
                living()
            },
        );
        assert_eq!((a, b), (0, 0), "round {round}");
    }
}

#[test]
fn s02_advancing_manual_time_returns_after_every_effect() {
    let (root, time) = manual();
    let top = root.with_timeout(HOUR / 2);
    let (all, _waits) = tree(&top, 3, 4);
    let wakes = Wakes::new();
    let mut done: Vec<_> = all.iter().map(Context::done).collect();
    for wait in &mut done {
        assert!(poll(wait, &wakes).is_pending());
    }
    time.advance(HOUR / 2);
    assert_eq!(wakes.count(), all.len());
    assert!(all.iter().all(Context::is_done));
}
