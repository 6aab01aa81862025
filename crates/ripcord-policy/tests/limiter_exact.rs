//! The limiter against exact arithmetic: for any sequence of calls, it grants the due tokens, except for a rounding error.
//!
//! All amounts are integers in 1/SCALE of a token. Every rate in these tests earns a whole number of these units per nanosecond, so
//! the model rounds nothing.
//!
//! The limiter counts in units of 2^-26 of a token. It may grant one unit too many ("to within 2^-26 of a token"). It may be late
//! by the unit that it rounds down, and by one more unit for each earlier change of the rate.

use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use proptest::collection::vec;
use proptest::prelude::*;
use ripcord::{Clock, Context, block_on};
use ripcord_policy::{Rate, RateLimiter, Refused};

const SCALE: i128 = 21 * 1024 * 1_000_000_000;
/// 2^-26 of a token, rounded up.
const UNIT: i128 = SCALE / (1 << 26) + 1;

/// Generates a rate and the amount that it earns per nanosecond.
fn rate() -> impl Strategy<Value = (Rate, i128)> {
    let periods = prop::sample::select(vec![1_000u64, 3_000, 7_000, 1_000_000, 3_000_000, 7_000_000, 1_000_000_000]);
    let per = (0u32..1000, periods).prop_map(|(n, period)| {
        (Rate::per(n, Duration::from_nanos(period)), i128::from(n) * SCALE / i128::from(period))
    });
    let per_second = (0u32..2_000_000).prop_map(|n| (Rate::per_second(f64::from(n) / 1024.0), i128::from(n) * 21));
    prop_oneof![per, per_second]
}

/// Generates durations of all sizes, some of them round.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..50, 0u64..5_000_000, 0u64..3_000_000_000, (0u64..100).prop_map(|ms| ms * 1_000_000)]
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Allow(u32),
    Wait(u32),
    /// Drops the waiter with this number modulo their count.
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
    /// The start and the end of the waiter's span: see `Model`.
    start: i128,
    end: i128,
    tokens: i128,
    wait: BoxFuture<'a, Result<Duration, Refused>>,
}

/// A bucket in exact arithmetic. All amounts count from the start.
struct Model {
    full: i128,
    earned: i128,
    /// The amount granted, promised, or lost to the burst.
    spent: i128,
}

impl Model {
    /// Returns the span of the next tokens.
    fn next(&self, tokens: u32) -> (i128, i128) {
        let start = self.spent.max(self.earned - self.full);
        (start, start + i128::from(tokens) * SCALE)
    }
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
        let limiter = RateLimiter::builder().rate(rate).burst(burst).clock(clock.clone()).build().unwrap();
        let ctx = Context::background().with_clock(clock);
        let first_burst = i128::from(burst) * SCALE;
        let mut model = Model { full: first_burst, earned: 0, spent: -first_burst };
        let mut granted = 0;
        // The maximum delay of the limiter, as an amount.
        let mut late = 2 * UNIT;
        let mut waiters: Vec<Waiter<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::Advance(nanos) => {
                    time.advance(Duration::from_nanos(nanos));
                    model.earned += earns * i128::from(nanos);
                }
                Step::Set(rate, now_earns) => {
                    limiter.set_rate(rate).unwrap();
                    earns = now_earns;
                    late += UNIT;
                }
                Step::Burst(now) => {
                    limiter.set_burst(now).unwrap();
                    // Tokens that do not fit into the smaller of the two bursts are lost.
                    let full = i128::from(now) * SCALE;
                    model.spent = model.spent.max(model.earned - full.min(model.full));
                    (burst, model.full) = (now, full);
                }
                Step::Allow(n) => {
                    let (_, end) = model.next(n);
                    if limiter.allow_n(n) {
                        prop_assert!(n == 0 || end - model.earned < UNIT, "{n} granted, {end} of {}", model.earned);
                        model.spent = end;
                        granted += i128::from(n) * SCALE;
                    } else {
                        prop_assert!(n > burst || model.earned - end < late, "{n} refused, {end} of {}", model.earned);
                    }
                }
                Step::Wait(n) if n > burst => {}
                Step::Wait(n) => {
                    let (start, end) = model.next(n);
                    model.spent = end;
                    let tokens = end - start;
                    waiters.push(Waiter { start, end, tokens, wait: Box::pin(limiter.wait_n(&ctx, n)) });
                }
                Step::Drop(which) if !waiters.is_empty() => {
                    let which = which % waiters.len();
                    let dropped = waiters.remove(which);
                    match waiters.get_mut(which) {
                        Some(behind) => behind.start = dropped.start,
                        None => model.spent = dropped.start,
                    }
                }
                Step::Drop(_) => {}
            }
            let mut still = Vec::new();
            for mut waiter in waiters {
                let early = waiter.end - model.earned;
                match waiter.wait.as_mut().poll(&mut Task::from_waker(Waker::noop())) {
                    Poll::Ready(served) => {
                        prop_assert!(served.is_ok());
                        prop_assert!(early < UNIT, "served {early} early");
                        granted += waiter.tokens;
                    }
                    Poll::Pending => {
                        prop_assert!(-early < late, "{} late", -early);
                        still.push(waiter);
                    }
                }
            }
            waiters = still;
            let due = first_burst + model.earned;
            prop_assert!(granted < due + UNIT, "{granted} of {due} granted in all");
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
        let limiter = RateLimiter::builder().rate(rate).burst(burst).clock(clock.clone()).build().unwrap();
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
                        // The reservation can no longer be canceled, because its tokens may have been used.
                        Some(at) if at <= clock.now() => grants.push((since(at), n)),
                        _ => drop(reservation.cancel()),
                    }
                }
            }
        }
        let acts = reserved.iter().filter_map(|(n, reservation)| Some((since(reservation.act_at()?), *n)));
        grants.extend(acts);
        grants.sort_unstable();
        // A reservation's time is rounded up to a nanosecond, so its tokens may stay in the bucket for up to a nanosecond.
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
fn threads_are_granted_no_more_than_is_due() {
    // Uses the real clock. Meanwhile the rate changes and other callers wait.
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
                            0 => granted += u64::from(block_on(limiter.wait(&ctx)).is_ok()),
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
