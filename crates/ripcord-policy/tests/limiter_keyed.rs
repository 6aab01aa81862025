//! Each key of a keyed limiter behaves like a separate limiter, no matter which keys are forgotten.

use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use proptest::collection::vec;
use proptest::prelude::*;
use ripcord::{Clock, Context};
use ripcord_policy::{KeyedLimiter, Rate, RateLimiter, Refused};

const KEYS: usize = 3;

/// The time advances by multiples of this tick, and the rates are multiples of 1/128 per second. So every amount of tokens is
/// exact. A forgotten key counts from another time than the limiter compared with it, and both would otherwise round differently.
const TICK: Duration = Duration::from_nanos(1_000_000_000 / 128);

type Waiting<'a> = BoxFuture<'a, Result<Duration, Refused>>;

fn poll(wait: &mut Waiting<'_>) -> Poll<Option<Duration>> {
    wait.as_mut().poll(&mut Task::from_waker(Waker::noop())).map(Result::ok)
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u32),
    Allow(usize, u32),
    Wait(usize, u32),
    /// Polls the waiter with this number modulo their count. A step does not poll all waiters.
    Poll(usize),
    Leave(usize),
    Reserve(usize, u32),
    Rate(Option<u32>),
    Burst(u32),
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    prop_oneof![
        5 => (0u32..3 * 128).prop_map(Step::Advance),
        6 => (key(), 0u32..6).prop_map(|(key, n)| Step::Allow(key, n)),
        4 => (key(), 1u32..6).prop_map(|(key, n)| Step::Wait(key, n)),
        4 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => (key(), 1u32..6).prop_map(|(key, n)| Step::Reserve(key, n)),
        2 => prop::option::weighted(0.9, 0u32..2000).prop_map(Step::Rate),
        1 => (1u32..4).prop_map(Step::Burst),
        4 => Just(Step::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn key_behaves_like_a_limiter_of_its_own(steps in vec(step(), 1..120)) {
        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock.clone());
        let rate = Rate::per_second(2.0);
        let keyed = KeyedLimiter::builder().rate(rate).burst(3).clock(clock.clone()).build().unwrap();
        let builder = RateLimiter::builder().rate(rate).burst(3).clock(clock);
        let alone: Vec<_> = (0..KEYS).map(|_| builder.clone().build().unwrap()).collect();
        let keys: Vec<usize> = (0..KEYS).collect();
        let mut waits: Vec<[Waiting<'_>; 2]> = Vec::new();
        let mut burst = 3;
        for step in steps {
            match step {
                Step::Advance(ticks) => time.advance(ticks * TICK),
                Step::Allow(key, n) => prop_assert_eq!(keyed.allow_n(&keys[key], n), alone[key].allow_n(n)),
                Step::Wait(key, n) => {
                    let mut pair: [Waiting<'_>; 2] =
                        [Box::pin(keyed.wait_n(&ctx, &keys[key], n)), Box::pin(alone[key].wait_n(&ctx, n))];
                    let [keyed, alone] = pair.each_mut().map(poll);
                    prop_assert_eq!(keyed, alone);
                    if keyed.is_pending() {
                        waits.push(pair);
                    }
                }
                Step::Poll(which) if !waits.is_empty() => {
                    let which = which % waits.len();
                    let [keyed, alone] = waits[which].each_mut().map(poll);
                    prop_assert_eq!(keyed, alone);
                    if keyed.is_ready() {
                        drop(waits.remove(which));
                    }
                }
                Step::Leave(which) if !waits.is_empty() => {
                    let which = which % waits.len();
                    drop(waits.remove(which));
                }
                Step::Poll(_) | Step::Leave(_) => {}
                Step::Reserve(key, n) => {
                    let delay = |reserved: Result<ripcord_policy::Reservation, _>| reserved.ok().map(|it| it.delay());
                    prop_assert_eq!(delay(keyed.reserve_n(&keys[key], n)), delay(alone[key].reserve_n(n)));
                }
                Step::Rate(rate) => {
                    let rate = rate.map_or(Rate::INFINITE, |n| Rate::per_second(f64::from(n) / 128.0));
                    keyed.set_rate(rate).unwrap();
                    alone.iter().for_each(|limiter| limiter.set_rate(rate).unwrap());
                }
                Step::Burst(lower) => {
                    // The burst is only lowered: under a higher burst, a new key starts full, while a limiter must still earn the
                    // difference.
                    burst = burst.min(lower);
                    keyed.set_burst(burst).unwrap();
                    alone.iter().for_each(|limiter| limiter.set_burst(burst).unwrap());
                }
                Step::Forget => keyed.forget_idle(),
            }
            for key in 0..KEYS {
                prop_assert_eq!(keyed.tokens(&keys[key]), alone[key].tokens());
            }
        }
        let waiters: usize = alone.iter().map(|limiter| limiter.stats().waiters).sum();
        prop_assert_eq!(keyed.stats().waiters, waiters);
        // When all waiters have left and all buckets are full, no key is remembered.
        drop(waits);
        keyed.set_rate(Rate::per_second(1e6)).unwrap();
        time.advance(Duration::from_secs(3600));
        keyed.forget_idle();
        prop_assert_eq!((keyed.len(), keyed.stats().waiters), (0, 0));
    }
}
