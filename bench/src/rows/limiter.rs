//! P1: what asking a rate limiter costs.

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
use crate::harness::{Bench, HOUR, Threads, poll_to_end};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};

const GOVERNOR: Rival = Rival::named("governor");

/// P1. Both sides ask one limiter for a token, ours by `allow()`, governor by `check()` on its direct
/// limiter with its default clock and state; on one thread, then on two that share the limiter, where
/// the cost is what one call takes on the thread that makes it. The rate of ours has been set anew
/// before, which governor's cannot be.
///
/// * granted: a million tokens a second and a bucket of a billion, full, so that each call takes one;
/// * denied: a token an hour and a bucket of one, which has been taken, so that no call gets any.
///
/// Shown beside them: tower-resilience's rate limit layer, as a token bucket with the same figures that
/// refuses at once, around an empty service. Its side waits until the service is ready and calls it;
/// ours asks `allow()` and, when it may, polls an equally empty future; both are polled by hand, and
/// each thread has its own clone of the service.
pub(super) fn allow(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |what: &str, demand: &Demand, threads: Threads, figures, rival, target| {
        let what = format!("{what}, {}{}", demand.name, threads.suffix());
        lines.push(Line::time("P1", what, figures, rival, target));
    };
    for demand in [&GRANTED, &DENIED] {
        for threads in Threads::ALL {
            let figures = bench.compare(
                |iterations| demand.ours(|limiter| threads.clock(iterations, || limiter.allow())),
                |iterations| demand.governor(|limiter| threads.clock(iterations, || limiter.check().is_ok())),
            );
            add("allow", demand, threads, figures, GOVERNOR, Target::NoWorse);
        }
    }
    for demand in [&GRANTED, &DENIED] {
        for threads in Threads::ALL {
            let figures = bench.compare(
                |iterations| demand.ours(|limiter| threads.clock(iterations, || allow_and_run(limiter))),
                |iterations| {
                    let service = demand.tower();
                    threads.clock_each(iterations, |_| {
                        let mut service = service.clone();
                        move || service::call(&mut service, ())
                    })
                },
            );
            add("allow + run", demand, threads, figures, TOWER_RESILIENCE, Target::Shown);
        }
    }
    lines
}

/// A limiter that always grants, or never.
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

    /// Measures with a fresh limiter, and sees that it grants, or not, before and after.
    fn ours<T>(&self, measure: impl FnOnce(&RateLimiter) -> T) -> T {
        let limiter = RateLimiter::new(Rate::per_second(1.0), self.burst).expect("the rate is within bounds");
        limiter.set_rate(self.rate()).expect("the rate is within bounds");
        assert!(limiter.allow(), "the bucket begins full");
        assert_eq!(limiter.allow(), self.granted);
        let measured = measure(&limiter);
        assert_eq!(limiter.allow(), self.granted);
        measured
    }

    /// As [`Demand::ours`].
    fn governor<T>(&self, measure: impl FnOnce(&DefaultDirectRateLimiter) -> T) -> T {
        let burst = NonZeroU32::new(self.burst).expect("the burst is not zero");
        let quota = Quota::with_period(self.period / self.tokens).expect("the period is longer than zero");
        let limiter = DefaultDirectRateLimiter::direct(quota.allow_burst(burst));
        assert!(limiter.check().is_ok(), "the bucket begins full");
        assert_eq!(limiter.check().is_ok(), self.granted);
        let measured = measure(&limiter);
        assert_eq!(limiter.check().is_ok(), self.granted);
        measured
    }

    /// A service that grants, or not.
    fn tower(&self) -> impl Service<(), Response = u64> + Clone + Send + Sync + use<> {
        // Its bucket holds what it earns in a period, and this on top.
        let extra = self.burst - self.tokens;
        let layer = RateLimiterLayer::builder()
            .limit_for_period(self.tokens as usize)
            .refresh_period(self.period)
            .burst_size(extra as usize)
            .timeout_duration(Duration::ZERO)
            .build()
            .expect("the rate is within bounds");
        let mut service = layer.layer(service_fn(|()| ready(Ok::<_, io::Error>(black_box(1_u64)))));
        assert!(service::call(&mut service, ()).is_ok(), "the bucket begins full");
        assert_eq!(service::call(&mut service, ()).is_ok(), self.granted);
        service
    }
}

fn allow_and_run(limiter: &RateLimiter) -> Option<Result<u64, io::Error>> {
    limiter.allow().then(|| poll_to_end(pin!(ready(Ok(black_box(1))))))
}
