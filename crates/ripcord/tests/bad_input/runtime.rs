//! Contexts that are used after their runtime was dropped.

use crate::common::{MS, SEC, User, Wakes, assert_canceled, assert_exceeded, assert_live, poll, within};

use ripcord::{Clock, Context};

/// Runs `f` in a tokio runtime, drops the runtime, and returns the result of `f`.
fn after_its_runtime<T>(f: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { f() })
}

#[test]
fn context_on_the_system_clock_works_after_its_runtime_is_dropped() {
    within("the system clock without a runtime", || {
        let (ctx, cancel, slow, mut polled) = after_its_runtime(|| {
            let (ctx, cancel) = Context::background().with_value(User(1)).with_cancel();
            let slow = ctx.with_timeout(5 * MS);
            let mut polled = slow.done_owned();
            let _armed = poll(&mut polled, &Wakes::new());
            (ctx, cancel, slow, polled)
        });
        assert!(slow.wait().is_deadline_exceeded());
        assert!(poll(&mut polled, &Wakes::new()).is_ready());
        assert!(futures::executor::block_on(ctx.with_timeout(MS).done()).is_deadline_exceeded());
        assert_eq!(ctx.value::<User>(), Some(&User(1)));
        cancel.cancel_with("stop");
        assert_canceled(&ctx, Some("stop"));
    });
}

#[cfg(feature = "tokio")]
#[test]
fn context_on_tokios_clock_works_after_its_runtime_is_dropped() {
    within("tokio's clock without a runtime", || {
        let (root, armed, mut polled, canceled, cancel) = after_its_runtime(|| {
            let root = Context::background().with_clock(Clock::tokio());
            let armed = root.with_timeout(5 * MS);
            let mut polled = armed.done_owned();
            let _armed = poll(&mut polled, &Wakes::new());
            let (canceled, cancel) = root.with_value(User(1)).with_timeout(crate::common::HOUR).with_cancel();
            (root, armed, polled, canceled, cancel)
        });
        // Armed in the runtime. After the runtime, a thread and a bare executor wait for the ends.
        assert!(armed.wait().is_deadline_exceeded());
        assert!(futures::executor::block_on(&mut polled).is_deadline_exceeded());
        // Derived, armed and fired after the runtime.
        let late = root.with_timeout(2 * MS);
        assert!(late.wait().is_deadline_exceeded());
        let late = root.with_timeout(2 * MS);
        assert!(futures::executor::block_on(late.done()).is_deadline_exceeded());
        assert!(root.sleep_blocking(MS).is_ok());
        assert!(futures::executor::block_on(root.sleep(MS)).is_ok());
        assert!(root.wait_timeout(MS).is_none());
        // Queries, values and cancels work as before.
        assert_live(&canceled);
        assert_eq!(canceled.value::<User>(), Some(&User(1)));
        let wakes = Wakes::new();
        let mut wait = canceled.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), 1);
        assert_canceled(&canceled, Some("stop"));
        let _now = root.clock().now();
    });
}

#[cfg(feature = "tokio")]
#[test]
fn thread_waiting_on_tokios_clock_is_woken_after_the_runtime_is_dropped() {
    within("a thread that waits while its runtime goes", || {
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let receiver = receiver;
            move || {
                let ctx: Context = receiver.recv().expect("the runtime sends it");
                ctx.wait()
            }
        });
        after_its_runtime(|| {
            let ctx = Context::background().with_clock(Clock::tokio()).with_timeout(10 * MS);
            sender.send(ctx).expect("the thread waits");
        });
        assert!(waiting.join().expect("no panic").is_deadline_exceeded());
    });
}

#[test]
fn after_func_outlives_the_runtime_it_was_registered_in() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let cancel = after_its_runtime(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        drop(ctx.after_func(move || sender.send(()).expect("the test waits")));
        cancel
    });
    cancel.cancel();
    receiver.recv_timeout(crate::common::HANG).expect("the callback runs");
}

#[test]
fn clock_of_the_root_stays_after_any_drop() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone()).with_timeout(SEC);
    drop(clock);
    assert_live(&ctx);
    time.advance(SEC);
    assert_exceeded(&ctx, None);
    // The handle that advances the clock was dropped. The clock is stopped forever, and a cancel still works.
    let (clock, time) = Clock::manual();
    let (ctx, cancel) = Context::background().with_clock(clock).with_timeout(SEC).with_cancel();
    drop(time);
    let wakes = Wakes::new();
    let mut wait = ctx.done();
    assert!(poll(&mut wait, &wakes).is_pending());
    assert_live(&ctx);
    cancel.cancel();
    assert_eq!(wakes.count(), 1);
}
