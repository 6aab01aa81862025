//! A deadline is moved while it expires, while its timer fires, while its context ends for another reason, and while it is
//! queried.

use std::pin::pin;
use std::time::Duration;

use loom::thread;

use super::{Wakes, cause, large_model, model, poll};
use crate::{Clock, Context, ManualTime, MovableDeadline};

const SECOND: Duration = Duration::from_secs(1);

fn one_second() -> (Context, MovableDeadline, ManualTime) {
    let (clock, time) = Clock::manual();
    let root = Context::background().with_clock(clock);
    let (ctx, deadline) = root.with_movable_deadline(time.now() + SECOND);
    (ctx, deadline, time)
}

#[test]
fn reset_against_an_observer_of_the_expiry() {
    model(|| {
        let (ctx, deadline, time) = one_second();
        let child = ctx.with_name("child");
        let advancing = thread::spawn(move || {
            time.advance(SECOND);
            (child.is_done(), time)
        });
        let took_effect = deadline.reset_after(2 * SECOND);
        let (seen_done, time) = advancing.join().unwrap();
        assert_ne!(took_effect, seen_done, "a reset and the expiry both took effect, or neither");
        assert_eq!(ctx.is_done(), seen_done, "an end was taken back, or a reset");
        time.advance(2 * SECOND);
        assert!(ctx.is_done());
    });
}

#[test]
fn extensions_from_two_threads_leave_the_later_deadline() {
    model(|| {
        let (ctx, deadline, time) = one_second();
        let (other, later) = (deadline.clone(), time.now() + 3 * SECOND);
        let extending = thread::spawn(move || other.extend(later));
        assert!(deadline.extend(time.now() + 2 * SECOND));
        assert!(extending.join().unwrap());
        assert_eq!(deadline.get(), Some(later));
        drop(ctx);
    });
}

#[test]
fn reset_against_the_timer() {
    large_model(|| {
        let (ctx, deadline, time) = one_second();
        let wakes = Wakes::new();
        let waiting = ctx.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        let advancing = thread::spawn(move || {
            time.advance(SECOND);
            time
        });
        let took_effect = deadline.reset_after(2 * SECOND);
        let time = advancing.join().unwrap();
        assert_eq!(wakes.count(), usize::from(!took_effect), "woken though it goes on, or not woken");
        assert_eq!(ctx.is_done(), !took_effect);
        time.advance(2 * SECOND);
        assert_eq!(wakes.count(), 1, "the timer did not look again");
    });
}

#[test]
fn earlier_idle_reset_does_not_undo_a_later_reset() {
    model(|| {
        let (clock, time) = Clock::manual();
        let (ctx, idle) = Context::background().with_clock(clock).with_idle_timeout(3 * SECOND);
        let later = time.now() + 4 * SECOND;
        let other = idle.clone();
        let advancing = thread::spawn(move || {
            time.advance(SECOND);
            assert!(other.reset());
            assert_eq!(other.get(), Some(later), "an earlier reset took this one back");
            time
        });
        // This thread may have read the clock before the other thread reset the timeout.
        assert!(idle.reset());
        let time = advancing.join().unwrap();
        assert_eq!(idle.get(), Some(later), "an earlier reset took a later one back");
        time.advance(3 * SECOND);
        assert!(ctx.is_done());
    });
}

#[test]
fn progress_against_the_timer_of_an_idle_timeout() {
    large_model(|| {
        let (clock, time) = Clock::manual();
        let (ctx, idle) = Context::background().with_clock(clock).with_idle_timeout(2 * SECOND);
        let wakes = Wakes::new();
        let waiting = ctx.clone();
        let mut done = pin!(waiting.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        time.advance(SECOND);
        let reset_to = time.now() + 2 * SECOND;
        let advancing = thread::spawn(move || {
            time.advance(SECOND);
            time
        });
        let took_effect = ctx.progress();
        let time = advancing.join().unwrap();
        assert_eq!(wakes.count(), usize::from(!took_effect), "woken though it goes on, or not woken");
        assert_eq!(ctx.is_done(), !took_effect);
        let set = if took_effect { reset_to } else { time.now() };
        assert_eq!(idle.get(), Some(set));
        time.advance(SECOND);
        assert_eq!(wakes.count(), 1, "the timer did not look again");
    });
}

#[test]
fn move_to_an_earlier_time_against_the_first_waiter() {
    large_model(|| {
        let (clock, time) = Clock::manual();
        let root = Context::background().with_clock(clock);
        let (ctx, deadline) = root.with_movable_deadline(time.now() + 2 * SECOND);
        let moving = thread::spawn(move || assert!(deadline.reset_after(SECOND)));
        let wakes = Wakes::new();
        let mut done = pin!(ctx.done());
        assert!(poll(done.as_mut(), &wakes).is_pending());
        moving.join().unwrap();
        time.advance(SECOND);
        assert_eq!(wakes.count(), 1, "a wake-up was lost");
    });
}

#[test]
fn reset_against_a_cancel_above() {
    large_model(|| {
        let (clock, time) = Clock::manual();
        let (parent, cancel) = Context::background().with_clock(clock).with_cancel();
        let (ctx, deadline) = parent.with_movable_deadline(time.now() + SECOND);
        let canceling = thread::spawn({
            let (ctx, deadline) = (ctx.clone(), deadline.clone());
            move || {
                cancel.cancel_with("canceled");
                assert!(!deadline.reset_after(2 * SECOND), "a reset took effect after the cancel");
                assert_eq!(cause(&ctx), "canceled");
                deadline.get()
            }
        });
        if !deadline.reset_after(2 * SECOND) {
            assert_eq!(cause(&ctx), "canceled");
        }
        let set_at_the_end = canceling.join().unwrap();
        assert!(!deadline.reset_after(3 * SECOND), "it has ended");
        assert_eq!(deadline.get(), set_at_the_end, "the deadline of an ended context was moved");
        time.advance(2 * SECOND);
        assert_eq!(cause(&ctx), "canceled", "an end changed");
    });
}

#[test]
fn expiry_of_two_movable_deadlines_against_a_reset_has_one_cause() {
    large_model(|| {
        let (outer, move_outer, time) = one_second();
        let (inner, _move_inner) = outer.with_movable_deadline_cause(time.now() + SECOND, "inner");
        let advancing = thread::spawn({
            let inner = inner.clone();
            move || {
                time.advance(SECOND);
                cause(&inner)
            }
        });
        let took_effect = move_outer.reset_after(2 * SECOND);
        let seen = advancing.join().unwrap();
        assert_eq!(seen, if took_effect { "inner" } else { "context deadline exceeded" });
        assert_eq!(cause(&inner), seen, "two stories of one end");
        assert_eq!(outer.is_done(), !took_effect);
    });
}
