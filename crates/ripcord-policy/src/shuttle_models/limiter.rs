//! Models of the limiter: grants of tokens, and waiters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::{Clock, Context, ManualTime};
use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use crate::{Rate, RateLimiter};

const SECOND: Duration = Duration::from_secs(1);

/// Returns a limiter that earns a token per second.
fn limiter(burst: u32) -> (Arc<RateLimiter>, Context, ManualTime) {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let limiter = RateLimiter::builder().rate(Rate::per_second(1.0)).burst(burst).clock(clock).build().unwrap();
    (Arc::new(limiter), ctx, time)
}

/// Starts a thread that waits for a token. The thread adds 1 to `ended` when it ends.
fn wait(limiter: &Arc<RateLimiter>, ctx: Context, ended: &Arc<AtomicUsize>) -> thread::JoinHandle<bool> {
    let (limiter, ended) = (Arc::clone(limiter), Arc::clone(ended));
    thread::spawn(move || {
        let waited = block_on(limiter.wait(&ctx));
        ended.fetch_add(1, Ordering::Relaxed);
        waited.is_ok()
    })
}

/// Advances the clock until `count` waits have ended.
fn advance_until_ended(time: &ManualTime, ended: &AtomicUsize, count: usize) {
    while ended.load(Ordering::Relaxed) < count {
        thread::yield_now();
        time.advance(SECOND);
    }
}

#[test]
fn rate_that_changes_grants_no_more_than_is_due() {
    explore(|| {
        let (limiter, _, time) = limiter(2);
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
        // Two tokens were saved up, and at most one was earned.
        assert!((2..=3).contains(&granted), "{granted}");
        let left = limiter.tokens();
        assert!(granted as f64 + left <= 3.0 + 1e-6, "{granted} and {left}");
    });
}

#[test]
fn waiter_is_served_though_one_before_it_gives_up() {
    explore(|| {
        let (limiter, ctx, time) = limiter(1);
        assert!(limiter.allow());
        let (own, cancel) = ctx.with_cancel();
        let ended = Arc::default();
        let (gives_up, stays) = (wait(&limiter, own, &ended), wait(&limiter, ctx, &ended));
        cancel.cancel();
        advance_until_ended(&time, &ended, 2);
        gives_up.join().unwrap();
        assert!(stays.join().unwrap());
        assert_eq!(limiter.stats().waiters, 0);
    });
}

#[test]
fn tokens_of_waiters_that_all_give_up_come_back() {
    explore(|| {
        let (limiter, ctx, time) = limiter(1);
        assert!(limiter.allow());
        let ended = Arc::default();
        let waits: Vec<_> = (0..2)
            .map(|_| {
                let (own, cancel) = ctx.with_cancel();
                (wait(&limiter, own, &ended), thread::spawn(move || cancel.cancel()))
            })
            .collect();
        let mut served = 0;
        for (wait, cancels) in waits {
            cancels.join().unwrap();
            served += u32::from(wait.join().unwrap());
        }
        assert_eq!(served, 0, "no time has passed");
        assert_eq!((limiter.tokens(), limiter.stats().waiters), (0.0, 0));
        time.advance(SECOND);
        assert!(limiter.allow() && !limiter.allow());
    });
}

#[test]
fn waiter_hears_of_a_new_rate_that_comes_while_it_joins() {
    explore(|| {
        let (limiter, ctx, time) = limiter(1);
        assert!(limiter.allow());
        limiter.set_rate(Rate::ZERO).unwrap();
        let ended = Arc::default();
        let waits = wait(&limiter, ctx, &ended);
        limiter.set_rate(Rate::per_second(1.0)).unwrap();
        advance_until_ended(&time, &ended, 1);
        assert!(waits.join().unwrap());
    });
}
