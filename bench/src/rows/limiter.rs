//! P1: the cost of a request for a token of a rate limiter.

use std::future::ready;
use std::hint::black_box;
use std::io;
use std::num::NonZeroU32;
use std::pin::pin;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota};
use ripcord_policy::{Rate, RateLimiter};
use tower::{Layer, Service, service_fn};
use tower_resilience::ratelimiter::RateLimiterLayer;

use super::service;
use crate::floor::Floor;
use crate::harness::{Bench, HOUR, Measured};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};
use crate::timing::{Threads, poll_to_end};

const GOVERNOR: Rival = Rival::named("governor");

/// P1. Both sides request a token from one limiter: ours with `allow()`, governor with `check()` on its direct limiter with its
/// default clock and state. They run on one thread, then on two threads that share the limiter. With two threads, the cost is the
/// time of one call on its thread. Our limiter's rate was changed by `set_rate` beforehand, which governor cannot do.
///
/// * granted: a million tokens per second and a full bucket of a billion, so that each call takes a token;
/// * denied: one token per hour and an empty bucket of one, so that no call gets a token.
///
/// For comparison: tower-resilience's rate limit layer around an empty service. The layer is a token bucket with the same settings
/// that rejects at once. Its side waits until the service is ready and calls it. Ours calls `allow()` and then polls an empty
/// future. Both are polled by hand, and each thread has its own clone of the service.
pub(super) fn allow(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |what: &str, demand: &Demand, threads: Threads, measured: Measured, rival, target| {
        let what = format!("{what}, {}{}", demand.name, threads.suffix());
        lines.push(Line::time("P1", what, measured, rival, target));
    };
    for demand in [&GRANTED, &DENIED] {
        for threads in Threads::ALL {
            let measured = bench.compare(
                |iterations| demand.ours(|limiter| threads.clock(iterations, || limiter.allow())),
                |iterations| demand.governor(|limiter| threads.clock(iterations, || limiter.check().is_ok())),
                Floor::locked_add(threads),
            );
            add("allow", demand, threads, measured, GOVERNOR, Target::NoWorse(0.05));
        }
    }
    for demand in [&GRANTED, &DENIED] {
        for threads in Threads::ALL {
            let measured = bench.compare(
                |iterations| demand.ours(|limiter| threads.clock(iterations, || allow_and_run(limiter))),
                |iterations| {
                    let service = demand.tower();
                    threads.clock_each(iterations, |_| {
                        let mut service = service.clone();
                        move || service::call(&mut service, ())
                    })
                },
                Floor::locked_add(threads),
            );
            add("allow + run", demand, threads, measured, TOWER_RESILIENCE, Target::Shown);
        }
    }
    lines
}

/// A limiter that grants all calls or none.
struct Demand {
    name: &'static str,
    tokens: u32,
    period: Duration,
    burst: u32,
    granted: bool,
}

const GRANTED: Demand =
    Demand { name: "granted", tokens: 1_000_000, period: Duration::from_secs(1), burst: 1_000_000_000, granted: true };

const DENIED: Demand = Demand { name: "denied", tokens: 1, period: HOUR, burst: 1, granted: false };

impl Demand {
    fn rate(&self) -> Rate {
        Rate::per(self.tokens, self.period)
    }

    /// Measures with a fresh limiter. Checks before and after the measurement whether the limiter grants.
    fn ours<T>(&self, measure: impl FnOnce(&RateLimiter) -> T) -> T {
        let limiter = RateLimiter::new(Rate::per_second(1.0), self.burst).expect("the rate is within bounds");
        limiter.set_rate(self.rate()).expect("the rate is within bounds");
        assert!(limiter.allow(), "the bucket starts full");
        assert_eq!(limiter.allow(), self.granted);
        let measured = measure(&limiter);
        assert_eq!(limiter.allow(), self.granted);
        measured
    }

    /// Does the same as [`Demand::ours`] for governor.
    fn governor<T>(&self, measure: impl FnOnce(&DefaultDirectRateLimiter) -> T) -> T {
        let burst = NonZeroU32::new(self.burst).expect("the burst is not zero");
        let quota = Quota::with_period(self.period / self.tokens).expect("the period is longer than zero");
        let limiter = DefaultDirectRateLimiter::direct(quota.allow_burst(burst));
        assert!(limiter.check().is_ok(), "the bucket starts full");
        assert_eq!(limiter.check().is_ok(), self.granted);
        let measured = measure(&limiter);
        assert_eq!(limiter.check().is_ok(), self.granted);
        measured
    }

    /// Creates a service that grants all calls or none.
    fn tower(&self) -> impl Service<(), Response = u64> + Clone + Send + Sync + use<> {
        // The bucket of the layer holds the tokens of one period, plus this number.
        let extra = self.burst - self.tokens;
        let layer = RateLimiterLayer::builder()
            .limit_for_period(self.tokens as usize)
            .refresh_period(self.period)
            .burst_size(extra as usize)
            .timeout_duration(Duration::ZERO)
            .build()
            .expect("the rate is within bounds");
        let mut service = layer.layer(service_fn(|()| ready(Ok::<_, io::Error>(black_box(1_u64)))));
        assert!(service::call(&mut service, ()).is_ok(), "the bucket starts full");
        assert_eq!(service::call(&mut service, ()).is_ok(), self.granted);
        service
    }
}

fn allow_and_run(limiter: &RateLimiter) -> Option<Result<u64, io::Error>> {
    limiter.allow().then(|| poll_to_end(pin!(ready(Ok(black_box(1))))))
}
