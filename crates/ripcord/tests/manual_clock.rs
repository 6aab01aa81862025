//! The uses of a manual clock besides advancing it: waiting for sleepers, and going to the next deadline.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ripcord::{Clock, Context, block_on};

const SEC: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn waiting_for_timers_is_ready_once_enough_are_armed() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut task = Task::from_waker(&waker);
    let mut waiting = pin!(time.wait_for_timers(2));
    assert!(waiting.as_mut().poll(&mut task).is_pending());
    let (mut one, mut two) = (pin!(ctx.sleep(SEC)), pin!(ctx.sleep(2 * SEC)));
    assert!(one.as_mut().poll(&mut task).is_pending());
    assert_eq!((time.timers(), wakes.0.load(SeqCst)), (1, 1));
    assert!(waiting.as_mut().poll(&mut task).is_pending());
    assert!(two.as_mut().poll(&mut task).is_pending());
    assert_eq!((time.timers(), wakes.0.load(SeqCst)), (2, 2));
    assert_eq!(waiting.as_mut().poll(&mut task), Poll::Ready(()));
}

#[test]
fn advancing_to_the_next_deadline_fires_one_moment() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let start = clock.now();
    let contexts = [3, 1, 1, 2].map(|n| ctx.with_timeout(n * SEC));
    let _waiting = contexts.each_ref().map(|ctx| ctx.after_func(|| {}));
    let mut done = Vec::new();
    while time.advance_to_next() {
        done.push(((clock.now() - start).as_secs(), contexts.iter().filter(|ctx| ctx.is_done()).count()));
    }
    assert_eq!(done, [(1, 2), (2, 3), (3, 4)]);
    assert_eq!(time.timers(), 0);
}

#[test]
fn advancing_after_going_to_the_next_deadline_counts_from_there() {
    let (clock, time) = Clock::manual();
    let start = clock.now();
    let ctx = Context::background().with_clock(clock.clone()).with_timeout(SEC);
    let _waiting = ctx.after_func(|| {});
    assert!(time.advance_to_next() && !time.advance_to_next());
    time.advance(SEC);
    assert_eq!(clock.now() - start, 2 * SEC);
}

#[test]
fn dropped_sleep_is_no_timer() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    {
        let mut sleep = pin!(ctx.sleep(SEC));
        assert!(sleep.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
        assert_eq!(time.timers(), 1);
    }
    assert_eq!(time.timers(), 0);
    assert!(!time.advance_to_next());
}

#[test]
fn thread_waits_until_another_sleeps() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let sleeping = std::thread::spawn(move || ctx.sleep_blocking(60 * SEC));
    block_on(time.wait_for_timers(1));
    assert!(time.advance_to_next());
    assert!(sleeping.join().expect("it does not panic").is_ok());
}

#[test]
fn clock_has_passed_exactly_what_its_now_has_reached() {
    let (clock, time) = Clock::manual();
    let then = clock.now() + SEC;
    time.advance(SEC - Duration::from_nanos(1));
    assert!(!clock.has_passed(then));
    time.advance(Duration::from_nanos(1));
    assert!(clock.has_passed(then));

    let system = Clock::system();
    let soon = Instant::now() + Duration::from_millis(2);
    while !system.has_passed(soon) {}
    assert!(Instant::now() >= soon, "an instant was reported early");
    assert!(system.has_passed(soon) && !system.has_passed(Instant::now() + 3600 * SEC));
}
