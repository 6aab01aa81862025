//! The adaptive limit of a bulkhead, against simulated callees on a manual clock.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use futures::future::FutureExt;
use proptest::prelude::*;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::bulkhead::{AdaptiveLimit, BulkheadPermit};
use ripcord_policy::{Bulkhead, CircuitBreaker, Outcome, Random, Stack};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A callee with several servers. A call that finds all servers busy waits for the first free server.
struct Callee {
    /// The time at which each server is free.
    servers: BinaryHeap<Reverse<Instant>>,
    latency: Duration,
    /// The part of a call's latency by which it varies, up or down.
    spread: f64,
    random: Random,
}

/// A bulkhead and its callers. They make as many calls as the bulkhead admits, up to the demand.
struct Simulation {
    time: ManualTime,
    clock: Clock,
    bulkhead: Bulkhead,
    callee: Callee,
    /// The number of concurrent calls without a limit.
    demand: usize,
    under_way: BinaryHeap<Reverse<Call>>,
    calls: u64,
}

struct Call {
    ends: Instant,
    number: u64,
    outcome: Outcome,
    permit: BulkheadPermit,
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Call {}

impl PartialOrd for Call {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Call {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ends, self.number).cmp(&(other.ends, other.number))
    }
}

impl Simulation {
    fn new(settings: AdaptiveLimit, initial: usize, capacity: usize, latency: Duration) -> Self {
        let (clock, time) = Clock::manual();
        let bulkhead = Bulkhead::builder().limit(initial).adaptive(settings).clock(clock.clone()).build().unwrap();
        let callee = Callee { servers: BinaryHeap::new(), latency, spread: 0.0, random: Random::seeded(1) };
        let demand = usize::MAX;
        let mut simulation =
            Simulation { time, clock, bulkhead, callee, demand, under_way: BinaryHeap::new(), calls: 0 };
        simulation.set_capacity(capacity);
        simulation
    }

    fn set_capacity(&mut self, capacity: usize) {
        let now = self.clock.now();
        let mut busy: Vec<_> = self.callee.servers.drain().collect();
        busy.sort();
        busy.truncate(capacity);
        busy.resize(capacity, Reverse(now));
        self.callee.servers = busy.into();
    }

    /// Sends calls until the bulkhead is full.
    fn send(&mut self) {
        while self.under_way.len() < self.demand {
            let Ok(permit) = self.bulkhead.try_acquire() else { return };
            let now = self.clock.now();
            let Reverse(free) = self.callee.servers.pop().unwrap();
            let varied = 1.0 + self.callee.spread * (2.0 * self.callee.random.fraction() - 1.0);
            let ends = free.max(now) + self.callee.latency.mul_f64(varied);
            self.callee.servers.push(Reverse(ends));
            self.calls += 1;
            self.under_way.push(Reverse(Call { ends, number: self.calls, outcome: Outcome::Success, permit }));
        }
    }

    /// Runs for `duration`. Returns the average limit, read at every sixteenth call.
    fn run(&mut self, duration: Duration) -> f64 {
        self.run_judged(duration, |_, outcome| outcome)
    }

    /// Does the same as [`run`](Self::run), but `judge` decides the outcome of each call when it ends. Its first argument is the
    /// number of calls in flight, including this call.
    fn run_judged(&mut self, duration: Duration, judge: impl Fn(usize, Outcome) -> Outcome) -> f64 {
        let until = self.clock.now() + duration;
        let (mut sum, mut count) = (0.0, 0);
        self.send();
        while let Some(Reverse(next)) = self.under_way.pop() {
            let now = self.clock.now();
            self.time.advance(next.ends.saturating_duration_since(now).min(until - now));
            if next.ends > until {
                self.under_way.push(Reverse(next));
                break;
            }
            let outcome = judge(self.under_way.len() + 1, next.outcome);
            next.permit.record(outcome);
            self.send();
            if self.calls.is_multiple_of(16) {
                sum += self.bulkhead.stats().limit as f64;
                count += 1;
            }
        }
        sum / f64::from(count.max(1))
    }
}

/// Returns the expected range of the limit for a capacity. All servers are busy, and no more calls wait than the tolerance and the
/// square root allow.
fn expected(capacity: usize, tolerance: f64) -> std::ops::RangeInclusive<f64> {
    let most = capacity as f64 * tolerance;
    // The limit oscillates around both ends, and measurements use half of it.
    capacity as f64 * 0.85..=(most + most.sqrt()) * 1.15 + 1.0
}

#[test]
fn limit_finds_the_capacity_from_below_and_from_above() {
    for (initial, capacity) in [(5, 40), (500, 40), (1, 1), (100, 3), (20, 200)] {
        let settings = AdaptiveLimit::new().min_limit(1).max_limit(1000);
        let mut simulation = Simulation::new(settings, initial, capacity, 20 * MILLI);
        simulation.run(SECOND * 10);
        let limit = simulation.run(SECOND * 40);
        assert!(expected(capacity, 1.25).contains(&limit), "from {initial} to {capacity}: {limit}");
        assert_eq!(simulation.bulkhead.stats().unloaded_latency, Some(20 * MILLI));
    }
}

#[test]
fn limit_follows_a_callee_whose_capacity_or_latency_changes() {
    let mut simulation = Simulation::new(AdaptiveLimit::new().min_limit(2), 10, 50, 20 * MILLI);
    simulation.run(SECOND * 10);
    simulation.set_capacity(10);
    simulation.run(SECOND * 5);
    let limit = simulation.run(SECOND * 20);
    assert!(expected(10, 1.25).contains(&limit), "after the loss: {limit}");

    simulation.set_capacity(50);
    simulation.run(SECOND * 5);
    let limit = simulation.run(SECOND * 20);
    assert!(expected(50, 1.25).contains(&limit), "after the recovery: {limit}");

    // Calls that take three times as long look like overload until the next measurement, after a minute and a half.
    simulation.run(SECOND * 5);
    simulation.callee.latency = 60 * MILLI;
    simulation.run(SECOND * 5);
    let meanwhile = simulation.bulkhead.stats().limit;
    assert!(meanwhile < 30, "{meanwhile}");
    simulation.run(SECOND * 40);
    let limit = simulation.run(SECOND * 60);
    assert!(expected(50, 1.25).contains(&limit), "after the change of latency: {limit}");
    assert_eq!(simulation.bulkhead.stats().unloaded_latency, Some(60 * MILLI));
}

#[test]
fn limit_finds_the_capacity_of_a_callee_that_sheds_load() {
    let settings = AdaptiveLimit::new().min_limit(1).max_limit(1000);
    let mut simulation = Simulation::new(settings, 200, 1000, 20 * MILLI);
    let shed = |under_way: usize, outcome| if under_way > 30 { Outcome::Failure } else { outcome };
    simulation.run_judged(SECOND * 10, shed);
    let limit = simulation.run_judged(SECOND * 20, shed);
    assert!((25.0..45.0).contains(&limit), "{limit}");
}

/// The limit halves until the 377 calls of the first limit fit the callee. A measurement that comes meanwhile has more calls than
/// the callee serves at once.
#[test]
fn measurement_before_the_limit_fits_does_not_keep_it_too_high() {
    let settings = AdaptiveLimit::new().min_limit(1).max_limit(400).tolerance(1.5);
    let mut simulation = Simulation::new(settings, 377, 2, 50 * MILLI);
    simulation.run(SECOND * 57);
    let limit = simulation.run(SECOND * 40);
    assert!(expected(2, 1.5).contains(&limit), "{limit}");
    assert_eq!(simulation.bulkhead.stats().unloaded_latency, Some(50 * MILLI));
}

#[test]
fn few_failures_keep_the_limit_and_only_failures_lower_it_to_the_minimum() {
    let settings = AdaptiveLimit::new().min_limit(3).max_limit(60);
    let mut simulation = Simulation::new(settings, 10, 1000, 20 * MILLI);
    let calls = std::cell::Cell::new(0_u32);
    simulation.run_judged(SECOND * 10, |_, outcome| {
        calls.set(calls.get() + 1);
        if calls.get().is_multiple_of(100) { Outcome::Failure } else { outcome }
    });
    assert_eq!(simulation.bulkhead.stats().limit, 60, "one in a hundred");
    simulation.run_judged(SECOND * 10, |_, _| Outcome::Failure);
    assert_eq!(simulation.bulkhead.stats().limit, 3);
    simulation.run(SECOND * 10);
    assert_eq!(simulation.bulkhead.stats().limit, 60);
}

#[test]
fn neutral_calls_change_no_limit() {
    let settings = AdaptiveLimit::new().min_limit(3).max_limit(60);
    let mut simulation = Simulation::new(settings, 10, 1, 20 * MILLI);
    simulation.run_judged(SECOND * 10, |_, _| Outcome::Neutral);
    let stats = simulation.bulkhead.stats();
    assert_eq!((stats.limit, stats.unloaded_latency), (3, None), "not even the first measurement is over");
    assert!(stats.calls.canceled > 400);
}

#[test]
fn unused_limit_neither_grows_nor_is_lowered_for_a_measurement() {
    let mut simulation = Simulation::new(AdaptiveLimit::new().min_limit(4), 20, 100, 20 * MILLI);
    simulation.demand = 4;
    simulation.run(SECOND);
    assert_eq!(simulation.bulkhead.stats().limit, 20);
    let lowest = RefCell::new(usize::MAX);
    let bulkhead = simulation.bulkhead.clone();
    simulation.callee.latency = 30 * MILLI;
    simulation.run_judged(SECOND * 100, |_, outcome| {
        let mut lowest = lowest.borrow_mut();
        *lowest = (*lowest).min(bulkhead.stats().limit);
        outcome
    });
    let stats = simulation.bulkhead.stats();
    assert_eq!((*lowest.borrow(), stats.limit, stats.unloaded_latency), (20, 20, Some(30 * MILLI)));
}

#[test]
fn same_calls_give_the_same_limits() {
    let limits = || {
        let mut simulation = Simulation::new(AdaptiveLimit::new(), 20, 30, 20 * MILLI);
        simulation.callee.spread = 0.5;
        let mut limits = Vec::new();
        for _ in 0..100 {
            simulation.run(SECOND);
            limits.push(simulation.bulkhead.stats().limit);
        }
        limits
    };
    assert_eq!(limits(), limits());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// The limit converges for any capacity, latency, spread and initial limit.
    #[test]
    fn limit_converges(
        capacity in 2_usize..150,
        initial in 1_usize..400,
        latency in 5_u32..80,
        spread in 0.0..0.6_f64,
        seed: u64,
    ) {
        let settings = AdaptiveLimit::new().min_limit(1).max_limit(400).tolerance(1.5);
        let mut simulation = Simulation::new(settings, initial, capacity, latency * MILLI);
        simulation.callee.spread = spread;
        simulation.callee.random = Random::seeded(seed);
        // The surplus calls of the first limit must be served before the bulkhead learns anything.
        let backlog = latency * MILLI * (initial / capacity) as u32;
        simulation.run(SECOND * 20 + backlog * 4);
        let limit = simulation.run(SECOND * 40);
        let expected = expected(capacity, 1.5 * (1.0 + spread / 3.0));
        prop_assert!(expected.contains(&limit), "{limit} for {capacity}");
        let stats = simulation.bulkhead.stats();
        prop_assert_eq!(stats.calls.in_flight() as usize, simulation.under_way.len());
        // Also true while a measurement has just lowered the limit below the number of calls in flight.
        prop_assert!(stats.calls.in_flight() as f64 <= *expected.end(), "{:?}", stats);
        simulation.under_way.clear();
        let stats = simulation.bulkhead.stats();
        prop_assert_eq!(stats.calls.in_flight(), 0);
        prop_assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
        // The number of free permits is exactly the limit.
        let held: Vec<_> = std::iter::from_fn(|| simulation.bulkhead.try_acquire().ok()).collect();
        prop_assert_eq!(held.len(), stats.limit);
    }
}

#[tokio::test]
async fn waiter_is_admitted_when_the_limit_grows() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let settings = AdaptiveLimit::new().min_limit(1).window(MILLI);
    let bulkhead = Bulkhead::builder().limit(3).adaptive(settings).clock(clock.clone()).queue(10).build().unwrap();
    let mut waiting = Vec::new();
    // Twenty consecutive calls under the minimum limit are the first measurement.
    for call in 0..20 {
        let permit = bulkhead.try_acquire().unwrap();
        assert!(bulkhead.try_acquire().unwrap_err().is_full());
        time.advance(MILLI);
        if call == 19 {
            waiting = (0..5).map(|_| Box::pin(bulkhead.acquire(&ctx))).collect();
            assert!(waiting.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        }
        permit.record(Outcome::Success);
    }
    assert_eq!(bulkhead.stats().limit, 3);
    let admitted: Vec<_> = waiting.iter_mut().filter_map(|waiting| waiting.as_mut().now_or_never()).collect();
    assert_eq!((admitted.len(), bulkhead.stats().calls.in_flight(), bulkhead.stats().waiting), (3, 3, 2));
}

#[tokio::test]
async fn call_dropped_at_any_await_point_returns_its_permit() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    for polls in 0..6 {
        let settings = AdaptiveLimit::new().min_limit(1);
        let bulkhead = Bulkhead::builder().limit(4).adaptive(settings).clock(clock.clone()).queue(10).build().unwrap();
        let held = bulkhead.try_acquire().unwrap();
        let mut call = Box::pin(bulkhead.run(&ctx, |ctx| async move {
            ctx.sleep(SECOND).await?;
            ctx.sleep(SECOND).await
        }));
        let mut held = Some(held);
        for poll in 0..polls {
            let _ = call.as_mut().now_or_never();
            match poll {
                1 => drop(held.take()),
                _ => time.advance(SECOND),
            }
        }
        drop((call, held));
        let stats = bulkhead.stats();
        assert_eq!((stats.calls.in_flight(), stats.waiting), (0, 0), "after {polls} polls");
        assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
        let free: Vec<_> = std::iter::from_fn(|| bulkhead.try_acquire().ok()).collect();
        assert_eq!(free.len(), stats.limit, "after {polls} polls");
    }
}

#[tokio::test]
async fn attempt_timeout_and_verdict_of_the_breaker_feed_the_limit_in_a_stack() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let settings = AdaptiveLimit::new().min_limit(2).window(MILLI);
    let bulkhead = Bulkhead::builder().limit(50).adaptive(settings).clock(clock.clone()).build().unwrap();
    let breaker = CircuitBreaker::builder("callee")
        .consecutive_failures(u32::MAX)
        .clock(clock.clone())
        .classify(|result: &Result<(), &'static str>| match result {
            Ok(()) | Err("no such user") => Outcome::Success,
            Err(_) => Outcome::Failure,
        })
        .build()
        .unwrap();
    let stack: Stack<(), &'static str> =
        Stack::builder().breaker(breaker).bulkhead(bulkhead.clone()).attempt_timeout(SECOND).build().unwrap();
    for _ in 0..20 {
        time.advance(MILLI);
        let _ = stack.run(&ctx, |_| async { Err("no such user") }).await;
    }
    let stats = bulkhead.stats();
    assert_eq!((stats.limit, stats.calls.succeeded, stats.calls.failed), (50, 20, 0));

    for _ in 0..20 {
        let mut hung = Box::pin(stack.run(&ctx, |_| std::future::pending()));
        assert!(hung.as_mut().now_or_never().is_none());
        time.advance(SECOND);
        assert!(hung.await.unwrap_err().is_attempt_timeout());
    }
    let stats = bulkhead.stats();
    assert_eq!((stats.calls.failed, stats.limit), (20, 28), "half of the limit and its square root");
}

#[test]
fn setting_out_of_bounds_is_named() {
    let error = |limit: usize, adaptive: AdaptiveLimit| {
        Bulkhead::builder().limit(limit).adaptive(adaptive).build().unwrap_err().to_string()
    };
    let settings = AdaptiveLimit::new;
    assert_eq!(error(20, settings().min_limit(0)), "min_limit must be at least 1, got 0");
    assert_eq!(error(20, settings().max_limit(4)), "max_limit must be at least min_limit (5), got 4");
    assert_eq!(error(4, settings()), "limit must be from min_limit (5) to max_limit (1000), got 4");
    assert_eq!(error(0, settings()), "limit must be at least 1, got 0");
    assert!(error(20, settings().max_limit(usize::MAX)).starts_with("max_limit must be at most "));
    assert_eq!(error(20, settings().tolerance(0.5)), "tolerance must be between 1 and 10, got 0.5");
    assert_eq!(error(20, settings().tolerance(f64::NAN)), "tolerance must be between 1 and 10, got NaN");
    assert_eq!(error(20, settings().window(Duration::ZERO)), "window must be longer than zero, got 0ns");
    assert_eq!(
        error(20, settings().remeasure_every(Duration::ZERO)),
        "remeasure_every must be longer than zero, got 0ns"
    );
}
