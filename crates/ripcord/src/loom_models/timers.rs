//! Timers are armed, fire and are disarmed. The clock is a manual clock. Its atomics and lock are also loom's.

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
fn arm_against_fire() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let ctx = root.with_timeout(SECOND);
        let advancing = thread::spawn(move || time.advance(SECOND));
        let wakes = Wakes::new();
        let mut done = pin!(ctx.done());
        let first = poll(done.as_mut(), &wakes);
        advancing.join().unwrap();
        assert!(first.is_ready() || wakes.count() == 1, "a wake-up was lost");
        assert!(ctx.err().unwrap().is_deadline_exceeded());
    });
}

#[test]
fn two_arm_one_timer() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let ctx = root.with_timeout(SECOND);
        let other = ctx.clone();
        let arming = thread::spawn(move || {
            let wakes = Wakes::new();
            let mut done = Box::pin(other.done_owned());
            assert!(poll(done.as_mut(), &wakes).is_pending());
            (done, wakes)
        });
        let wakes = Wakes::new();
        let mut done = pin!(ctx.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let (done_there, wakes_there) = arming.join().unwrap();
        time.advance(SECOND);
        assert_eq!((wakes.count(), wakes_there.count()), (1, 1));
        drop(done_there);
    });
}

#[test]
fn disarm_against_fire() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let ctx = root.with_timeout(SECOND);
        drop(root);
        assert!(poll(pin!(ctx.done()), &Wakes::new()).is_pending());
        let advancing = thread::spawn(move || time.advance(SECOND));
        drop(ctx);
        advancing.join().unwrap();
    });
}

#[test]
fn disarm_of_one_timer_against_fire_of_another() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let (early, late) = (root.with_timeout(SECOND), root.with_timeout(2 * SECOND));
        let wakes = Wakes::new();
        let waiting = early.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        assert!(poll(pin!(late.done()), &Wakes::new()).is_pending());
        let advancing = thread::spawn(move || time.advance(SECOND));
        drop(late);
        advancing.join().unwrap();
        assert!(early.is_done());
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn fire_against_cancel() {
    large_model(|| {
        let (root, time) = on_a_manual_clock();
        let (parent, cancel) = root.with_cancel();
        let ctx = parent.with_timeout(SECOND);
        let wakes = Wakes::new();
        let waiting = ctx.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let advancing = thread::spawn(move || time.advance(SECOND));
        cancel.cancel_with("canceled");
        let seen = cause(&ctx);
        advancing.join().unwrap();
        assert_eq!(cause(&ctx), seen, "an end changed");
        assert_eq!(wakes.count(), 1);
    });
}

#[test]
fn deadline_seen_past_is_never_taken_back() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let ctx = root.with_timeout(SECOND);
        let (child, _keep) = ctx.with_cancel();
        let waiting = child.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &Wakes::new()).is_pending());
        let advancing = thread::spawn(move || time.advance(SECOND));
        if ctx.is_done() {
            assert!(child.is_done(), "an end was taken back");
        }
        advancing.join().unwrap();
    });
}

#[test]
fn deadlines_on_two_clocks_end_a_context_once() {
    large_model(|| {
        let ((root, first_time), (second, second_time)) = (on_a_manual_clock(), Clock::manual());
        let parent = root.with_timeout_cause(SECOND, "first");
        // The later instant. Its clock may reach it first.
        let ctx = parent.with_clock(second).with_timeout_cause(2 * SECOND, "second");
        let wakes = Wakes::new();
        let mut done = pin!(ctx.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let advancing = thread::spawn(move || first_time.advance(SECOND));
        second_time.advance(2 * SECOND);
        let seen = cause(&ctx);
        advancing.join().unwrap();
        assert_eq!(wakes.count(), 1);
        assert_eq!((cause(&ctx), cause(&ctx.with_cancel().0)), (seen.clone(), seen), "an end changed");
        assert_eq!(cause(&parent), "first");
    });
}
