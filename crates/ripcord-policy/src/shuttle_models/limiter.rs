//! The limiter: what is granted, and who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::{Clock, Context};
use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use crate::{Rate, RateLimiter};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_more_is_granted_than_was_due_whatever_becomes_of_the_rate() {
    explore(|| {
        let (clock, time) = Clock::manual();
        let limiter = Arc::new(RateLimiter::new(Rate::per_second(1.0), 2).unwrap().with_clock(clock));
        let takers: Vec<_> = (0..2)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                thread::spawn(move || (0..3).filter(|_| limiter.allow()).count())
            })
            .collect();
        let sets = {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || {
                limiter.set_rate(Rate::ZERO).unwrap();
                limiter.set_rate(Rate::per_second(1.0)).unwrap();
            })
        };
        time.advance(SECOND);
        let granted: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
        sets.join().unwrap();
        // Two were saved up, and one was earned at the most.
        assert!((2..=3).contains(&granted), "{granted}");
        let left = limiter.tokens();
        assert!(granted as f64 + left <= 3.0 + 1e-6, "{granted} and {left}");
    });
}

#[test]
fn who_waits_is_served_though_one_before_it_gives_up() {
    explore(|| {
        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock.clone());
        let limiter = Arc::new(RateLimiter::new(Rate::per_second(1.0), 1).unwrap().with_clock(clock));
        assert!(limiter.allow());
        let (own, cancel) = ctx.with_cancel();
        let ended = Arc::new(AtomicUsize::new(0));
        let wait = |ctx: Context| {
            let (limiter, ended) = (Arc::clone(&limiter), Arc::clone(&ended));
            thread::spawn(move || {
                let waited = block_on(limiter.wait(&ctx));
                ended.fetch_add(1, Ordering::Relaxed);
                waited.is_ok()
            })
        };
        let (gives_up, stays) = (wait(own), wait(ctx));
        cancel.cancel();
        while ended.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
            time.advance(SECOND);
        }
        gives_up.join().unwrap();
        assert!(stays.join().unwrap());
        assert_eq!(limiter.stats().waiters, 0);
    });
}
