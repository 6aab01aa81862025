//! The grace period of a shielded context starts while a waiter registers, and ends while other threads query the context or
//! drop it.

use std::pin::pin;
use std::time::Duration;

use loom::thread;

use super::{Wakes, cause, large_model, model, poll};
use crate::{Clock, Context, ManualTime};

const SECOND: Duration = Duration::from_secs(1);

fn on_a_manual_clock() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

#[test]
fn cancel_against_a_waiter_below_the_shield() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let (ctx, cancel) = root.with_cancel();
        let (child, _keep) = ctx.shielded(SECOND).with_cancel();
        let canceling = thread::spawn(move || cancel.cancel_with("canceled"));
        let wakes = Wakes::new();
        let mut done = pin!(child.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        canceling.join().unwrap();
        time.advance(SECOND);
        assert_eq!(wakes.count(), 1, "a wake-up was lost");
        assert_eq!(cause(&child), "canceled");
    });
}

#[test]
fn end_of_the_grace_against_a_query() {
    large_model(|| {
        let (root, time) = on_a_manual_clock();
        let (ctx, cancel) = root.with_cancel();
        let shielded = ctx.shielded(SECOND);
        let (child, _keep) = shielded.with_cancel();
        cancel.cancel_with("canceled");
        let advancing = thread::spawn(move || time.advance(SECOND));
        if shielded.is_done() {
            assert!(child.is_done(), "an end was taken back");
        }
        advancing.join().unwrap();
        assert_eq!(cause(&child), "canceled");
    });
}

#[test]
fn drop_of_a_shielded_context_against_the_end_of_its_parent() {
    model(|| {
        let (root, _time) = on_a_manual_clock();
        let (ctx, cancel) = root.with_cancel();
        let shielded = ctx.shielded(SECOND);
        drop((root, ctx));
        assert!(poll(pin!(shielded.done()), &Wakes::new()).is_pending());
        let canceling = thread::spawn(move || cancel.cancel());
        drop(shielded);
        canceling.join().unwrap();
    });
}

#[test]
fn drop_of_a_shielded_context_against_the_end_of_its_grace() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let (ctx, cancel) = root.with_cancel();
        let shielded = ctx.shielded(SECOND);
        drop((root, ctx));
        assert!(poll(pin!(shielded.done()), &Wakes::new()).is_pending());
        cancel.cancel();
        let advancing = thread::spawn(move || time.advance(SECOND));
        drop(shielded);
        advancing.join().unwrap();
    });
}
