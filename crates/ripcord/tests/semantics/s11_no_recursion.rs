//! 11. Nothing recurses: a chain 4 million deep is canceled and dropped on a 2 MiB stack.
//!
//! `depth.rs` has the four million levels. Here every operation runs on a chain that is too deep for its small stack.

use std::thread;

use crate::common::{Absent, HOUR, User, Wakes, manual, poll};
use ripcord::Context;

const DEPTH: usize = 30_000;

fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(128 << 10).spawn(f).expect("a thread");
    thread.join().expect("it fits the stack");
}

fn chain(from: &Context, link: impl Fn(&Context, usize) -> Context) -> Context {
    (0..DEPTH).fold(from.clone(), |ctx, i| link(&ctx, i))
}

fn mixed(ctx: &Context, i: usize) -> Context {
    match i % 6 {
        0 => ctx.with_timeout(HOUR),
        1 => ctx.with_value(User(1)),
        2 => ctx.with_name("n"),
        3 => ctx.merge(&Context::background().with_name("n")),
        4 => Context::background().with_name("n").merge(ctx),
        _ => {
            let (ctx, cancel) = ctx.with_cancel();
            cancel.detach();
            ctx
        }
    }
}

#[test]
fn s11_no_query_recurses() {
    on_a_small_stack(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = chain(&top, mixed);
        assert!(!leaf.is_done());
        assert!(leaf.deadline().is_some());
        assert!(leaf.value::<User>().is_some());
        assert!(leaf.value::<Absent>().is_none());
        assert_eq!(leaf.name(), Some("n"));
        cancel.cancel_with("stop");
        assert!(leaf.is_done());
        assert_eq!(leaf.cause().expect("done").to_string(), "stop");
    });
}

#[test]
fn s11_neither_waiting_nor_waking_recurses() {
    on_a_small_stack(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = chain(&top, mixed);
        let wakes = Wakes::new();
        let mut wait = leaf.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn s11_no_drop_recurses_whether_linked_or_not() {
    on_a_small_stack(|| {
        let (root, _time) = manual();
        let leaf = chain(&root, mixed);
        drop(leaf);
        let leaf = chain(&root, mixed);
        let mut wait = leaf.done_owned();
        assert!(poll(&mut wait, &Wakes::new()).is_pending());
        drop(leaf);
        drop(wait);
        // A chain of merges only, on either side.
        let other = Context::todo().with_name("other");
        drop(chain(&root, |ctx, _| ctx.merge(&other)));
        drop(chain(&root, |ctx, _| other.merge(ctx)));
        drop(chain(&root, |ctx, _| ctx.without_cancel()));
    });
}

#[test]
fn s11_showing_a_deep_chain_does_not_recurse() {
    on_a_small_stack(|| {
        let (root, _time) = manual();
        let leaf = chain(&root, |ctx, i| if i % 2 == 0 { ctx.with_name("n") } else { ctx.with_value(User(1)) });
        assert!(leaf.to_string().starts_with("Background"));
        assert!(!format!("{leaf:?}").is_empty());
    });
}

#[test]
fn s11_showing_a_deep_chain_of_merges_does_not_recurse() {
    on_a_small_stack(|| {
        let (root, _time) = manual();
        let other = Context::todo().with_name("o");
        let left = chain(&root, |ctx, _| ctx.merge(&other));
        let right = chain(&root, |ctx, _| other.merge(ctx));
        assert!(left.to_string().starts_with("Merge(Merge("));
        assert!(right.to_string().starts_with("Merge(TODO.WithName(o), Merge("));
    });
}

#[test]
fn s11_a_diamond_of_merges_is_not_walked_along_every_path() {
    // 2^64 paths lead from the bottom to the top.
    let (root, _time) = manual();
    let (top, cancel) = root.with_value(User(1)).with_cancel();
    let bottom = (0..64).fold(top.clone(), |ctx, _| ctx.with_name("a").merge(&ctx.with_name("b")));
    crate::common::within("a question at the bottom of 64 diamonds", move || {
        assert!(!bottom.is_done());
        assert!(bottom.deadline().is_none());
        assert_eq!(bottom.value::<User>(), Some(&User(1)));
        assert!(bottom.value::<Absent>().is_none());
        let wakes = Wakes::new();
        let mut wait = bottom.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel();
        assert_eq!(wakes.count(), 1);
        assert!(bottom.is_done());
        assert!(bottom.with_name("late").is_done());
    });
}
