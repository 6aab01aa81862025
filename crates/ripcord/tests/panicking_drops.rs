//! User code that panics where a group or the tree of contexts runs it: in `Drop`, and in `Error::source`.

#[path = "common/mod.rs"]
mod common;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use common::{SEC, manual, within};
use ripcord::{Context, Group, Value, block_on};

/// Counts its drop, then panics.
#[derive(Debug)]
struct PanicsInDrop(Arc<AtomicUsize>);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
        panic!("dropping panics");
    }
}

impl Value for PanicsInDrop {}

/// A second type, so that both values are found.
#[derive(Debug)]
struct AlsoPanicsInDrop {
    _inner: PanicsInDrop,
}

impl Value for AlsoPanicsInDrop {}

impl fmt::Display for AlsoPanicsInDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error that panics when it is dropped")
    }
}

impl Error for AlsoPanicsInDrop {}

#[derive(Debug)]
struct PanicsInSource;

impl fmt::Display for PanicsInSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an error whose source panics")
    }
}

impl Error for PanicsInSource {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        panic!("asking for the source panics");
    }
}

/// A chain with two values and a cause that panic when they are dropped.
fn chain(root: &Context, drops: &Arc<AtomicUsize>) -> Context {
    let panics = || PanicsInDrop(Arc::clone(drops));
    let ctx = root.with_value(panics()).with_name("between").with_value(AlsoPanicsInDrop { _inner: panics() });
    let (ctx, cancel) = ctx.with_cancel();
    cancel.cancel_with(AlsoPanicsInDrop { _inner: panics() });
    ctx
}

#[test]
fn two_values_that_panic_in_drop_do_not_abort_the_process() {
    let drops = Arc::new(AtomicUsize::new(0));
    drop(chain(&Context::background(), &drops));
    assert_eq!(drops.load(SeqCst), 3, "a panic kept a value from being dropped");
}

#[test]
fn two_values_that_panic_in_drop_do_not_reach_an_unrelated_cancel() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (parent, cancel) = Context::background().with_cancel();
    let ctx = chain(&parent.without_cancel(), &drops);
    let kept = parent.with_name("kept");
    let keeps = ctx.clone();
    let _after = kept.after_func(move || drop(keeps));
    let kept = parent.with_value(PanicsInDrop(Arc::clone(&drops))).with_value(PanicsInDrop(Arc::clone(&drops)));
    let _also = kept.after_func(|| {});
    drop((ctx, kept));
    cancel.cancel();
    common::eventually("everything is dropped", || drops.load(SeqCst) == 5);
}

#[test]
fn two_values_that_panic_in_drop_do_not_stop_a_clock() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (root, time) = manual();
    let ctx = root.with_value(PanicsInDrop(Arc::clone(&drops))).with_value(PanicsInDrop(Arc::clone(&drops)));
    let timed = ctx.with_timeout(SEC);
    // The registered function keeps both values until the deadline.
    drop((timed.after_func(|| {}), ctx, timed));
    assert_eq!(drops.load(SeqCst), 0);
    time.advance(SEC);
    common::eventually("both are dropped", || drops.load(SeqCst) == 2);
}

fn group() -> (Group, Context) {
    Group::with_executor(&Context::background(), |task| drop(std::thread::spawn(move || block_on(task))))
}

#[test]
fn two_payloads_that_panic_in_drop_do_not_hang_a_group() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drops);
    let ended = within("the group ends", move || {
        let (group, _ctx) = group();
        for _ in 0..3 {
            let payload = PanicsInDrop(Arc::clone(&counted));
            group.go(async move {
                std::panic::panic_any(payload);
                #[expect(unreachable_code, reason = "it has to have a type")]
                Ok::<(), ripcord::Error>(())
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(group.wait())));
        ended.map_err(std::mem::forget).is_err()
    });
    assert!(ended, "a panic of a task is carried to wait");
}

#[test]
fn error_whose_source_panics_does_not_hang_a_group() {
    let ended = within("the group ends", || {
        let (group, ctx) = group();
        group.go(async { Err::<(), _>("first") });
        ctx.wait();
        // The error is passed to the group after the context's end. Then each error is checked for whether it comes from that
        // end.
        let (late, _ctx) =
            Group::with_executor(&Context::background(), |task| drop(std::thread::spawn(move || block_on(task))));
        late.go(async { Err::<(), _>(PanicsInSource) });
        late.go(async { Err::<(), _>(PanicsInSource) });
        assert!(block_on(group.wait()).is_err());
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| block_on(late.wait()).is_err())).unwrap_or(true)
    });
    assert!(ended);
}

#[test]
fn group_with_a_panicking_payload_is_dropped_without_a_panic() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (group, ctx) = group();
    let payload = PanicsInDrop(Arc::clone(&drops));
    group.go(async move {
        std::panic::panic_any(payload);
        #[expect(unreachable_code, reason = "it has to have a type")]
        Ok::<(), ripcord::Error>(())
    });
    ctx.wait();
    drop(group);
    common::eventually("the payload is dropped", || drops.load(SeqCst) == 1);
}
