//! Deadlines while the thread that tells of them is held up by somebody's waker: who asks again and again sees them all the
//! same, since every so often the clock itself is asked. A binary of its own, as the whole process shares that thread.

#[path = "common/mod.rs"]
mod common;

use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use common::{HANG, MS, Wakes, poll, poll_with, waker_fn};
use ripcord::Context;

#[test]
fn a_hot_loop_sees_its_deadline() {
    let (enters, entered) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let blocks = waker_fn(move || {
        let _ = enters.send(());
        // An error when the test has ended, well or not.
        let _ = held.lock().map(|held| held.recv());
    });
    // Both are waited for, so that the second is not asked for the time at each question. On a busy machine a deadline may have
    // passed before that.
    let (mut first, ctx, mut waiting) = loop {
        let first = Context::background().with_timeout(10 * MS).done_owned();
        let ctx = Context::background().with_timeout(20 * MS);
        let waiting = ctx.done_owned();
        let (mut first, mut waiting) = (first, waiting);
        if poll(&mut waiting, &Wakes::new()).is_pending() && poll_with(&mut first, &blocks).is_pending() {
            break (first, ctx, waiting);
        }
    };
    entered.recv_timeout(HANG).expect("the first deadline is told");
    let began = Instant::now();
    while !ctx.is_done() {
        assert!(began.elapsed() < HANG, "the deadline is never seen");
        std::hint::spin_loop();
    }
    let deadline = ctx.deadline().expect("it has one");
    assert!(Instant::now() >= deadline);
    assert!(deadline.elapsed() < Duration::from_secs(5), "that the thread was held up is not why");
    assert!(ctx.err().is_some_and(|error| error.is_deadline_exceeded()));
    drop(release);
    assert!(poll(&mut first, &Wakes::new()).is_ready() && poll(&mut waiting, &Wakes::new()).is_ready());
}
