//! The rate limiter, tested against its specification on a manual clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context, ManualTime, block_on};
use ripcord_policy::limiter::Quota;
use ripcord_policy::{KeyedLimiter, Rate, RateLimiter, Refused};

const MS: Duration = Duration::from_millis(1);

fn limiter(rate: Rate, burst: u32) -> (RateLimiter, Context, ManualTime) {
    let (clock, time) = Clock::manual();
    let limiter = RateLimiter::builder().rate(rate).burst(burst).clock(clock.clone()).build().unwrap();
    (limiter, Context::background().with_clock(clock), time)
}

/// Returns a limiter that earns a token every 100 ms.
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

type Waiting<'a> = futures::future::BoxFuture<'a, Result<Duration, Refused>>;

/// Polls a wait once.
fn poll(wait: &mut Waiting<'_>) -> Poll<Result<Duration, Refused>> {
    wait.as_mut().poll(&mut Task::from_waker(Waker::noop()))
}

/// Returns the time in milliseconds after which a wait ends if it is polled every millisecond.
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
fn full_bucket_grants_its_burst_and_then_the_rate() {
    let (limiter, _, time) = ten(3);
    assert_eq!((0..10).filter(|_| limiter.allow()).count(), 3);
    time.advance(99 * MS);
    assert!(!limiter.allow());
    time.advance(MS);
    assert!(limiter.allow() && !limiter.allow());
    time.advance(3600 * 1000 * MS);
    assert_eq!((0..10).filter(|_| limiter.allow()).count(), 3);
    let stats = limiter.stats();
    assert_eq!((stats.allowed, stats.denied), (7, 16));
    assert_eq!((stats.calls.started, stats.calls.succeeded, stats.calls.rejected), (7, 7, 16));
}

#[test]
fn request_above_the_burst_fails_and_takes_nothing() {
    let (limiter, ctx, _time) = ten(3);
    assert!(!limiter.allow_n(4));
    let error = limiter.reserve_n(4).unwrap_err();
    assert_eq!((error.requested, error.burst), (4, 3));
    let wait = block_on(limiter.wait_n(&ctx, 4)).unwrap_err();
    assert!(wait.is_limited() && !wait.is_transient());
    assert_eq!((wait.to_string().as_str(), error.to_string()), ("4 tokens exceed the burst of 3", wait.to_string()));
    assert_eq!(limiter.tokens(), 3.0);
    assert!(limiter.allow_n(3));
}

#[test]
fn request_for_no_tokens_is_granted_by_an_empty_bucket() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow() && limiter.allow_n(0));
    assert_eq!(block_on(limiter.wait_n(&ctx, 0)).unwrap(), Duration::ZERO);
}

#[test]
fn infinite_rate_ignores_the_burst() {
    let (limiter, ctx, _time) = limiter(Rate::INFINITE, 1);
    assert!(limiter.allow_n(1_000_000) && limiter.reserve_n(u32::MAX).unwrap().delay().is_zero());
    assert_eq!(block_on(limiter.wait_n(&ctx, u32::MAX)).unwrap(), Duration::ZERO);
    limiter.set_rate(Rate::per_second(1.0)).unwrap();
    assert_eq!(limiter.tokens(), 1.0);
    assert!(limiter.allow() && !limiter.allow());
}

#[test]
fn zero_rate_grants_the_first_burst_only() {
    let (limiter, ctx, time) = limiter(Rate::ZERO, 2);
    assert!(limiter.allow() && limiter.allow());
    time.advance(Duration::from_secs(1 << 30));
    assert!(!limiter.allow());
    assert_eq!(limiter.reserve().delay(), Duration::MAX);
    let ctx = ctx.with_timeout(Duration::from_secs(1));
    assert!(block_on(limiter.wait(&ctx)).unwrap_err().is_deadline_exceeded());
}

#[test]
fn extreme_rates_do_not_overflow() {
    let (slow, _, time) = limiter(Rate::per_second(1e-10), 1);
    assert!(slow.allow() && !slow.allow());
    let delay = slow.reserve().delay();
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
fn reservations_act_one_after_the_other() {
    let (limiter, _, time) = ten(2);
    let delays: Vec<_> = (0..5).map(|_| limiter.reserve().delay().as_millis()).collect();
    assert_eq!(delays, [0, 0, 100, 200, 300]);
    assert_eq!(limiter.tokens(), -3.0);
    time.advance(250 * MS);
    let reservation = limiter.reserve();
    assert_eq!(reservation.delay(), 150 * MS);
    time.advance(150 * MS);
    assert!(reservation.delay().is_zero() && !reservation.cancel());
}

#[test]
fn cancel_gives_back_tokens_unless_later_ones_are_promised() {
    let (limiter, _, _time) = ten(2);
    let _first = limiter.reserve_n(2).unwrap();
    let reservation = limiter.reserve_n(2).unwrap();
    assert!(reservation.cancel(), "the last reservation");
    assert_eq!(limiter.reserve_n(2).unwrap().delay(), 200 * MS);

    let (limiter, _, _time) = ten(2);
    let _first = limiter.reserve_n(2).unwrap();
    let reservation = limiter.reserve().cancel();
    assert!(reservation);
    let reservation = limiter.reserve();
    let later = limiter.reserve();
    assert!(!reservation.cancel(), "a later reservation keeps its time");
    assert_eq!(later.delay(), 200 * MS);
    let next = limiter.reserve();
    assert_eq!(next.delay(), 300 * MS);
    // The tokens of all three reservations are free when the last of them is canceled.
    assert!(!later.cancel() && next.cancel());
    assert_eq!((limiter.tokens(), limiter.stats().refunded), (0.0, 4));
}

#[test]
fn reservations_canceled_from_the_last_to_the_first_refund_all_tokens() {
    let (limiter, _, _time) = ten(4);
    let _first = limiter.reserve_n(4).unwrap();
    let (a, b, c) = (limiter.reserve_n(3).unwrap(), limiter.reserve(), limiter.reserve());
    assert!(c.cancel() && b.cancel() && a.cancel());
    assert_eq!(limiter.tokens(), 0.0);
    let stats = limiter.stats();
    assert_eq!((stats.refunded, stats.reserved, stats.reservations_canceled), (5, 4, 3));
}

#[test]
fn span_of_a_canceled_reservation_is_lost_when_the_next_one_acts() {
    let (limiter, _, time) = ten(2);
    let _first = limiter.reserve_n(2).unwrap();
    let canceled = limiter.reserve();
    let _next = limiter.reserve();
    assert!(!canceled.cancel());
    time.advance(200 * MS);
    assert_eq!(limiter.tokens(), 0.0);
    assert!(!limiter.allow());
}

#[test]
fn cancel_after_the_reservations_time_gives_back_nothing() {
    let (limiter, _, time) = ten(1);
    let _ = limiter.reserve();
    let reservation = limiter.reserve();
    time.advance(100 * MS);
    assert!(!reservation.cancel());
    assert!(!limiter.allow());
}

#[test]
fn waiters_are_served_in_order() {
    let (limiter, ctx, time) = ten(3);
    assert!(limiter.allow_n(3));
    let mut large: Waiting<'_> = Box::pin(limiter.wait_n(&ctx, 3));
    let mut small: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut large).is_pending() && poll(&mut small).is_pending());
    assert_eq!(limiter.stats().waiters, 2);
    time.advance(200 * MS);
    // There are two tokens now, but the small waiter must not get them.
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
fn unpolled_waiter_delays_no_other_waiter() {
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
fn waiter_is_woken_at_its_time_and_not_before() {
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
fn waiter_dropped_at_the_front_leaves_the_times_of_those_behind() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let mut first: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut second: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut third: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!([&mut first, &mut second, &mut third].into_iter().all(|wait| poll(wait).is_pending()));
    drop(first);
    assert_eq!(served_after(&mut second, &time), 200);
    assert_eq!(served_after(&mut third, &time), 100);
    assert_eq!(limiter.tokens(), 0.0);
    let stats = limiter.stats();
    assert_eq!((stats.waited, stats.calls.canceled, stats.refunded), (2, 1, 0));
}

#[test]
fn waiter_dropped_mid_queue_refunds_its_token_when_those_behind_leave() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let mut waits: Vec<Waiting<'_>> = (0..4).map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    drop(waits.remove(1));
    assert_eq!(limiter.tokens(), -4.0, "two wait behind it");
    drop(waits.remove(1));
    assert_eq!(limiter.tokens(), -4.0, "one waits behind it");
    drop(waits.remove(1));
    assert_eq!((limiter.tokens(), limiter.stats().refunded), (-1.0, 3));
    assert_eq!(served_after(&mut waits[0], &time), 100);
}

#[test]
fn last_waiter_dropped_at_any_time_refunds_its_token() {
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
        // The waiter has not been served, whether its tokens are due or not.
        drop(wait);
        let stats = limiter.stats();
        assert_eq!((stats.waiters, stats.calls.canceled, stats.refunded), (0, 4, 4));
        assert_eq!(limiter.tokens(), f64::from(advance).min(100.0) / 100.0, "after {advance} ms");
        // This wait is never polled.
        drop(limiter.wait(&ctx));
    }
}

#[test]
fn wait_past_the_deadline_fails_at_once_and_takes_nothing() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow());
    let (near, line) = (ctx.with_timeout(100 * MS), line!());
    let error = limiter.wait(&near).now_or_never().expect("at once").unwrap_err();
    let set_at = error.deadline_origin().expect("the deadline is known").location();
    assert_eq!((set_at.file(), set_at.line()), (file!(), line));
    assert!(error.is_deadline_exceeded() && error.is_rejected());
    assert_eq!(error.to_string(), "deadline too near: needs 100ms, 100ms left");
    assert_eq!((limiter.tokens(), limiter.stats().deadline_refused), (0.0, 1));
    let far = ctx.with_timeout(101 * MS);
    assert!(limiter.wait(&far).now_or_never().is_none());
}

#[test]
fn wait_with_a_deadline_at_a_rate_of_zero_says_that_it_would_never_end() {
    let (limiter, ctx, _time) = limiter(Rate::ZERO, 1);
    assert!(limiter.allow());
    let error = limiter.wait(&ctx.with_timeout(100 * MS)).now_or_never().expect("at once").unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_rejected());
    assert_eq!(error.to_string(), "deadline too near: the wait would never end, 100ms left");
    assert!(!format!("{error:?}").contains("18446744073709551615"), "{error:?}");
}

#[test]
fn wait_ends_with_its_context_and_refunds_its_token() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let (ctx, cancel) = ctx.with_cancel();
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut wait).is_pending());
    cancel.cancel();
    assert!(matches!(poll(&mut wait), Poll::Ready(Err(error)) if error.is_canceled()));
    drop(wait);
    assert_eq!((limiter.stats().waiters, limiter.stats().refunded), (0, 1));
    // The context has ended before the wait: no token is taken, although one is free.
    time.advance(100 * MS);
    assert!(block_on(limiter.wait(&ctx)).unwrap_err().is_canceled());
    assert_eq!(limiter.tokens(), 1.0);
}

#[test]
fn token_that_is_due_wins_over_the_contexts_end() {
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
fn new_rate_retimes_waiters_and_no_reservations() {
    let (limiter, ctx, time) = ten(1);
    assert!(limiter.allow());
    let mut first: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    let mut second: Waiting<'_> = Box::pin(limiter.wait(&ctx));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    let reservation = limiter.reserve();
    time.advance(50 * MS);
    limiter.set_rate(Rate::per_second(100.0)).unwrap();
    assert_eq!(served_after(&mut first, &time), 5, "half a token was missing");
    assert_eq!(served_after(&mut second, &time), 10);
    assert_eq!(reservation.delay(), 300 * MS - 65 * MS);
}

#[test]
fn waiter_retimed_past_its_deadline_fails_at_once() {
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
fn infinite_rate_serves_all_waiters() {
    let (limiter, ctx, _time) = limiter(Rate::ZERO, 1);
    assert!(limiter.allow());
    let mut waits: Vec<Waiting<'_>> = (0..3).map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
    limiter.set_rate(Rate::INFINITE).unwrap();
    assert!(poll(&mut waits[1]).is_ready(), "at the same instant");
    drop(waits.remove(1));
    limiter.set_rate(Rate::ZERO).unwrap();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_ready()));
    assert_eq!((limiter.tokens(), limiter.stats().waiters), (1.0, 0));
}

#[test]
fn new_burst_keeps_the_tokens_that_fit_both_bursts() {
    let (limiter, _, time) = ten(2);
    time.advance(1000 * MS);
    limiter.set_burst(5).unwrap();
    assert_eq!(limiter.tokens(), 2.0, "tokens above the old burst are gone");
    time.advance(200 * MS);
    assert_eq!(limiter.tokens(), 4.0);
    limiter.set_burst(1).unwrap();
    assert_eq!((limiter.tokens(), limiter.burst()), (1.0, 1));
    limiter.set_burst(3).unwrap();
    assert_eq!(limiter.tokens(), 1.0);
}

#[test]
fn rate_set_a_million_times_to_the_same_value_loses_no_tokens() {
    let (limiter, _, time) = limiter(Rate::per(1, Duration::from_secs(1000)), 10);
    assert!(limiter.allow_n(10));
    for _ in 0..1_000_000 {
        time.advance(MS);
        limiter.set_rate(Rate::per(1, Duration::from_secs(1000))).unwrap();
    }
    assert!((0.99999..=1.0).contains(&limiter.tokens()), "{}", limiter.tokens());
}

#[test]
fn blocked_threads_share_the_rate() {
    let limiter = RateLimiter::new(Rate::per_second(10_000.0), 1).unwrap();
    let ctx = Context::background().with_timeout(Duration::from_secs(60));
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| assert!(block_on(limiter.wait(&ctx)).is_ok())));
        }
    });
    assert!(start.elapsed() >= Duration::from_micros(39_900) - MS, "{:?}", start.elapsed());
    assert_eq!(limiter.stats().waited, 400);
}

#[test]
fn hundred_thousand_waiters_canceled_at_once_refund_all_tokens() {
    let (limiter, ctx, _time) = ten(1);
    assert!(limiter.allow());
    let (ctx, cancel) = ctx.with_cancel();
    let mut waits: Vec<Waiting<'_>> = (0..100_000).map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().rev().all(|wait| poll(wait).is_pending()));
    cancel.cancel();
    assert!(waits.iter_mut().all(|wait| poll(wait).is_ready()));
    drop(waits);
    assert_eq!((limiter.tokens(), limiter.stats().waiters, limiter.stats().calls.canceled), (0.0, 0, 100_000));
}

#[test]
fn setting_out_of_bounds_is_named() {
    let error = |rate| RateLimiter::new(rate, 1).unwrap_err().to_string();
    assert_eq!(RateLimiter::builder().build().unwrap_err().to_string(), "rate must be set, got nothing");
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
fn each_key_has_a_bucket_of_its_own() {
    let (clock, time) = Clock::manual();
    let limiter = KeyedLimiter::builder().rate(Rate::per_second(10.0)).burst(2).clock(clock.clone()).build().unwrap();
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
fn wait_for_a_key_under_an_ended_context_takes_nothing() {
    let (clock, _time) = Clock::manual();
    let limiter = KeyedLimiter::builder().rate(Rate::per_second(10.0)).burst(2).clock(clock.clone()).build().unwrap();
    let done = Context::background().with_clock(clock).with_timeout(Duration::ZERO);
    for key in ["new", "known"] {
        assert!(key == "new" || limiter.allow(&key));
        let left = limiter.tokens(&key);
        assert!(block_on(limiter.wait(&done, &key)).unwrap_err().is_deadline_exceeded());
        assert_eq!(limiter.tokens(&key), left);
    }
    assert_eq!((limiter.len(), limiter.stats().calls.rejected, limiter.stats().waited), (1, 2, 0));
}

#[test]
fn million_one_off_keys_leave_few_remembered() {
    let (clock, time) = Clock::manual();
    let limiter = KeyedLimiter::builder().rate(Rate::per_second(1000.0)).burst(1).clock(clock).build().unwrap();
    let mut max = 0;
    for key in 0..1_000_000u32 {
        assert!(limiter.allow(&key));
        if key % 100 == 0 {
            time.advance(MS);
            max = max.max(limiter.len());
        }
    }
    // A hundred keys are in use at a time. Each of 16 shards is searched from 64 keys on.
    assert!(max < 3000, "{max}");
}

#[test]
fn only_keys_with_a_full_bucket_are_forgotten() {
    let (clock, time) = Clock::manual();
    let limiter = KeyedLimiter::builder().rate(Rate::per_second(1.0)).burst(1).clock(clock).build().unwrap();
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

/// A regression test: setting the clock of a built limiter returned a new, full limiter with empty statistics.
#[test]
fn limiter_has_no_setter_that_refills_it() {
    let (limiter, _, _time) = ten(5);
    assert!(limiter.allow_n(5));
    let clone = limiter.clone();
    assert_eq!((clone.tokens(), clone.stats().allowed), (0.0, 1));
    assert!(!clone.allow());
    assert_eq!(limiter.stats(), clone.stats());
}

#[test]
fn key_with_a_quota_of_its_own_is_limited_by_it() {
    let (clock, time) = Clock::manual();
    let (ten, hundred) = (Rate::per_second(10.0), Rate::per_second(100.0));
    let vip = Quota::new(hundred, 3).unwrap();
    let builder = KeyedLimiter::builder().rate(ten).burst(1).clock(clock);
    let limiter = builder.quota(move |key: &&str| key.starts_with("vip").then_some(vip)).build().unwrap();
    assert_eq!((limiter.rate(&"vip-1"), limiter.burst(&"vip-1")), (hundred, 3));
    assert_eq!((limiter.rate(&"guest"), limiter.burst(&"guest")), (ten, 1));
    assert_eq!((limiter.tokens(&"vip-1"), limiter.tokens(&"guest"), limiter.len()), (3.0, 1.0, 0));
    assert!(limiter.allow_n(&"vip-1", 3) && !limiter.allow(&"vip-1") && limiter.allow(&"guest"));
    assert_eq!(limiter.reserve(&"vip-1").delay(), 10 * MS);
    assert_eq!(limiter.reserve(&"guest").delay(), 100 * MS);
    // A new default does not change the quotas of single keys.
    limiter.set_rate(Rate::ZERO).unwrap();
    limiter.set_burst(7).unwrap();
    assert_eq!((limiter.rate(&"vip-1"), limiter.burst(&"vip-1")), (hundred, 3));
    time.advance(40 * MS);
    assert_eq!(limiter.tokens(&"vip-1"), 3.0);
    limiter.forget_idle();
    assert_eq!(limiter.len(), 1, "the guest owes a token");
}

#[test]
fn quota_that_changes_takes_effect_on_a_remembered_key() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let per_second = Arc::new(AtomicUsize::new(10));
    let current = Arc::clone(&per_second);
    let quota = move |_: &u8| Quota::new(Rate::per_second(current.load(Ordering::Relaxed) as f64), 1).ok();
    let limiter = KeyedLimiter::builder().rate(Rate::ZERO).clock(clock).quota(quota).build().unwrap();
    assert!(limiter.allow(&1));
    let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx, &1));
    assert!(poll(&mut wait).is_pending());
    per_second.store(100, Ordering::Relaxed);
    assert!(!limiter.allow(&1));
    assert_eq!(served_after(&mut wait, &time), 10);
}
