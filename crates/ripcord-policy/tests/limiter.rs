//! The rate limiter by its specification, on a manual clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::{KeyedLimiter, Rate, RateLimiter, WaitError};

const MS: Duration = Duration::from_millis(1);

fn limiter(rate: Rate, burst: u32) -> (RateLimiter, Context, ManualTime) {
    let (clock, time) = Clock::manual();
    let limiter = RateLimiter::new(rate, burst).unwrap().with_clock(clock.clone());
    (limiter, Context::background().with_clock(clock), time)
}

/// Ten a second: a token every 100 ms.
fn ten(burst: u32) -> (RateLimiter, Context, ManualTime) {
    limiter(Rate::per_second(10.0), burst)
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

type Waiting<'a> = futures::future::BoxFuture<'a, Result<Duration, WaitError>>;

/// Polls once.
fn poll(wait: &mut Waiting<'_>) -> Poll<Result<Duration, WaitError>> {
    wait.as_mut().poll(&mut Task::from_waker(Waker::noop()))
}

/// The time by which a wait ends if it is polled every millisecond.
fn served_after(wait: &mut Waiting<'_>, time: &ManualTime) -> u32 {
    for ms in 0..10_000 {
        if poll(wait).is_ready() {
            return ms;
        }
        time.advance(MS);
    }
    panic!("never served");
}

#[test]
fn a_burst_then_the_rate() {
    let (limiter, _, time) = ten(3);
    assert_eq!((0..10).filter(|_| limiter.allow()).count(), 3);
    time.advance(99 * MS);
    assert!(!limiter.allow());
    time.advance(MS);
    assert!(limiter.allow() && !limiter.allow());
    time.advance(3600 * 1000 * MS);
    assert_eq!((0..10).filter(|_| limiter.allow()).count(), 3);
    let stats = limiter.stats();
    assert_eq!((stats.allowed, stats.denied, stats.rejected), (7, 16, 16));
}

#[test]
fn above_the_burst_fails_and_changes_nothing() {
    let (limiter, ctx, _time) = ten(3);
    assert!(!limiter.allow_n(4));
    let error = limiter.reserve_n(4).unwrap_err();
    assert_eq!((error.requested, error.burst), (4, 3));
    let wait = limiter.wait_n_blocking(&ctx, 4).unwrap_err();
    assert_eq!(wait.to_string(), "4 tokens exceed the burst of 3");
    assert_eq!(limiter.tokens(), 3.0);
    assert!(limiter.allow_n(3));
}

#[test]
fn nothing_can_be_had_of_nothing() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow() && limiter.allow_n(0));
    assert_eq!(limiter.wait_n_blocking(&ctx, 0).unwrap(), Duration::ZERO);
}

#[test]
fn an_infinite_rate_ignores_the_burst() {
    let (limiter, ctx, _time) = limiter(Rate::INFINITE, 1);
    assert!(limiter.allow_n(1_000_000) && limiter.reserve_n(u32::MAX).unwrap().delay().is_zero());
    assert_eq!(limiter.wait_n_blocking(&ctx, u32::MAX).unwrap(), Duration::ZERO);
    limiter.set_rate(Rate::per_second(1.0)).unwrap();
    assert_eq!(limiter.tokens(), 1.0);
    assert!(limiter.allow() && !limiter.allow());
}

#[test]
fn a_zero_rate_spends_the_first_burst() {
    let (limiter, ctx, time) = limiter(Rate::ZERO, 2);
    assert!(limiter.allow() && limiter.allow());
    time.advance(Duration::from_secs(1 << 30));
    assert!(!limiter.allow());
    assert_eq!(limiter.reserve().unwrap().delay(), Duration::MAX);
    let ctx = ctx.with_timeout(Duration::from_secs(1));
    assert!(limiter.wait_blocking(&ctx).unwrap_err().is_deadline_exceeded());
}

#[test]
fn extreme_rates_do_not_overflow() {
    let (slow, _, time) = limiter(Rate::per_second(1e-10), 1);
    assert!(slow.allow() && !slow.allow());
    let delay = slow.reserve().unwrap().delay();
    let years = delay.as_secs_f64() / 31_557_600.0;
    assert!((316.0..318.0).contains(&years), "{years}");
    time.advance(Duration::from_secs(3600));
    assert!(!slow.allow());
    for rate in [f64::MIN_POSITIVE, 5e-324, 1e-300, 1e9, 1e15, 1e18, f64::MAX] {
        let (limiter, _, time) = limiter(Rate::per_second(rate), u32::MAX);
        for _ in 0..100 {
            limiter.allow_n(u32::MAX);
            time.advance(Duration::from_secs(1_000_000));
        }
        assert_eq!(limiter.allow_n(u32::MAX), rate > 1e3, "{rate}");
        limiter.set_rate(Rate::per_second(1.0)).unwrap();
        assert!(limiter.tokens() <= f64::from(u32::MAX));
    }
    let (limiter, _, time) = limiter(Rate::every(Duration::MAX), 1);
    assert!(limiter.allow());
    time.advance(Duration::from_secs(1));
    assert!(!limiter.allow());
}

#[test]
fn reservations_tell_their_times() {
    let (limiter, _, time) = ten(2);
    let delays: Vec<_> = (0..5).map(|_| limiter.reserve().unwrap().delay().as_millis()).collect();
    assert_eq!(delays, [0, 0, 100, 200, 300]);
    assert_eq!(limiter.tokens(), -3.0);
    time.advance(250 * MS);
    let reservation = limiter.reserve().unwrap();
    assert_eq!(reservation.delay(), 150 * MS);
    time.advance(150 * MS);
    assert!(reservation.delay().is_zero() && !reservation.cancel());
}

/// The cases of `golang.org/x/time/rate`'s own tests of `Cancel`.
#[test]
fn cancel_gives_back_what_was_not_promised_to_later_ones() {
    let (limiter, _, time) = ten(2);
    let _first = limiter.reserve_n(2).unwrap();
    let reservation = limiter.reserve().unwrap();
    let _later = limiter.reserve().unwrap();
    assert!(!reservation.cancel(), "the later one has it");
    assert_eq!(limiter.reserve().unwrap().delay(), 300 * MS);

    let (limiter, _, _time) = ten(2);
    let _first = limiter.reserve_n(2).unwrap();
    let reservation = limiter.reserve_n(2).unwrap();
    let _later = limiter.reserve().unwrap();
    assert!(reservation.cancel(), "one of two");
    assert_eq!(limiter.reserve_n(2).unwrap().delay(), 400 * MS);

    let (limiter, _, _time) = ten(4);
    let _first = limiter.reserve_n(4).unwrap();
    let (a, b, c) = (limiter.reserve_n(3).unwrap(), limiter.reserve().unwrap(), limiter.reserve().unwrap());
    assert!(c.cancel() && b.cancel() && a.cancel());
    assert_eq!(limiter.tokens(), 0.0);
    assert_eq!((limiter.stats().refunded, limiter.stats().canceled), (5, 3));
    drop(time);
}

#[test]
fn cancel_after_its_time_gives_back_nothing() {
    let (limiter, _, time) = ten(1);
    let _ = limiter.reserve().unwrap();
    let reservation = limiter.reserve().unwrap();
    time.advance(100 * MS);
    assert!(!reservation.cancel());
    assert!(!limiter.allow());
}

#[test]
fn waits_are_served_in_order() {
    let (limiter, ctx, time) = ten(3);
    assert!(limiter.allow_n(3));
    let mut large: Waiting<'_> = Box::pin(limiter.wait_n(&ctx, 3));
    let mut small: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut large).is_pending() && poll(&mut small).is_pending());
    assert_eq!(limiter.stats().waiters, 2);
    time.advance(200 * MS);
    // There are two tokens now, and the small one must not have them.
    assert!(poll(&mut small).is_pending() && !limiter.allow());
    time.advance(100 * MS);
    assert_eq!(poll(&mut large).map(Result::unwrap), Poll::Ready(300 * MS));
    assert!(poll(&mut small).is_pending());
    time.advance(100 * MS);
    assert_eq!(poll(&mut small).map(Result::unwrap), Poll::Ready(400 * MS));
    let stats = limiter.stats();
    assert_eq!((stats.waiters, stats.waited), (0, 2));
    assert_eq!((stats.total_wait, stats.longest_wait), (700 * MS, 400 * MS));
}

#[test]
fn a_waiter_that_is_not_polled_holds_up_nobody() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let mut stuck: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut next: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut stuck).is_pending() && poll(&mut next).is_pending());
    time.advance(200 * MS);
    assert!(poll(&mut next).is_ready());
    let mut newcomer: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert_eq!(served_after(&mut newcomer, &time), 100);
    assert!(poll(&mut stuck).is_ready());
    assert!(!limiter.allow());
}

#[test]
fn a_waiter_is_woken_at_its_time_and_not_before() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(wait.as_mut().poll(&mut Task::from_waker(&waker)).is_pending());
    time.advance(99 * MS);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    time.advance(MS);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(wait.now_or_never().is_some());
}

#[test]
fn a_dropped_wait_lets_those_behind_move_up() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let mut first: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut second: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut third: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!([&mut first, &mut second, &mut third].into_iter().all(|wait| poll(wait).is_pending()));
    drop(first);
    assert_eq!(served_after(&mut second, &time), 100);
    assert_eq!(served_after(&mut third, &time), 100);
    assert!((limiter.tokens()).abs() < 1e-5);
    let stats = limiter.stats();
    assert_eq!((stats.waited, stats.canceled, stats.refunded), (2, 1, 1));
}

#[test]
fn a_wait_dropped_at_any_point_leaves_the_baseline() {
    for advance in [0, 50, 100, 150] {
        let (limiter, ctx, time) = ten(1);
        assert!(limiter.allow());
        for _ in 0..3 {
            let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
            assert!(poll(&mut wait).is_pending());
        }
        let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
        assert!(poll(&mut wait).is_pending());
        time.advance(advance * MS);
        // Due or not, it has not been served.
        drop(wait);
        let stats = limiter.stats();
        assert_eq!((stats.waiters, stats.canceled, stats.refunded), (0, 4, 4));
        assert_eq!(limiter.tokens(), f64::from(advance).min(100.0) / 100.0, "after {advance} ms");
        // Not even polled.
        drop(limiter.wait(&ctx));
    }
}

#[test]
fn a_wait_that_cannot_end_in_time_fails_at_once_and_takes_nothing() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow());
    let near = ctx.with_timeout(100 * MS);
    let error = limiter.wait(&near).now_or_never().expect("at once").unwrap_err();
    assert!(error.is_deadline_exceeded());
    assert!(error.to_string().contains("needs 100ms, 100ms left"), "{error}");
    assert_eq!((limiter.tokens(), limiter.stats().deadline_refused), (0.0, 1));
    let far = ctx.with_timeout(101 * MS);
    assert!(limiter.wait(&far).now_or_never().is_none());
}

#[test]
fn a_wait_ends_with_its_context() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let (ctx, cancel) = ctx.with_cancel();
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut wait).is_pending());
    cancel.cancel();
    assert!(matches!(poll(&mut wait), Poll::Ready(Err(error)) if error.is_canceled()));
    drop(wait);
    assert_eq!((limiter.stats().waiters, limiter.stats().refunded), (0, 1));
    // Done before: nothing is taken though there is something.
    time.advance(100 * MS);
    assert!(limiter.wait_blocking(&ctx).unwrap_err().is_canceled());
    assert_eq!(limiter.tokens(), 1.0);
}

#[test]
fn a_token_that_is_due_wins_over_an_end() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let (ctx, cancel) = ctx.with_cancel();
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut wait).is_pending());
    time.advance(100 * MS);
    cancel.cancel();
    assert!(matches!(poll(&mut wait), Poll::Ready(Ok(_))));
}

#[test]
fn waiters_are_retimed_and_reservations_are_not() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let mut first: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut second: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    let reservation = limiter.reserve().unwrap();
    time.advance(50 * MS);
    limiter.set_rate(Rate::per_second(100.0)).unwrap();
    assert_eq!(served_after(&mut first, &time), 5, "half a token was missing");
    assert_eq!(served_after(&mut second, &time), 10);
    assert_eq!(reservation.delay(), 300 * MS - 65 * MS);
}

#[test]
fn a_waiter_retimed_past_its_deadline_fails_at_once() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow());
    let ctx = ctx.with_timeout(500 * MS);
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut wait).is_pending());
    limiter.set_rate(Rate::per_second(1.0)).unwrap();
    assert!(matches!(poll(&mut wait), Poll::Ready(Err(error)) if error.is_deadline_exceeded() && error.is_rejected()));
    assert_eq!((limiter.tokens(), limiter.stats().waiters), (0.0, 0));
}

#[test]
fn an_infinite_rate_serves_all_who_wait() {
    let (limiter, ctx, _time) = limiter(Rate::ZERO, 1);
    assert!(limiter.allow());
    let mut waits: Vec<Waiting<'_>> = (0..3).map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    limiter.set_rate(Rate::INFINITE).unwrap();
    limiter.set_rate(Rate::ZERO).unwrap();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_ready()));
    assert_eq!(limiter.tokens(), 1.0);
}

#[test]
fn the_burst_can_be_set() {
    let (limiter, _, time) = ten(2);
    time.advance(1000 * MS);
    limiter.set_burst(5).unwrap();
    assert_eq!(limiter.tokens(), 2.0, "what the old burst did not keep is gone");
    time.advance(200 * MS);
    assert_eq!(limiter.tokens(), 4.0);
    limiter.set_burst(1).unwrap();
    assert_eq!((limiter.tokens(), limiter.burst()), (1.0, 1));
    limiter.set_burst(3).unwrap();
    assert_eq!(limiter.tokens(), 1.0);
}

#[test]
fn a_rate_set_again_and_again_loses_nothing() {
    let (limiter, _, time) = limiter(Rate::per(1, Duration::from_secs(1000)), 10);
    assert!(limiter.allow_n(10));
    for _ in 0..1_000_000 {
        time.advance(MS);
        limiter.set_rate(Rate::per(1, Duration::from_secs(1000))).unwrap();
    }
    assert!((0.99999..=1.0).contains(&limiter.tokens()), "{}", limiter.tokens());
}

#[test]
fn threads_wait_too() {
    let limiter = RateLimiter::new(Rate::per_second(10_000.0), 1).unwrap();
    let ctx = Context::background().with_timeout(Duration::from_secs(60));
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert!(limiter.wait_blocking(&ctx).is_ok())));
        }
    });
    assert!(start.elapsed() >= Duration::from_micros(39_900) - MS, "{:?}", start.elapsed());
    assert_eq!(limiter.stats().waited, 400);
}

#[test]
fn many_waiters_canceled_at_once_all_resolve() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow());
    let (ctx, cancel) = ctx.with_cancel();
    let mut waits: Vec<Waiting<'_>> = (0..100_000).map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().rev().all(|wait| poll(wait).is_pending()));
    cancel.cancel();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_ready()));
    drop(waits);
    assert_eq!((limiter.tokens(), limiter.stats().waiters, limiter.stats().canceled), (0.0, 0, 100_000));
}

#[test]
fn bad_settings_are_named() {
    let error = |rate| RateLimiter::new(rate, 1).unwrap_err().to_string();
    assert_eq!(error(Rate::per_second(-1.0)), "rate must be at least 0 tokens per second, got -1");
    assert_eq!(error(Rate::per_second(f64::NAN)), "rate must be at least 0 tokens per second, got NaN");
    assert!(error(Rate::per_second(f64::NEG_INFINITY)).starts_with("rate must be"));
    assert!(error(Rate::every(Duration::ZERO)).contains("a period longer than zero"));
    let (limiter, _, _time) = ten(1);
    assert_eq!(RateLimiter::new(Rate::ZERO, 0).unwrap_err().to_string(), "burst must be at least 1, got 0");
    assert!(limiter.set_rate(Rate::per_second(f64::NAN)).is_err() && limiter.set_burst(0).is_err());
    assert_eq!((limiter.rate(), limiter.burst()), (Rate::per_second(10.0), 1));
    assert!(KeyedLimiter::<u8>::new(Rate::ZERO, 0).is_err());
}

#[test]
fn keys_have_buckets_of_their_own() {
    let (clock, time) = Clock::manual();
    let limiter = KeyedLimiter::new(Rate::per_second(10.0), 2).unwrap().with_clock(clock.clone());
    let ctx = Context::background().with_clock(clock);
    assert!(limiter.allow(&"a") && limiter.allow(&"a") && !limiter.allow(&"a"));
    assert!(limiter.allow_n(&"b", 2) && !limiter.allow_n(&"c", 3));
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx, &"a"));
    assert!(poll(&mut wait).is_pending());
    assert_eq!(limiter.stats().waiters, 1);
    assert_eq!(limiter.reserve_n(&"a", 1).unwrap().delay(), 200 * MS);
    limiter.set_rate(Rate::per_second(100.0)).unwrap();
    assert_eq!(served_after(&mut wait, &time), 10);
    assert_eq!(limiter.tokens(&"b"), 1.0);
    limiter.set_burst(1).unwrap();
    time.advance(1000 * MS);
    assert_eq!((limiter.tokens(&"a"), limiter.tokens(&"b"), limiter.tokens(&"new")), (1.0, 1.0, 1.0));
    drop(wait);
    limiter.forget_idle();
    assert!(limiter.is_empty());
    assert_eq!(limiter.stats().allowed, 3);
}

#[test]
fn a_done_context_waits_for_no_key_and_takes_nothing() {
    let (clock, _time) = Clock::manual();
    let limiter = KeyedLimiter::new(Rate::per_second(10.0), 2).unwrap().with_clock(clock.clone());
    let done = Context::background().with_clock(clock).with_timeout(Duration::ZERO);
    for key in ["new", "known"] {
        assert!(key == "new" || limiter.allow(&key));
        let left = limiter.tokens(&key);
        assert!(limiter.wait_blocking(&done, &key).unwrap_err().is_deadline_exceeded());
        assert_eq!(limiter.tokens(&key), left);
    }
    assert_eq!((limiter.len(), limiter.stats().canceled, limiter.stats().waited), (1, 2, 0));
}

#[test]
fn idle_keys_are_forgotten() {
    let (clock, time) = Clock::manual();
    let limiter = KeyedLimiter::new(Rate::per_second(1000.0), 1).unwrap().with_clock(clock);
    let mut most = 0;
    for key in 0..1_000_000u32 {
        assert!(limiter.allow(&key));
        if key % 100 == 0 {
            time.advance(MS);
            most = most.max(limiter.len());
        }
    }
    // A hundred keys are in use at a time; a shard is looked through from 64 on.
    assert!(most < 3000, "{most}");
}

#[test]
fn a_forgotten_key_has_not_been_granted_anything() {
    let (clock, time) = Clock::manual();
    let limiter = KeyedLimiter::new(Rate::per_second(1.0), 1).unwrap().with_clock(clock);
    for key in 0..1000u32 {
        assert!(limiter.allow(&key));
    }
    limiter.forget_idle();
    assert_eq!(limiter.len(), 1000);
    assert!((0..1000).all(|key| !limiter.allow(&key)));
    time.advance(1000 * MS);
    limiter.forget_idle();
    assert_eq!(limiter.len(), 0);
    assert!((0..1000).all(|key| limiter.allow(&key) && !limiter.allow(&key)));
}
