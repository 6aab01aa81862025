//! The limiter against exact arithmetic: never a token more than due, whatever falls together, and none less.
//!
//! All amounts are integers in units of 1/SCALE of a token, in which every rate used here earns a whole number a
//! nanosecond, so the model rounds nothing.

use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use proptest::collection::vec;
use proptest::prelude::*;
use ripcord::{Clock, Context};
use ripcord_policy::{Rate, RateLimiter, WaitError};

const SCALE: i128 = 21 * 1024 * 1_000_000_000;
/// The limiter counts in 2^-26 of a token, rounded down, at each change of the rate again, and carries what that drops.
const UNIT: i128 = SCALE / (1 << 26) + 1;
const ROUNDING: i128 = 3 * UNIT;

/// A rate, and what it earns in a nanosecond.
fn rate() -> impl Strategy<Value = (Rate, i128)> {
    let periods = prop::sample::select(vec![1_000u64, 3_000, 7_000, 1_000_000, 3_000_000, 7_000_000, 1_000_000_000]);
    let per = (0u32..1000, periods).prop_map(|(n, period)| {
        (Rate::per(n, Duration::from_nanos(period)), i128::from(n) * SCALE / i128::from(period))
    });
    let per_second = (0u32..2_000_000).prop_map(|n| (Rate::per_second(f64::from(n) / 1024.0), i128::from(n) * 21));
    prop_oneof![per, per_second]
}

/// Times of all sizes, round ones among them.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..50, 0u64..5_000_000, 0u64..3_000_000_000, (0u64..100).prop_map(|ms| ms * 1_000_000)]
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Allow(u32),
    Wait(u32),
    /// Drops the waiter of this number, counted from the front and round.
    Drop(usize),
    Set(Rate, i128),
    Burst(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => nanos().prop_map(Step::Advance),
        4 => (0u32..12).prop_map(Step::Allow),
        3 => (1u32..12).prop_map(Step::Wait),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => rate().prop_map(|(rate, earns)| Step::Set(rate, earns)),
        1 => (1u32..12).prop_map(Step::Burst),
    ]
}

struct Waiter<'a> {
    tokens: i128,
    wait: BoxFuture<'a, Result<Duration, WaitError>>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn grants_and_waits_are_what_is_due(
        (rate, mut earns) in rate(),
        mut burst in 1u32..10,
        steps in vec(step(), 1..120),
    ) {
        let (clock, time) = Clock::manual();
        let limiter = RateLimiter::new(rate, burst).unwrap().with_clock(clock.clone());
        let ctx = Context::background().with_clock(clock);
        let mut full = i128::from(burst) * SCALE;
        // What there is, less what is promised to all who wait.
        let mut left = full;
        // What there would be if none were lost to the burst: granted in all is never more, not by a fraction.
        let mut due = full;
        let mut waiters: Vec<Waiter<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::Advance(nanos) => {
                    time.advance(Duration::from_nanos(nanos));
                    left = (left + earns * i128::from(nanos)).min(full);
                    due += earns * i128::from(nanos);
                }
                Step::Set(rate, now_earns) => {
                    limiter.set_rate(rate).unwrap();
                    earns = now_earns;
                }
                Step::Burst(now) => {
                    limiter.set_burst(now).unwrap();
                    // What the smaller of the two does not keep is lost.
                    let before = full;
                    (burst, full) = (now, i128::from(now) * SCALE);
                    left = left.min(before.min(full));
                }
                Step::Allow(n) => {
                    let wanted = i128::from(n) * SCALE;
                    if limiter.allow_n(n) {
                        prop_assert!(wanted == 0 || wanted < left + UNIT, "{n} granted of {left}");
                        left -= wanted;
                        due -= wanted;
                    } else {
                        prop_assert!(n > burst || wanted > left - ROUNDING, "{n} refused of {left}");
                    }
                }
                Step::Wait(n) if n > burst => {}
                Step::Wait(n) => {
                    let tokens = i128::from(n) * SCALE;
                    waiters.push(Waiter { tokens, wait: Box::pin(limiter.wait_n(&ctx, n)) });
                    left -= tokens;
                }
                Step::Drop(which) if !waiters.is_empty() => {
                    let waiter = waiters.remove(which % waiters.len());
                    left = (left + waiter.tokens).min(full);
                }
                Step::Drop(_) => {}
            }
            // Due is who comes before enough of the others for what is left to be no debt.
            let mut behind: i128 = waiters.iter().map(|waiter| waiter.tokens).sum();
            let mut still = Vec::new();
            for mut waiter in waiters {
                behind -= waiter.tokens;
                match waiter.wait.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
                    Poll::Ready(served) => {
                        prop_assert!(served.is_ok());
                        prop_assert!(left + behind > -UNIT, "served {} early", -(left + behind));
                        due -= waiter.tokens;
                    }
                    Poll::Pending => {
                        prop_assert!(left + behind < ROUNDING, "{} late", left + behind);
                        still.push(waiter);
                    }
                }
            }
            waiters = still;
            prop_assert!(due >= 0, "{} more than due in all", -due);
        }
        drop(waiters);
    }

    #[test]
    fn reservations_act_within_the_bucket(
        (rate, earns) in rate(),
        burst in 1u32..10,
        steps in vec((0u8..8, nanos(), 1u32..10, any::<usize>()), 1..80),
    ) {
        let (clock, time) = Clock::manual();
        let start = clock.now();
        let limiter = RateLimiter::new(rate, burst).unwrap().with_clock(clock.clone());
        let since = |at: Instant| at.duration_since(start).as_nanos();
        let mut grants: Vec<(u128, u32)> = Vec::new();
        let mut reserved = Vec::new();
        for (what, nanos, n, which) in steps {
            let n = n.min(burst);
            match what {
                0..2 => time.advance(Duration::from_nanos(nanos)),
                2..4 => if limiter.allow_n(n) { grants.push((since(clock.now()), n)) },
                4..7 => reserved.push((n, limiter.reserve_n(n).unwrap())),
                _ if reserved.is_empty() => {}
                _ => {
                    let (n, reservation) = reserved.swap_remove(which % reserved.len());
                    match reservation.act_at() {
                        // Too late to cancel: it has acted.
                        Some(at) if at <= clock.now() => grants.push((since(at), n)),
                        _ => drop(reservation.cancel()),
                    }
                }
            }
        }
        let acts = reserved.iter().filter_map(|(n, reservation)| Some((since(reservation.act_at()?), *n)));
        grants.extend(acts);
        grants.sort_unstable();
        // A reservation's time is rounded up to a nanosecond, so what it waits for may lie in the bucket as long as that.
        let full = i128::from(burst) * SCALE + earns;
        let (mut left, mut now) = (full, 0);
        for (at, n) in grants {
            left = (left + earns * (at - now) as i128).min(full) - i128::from(n) * SCALE;
            now = at;
            prop_assert!(left > -UNIT, "{} more than due at {at} ns", -left);
        }
    }
}

#[test]
fn threads_are_granted_what_is_due() {
    // On the real clock, with the rate and waiters changing meanwhile.
    let limiter = RateLimiter::new(Rate::per_second(1e6), 100).unwrap();
    let start = Instant::now();
    let granted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let ctx = Context::background().with_timeout(Duration::from_secs(10));
                    let mut granted = 0u64;
                    for i in 0..60_000 {
                        granted += u64::from(limiter.allow());
                        match i % 1000 {
                            0 => granted += u64::from(limiter.wait_blocking(&ctx).is_ok()),
                            500 => limiter.set_rate(Rate::per_second(if i % 2000 < 1000 { 5e5 } else { 1e6 })).unwrap(),
                            _ => {}
                        }
                    }
                    granted
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let due = 100.0 + 1e6 * start.elapsed().as_secs_f64();
    assert!(granted as f64 <= due, "{granted} of {due}");
    let stats = limiter.stats();
    assert_eq!(granted, stats.allowed + stats.waited);
}
