//! A breaker used by many threads at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use ripcord_policy::Outcome;
use ripcord_policy::breaker::{State, Window};

use crate::common::{SECOND, builder, fail, succeed};

#[test]
fn calls_of_many_threads_are_counted_once_each() {
    for window in [Window::Count(1000), Window::Time(10 * SECOND)] {
        counts_hold_over(window);
    }
}

fn counts_hold_over(window: Window) {
    let (builder, time) = builder();
    let breaker = builder.window(window).failure_rate(1.0).minimum_calls(1000).build().unwrap();
    let failed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (breaker, failed, time) = (&breaker, &failed, &time);
            scope.spawn(move || {
                for i in 0..20_000 {
                    if i % 1000 == 0 {
                        time.advance(SECOND / 3);
                    }
                    let permit = breaker.try_acquire().unwrap();
                    if (i + thread) % 97 == 0 {
                        failed.fetch_add(1, Ordering::Relaxed);
                        permit.failure();
                    } else {
                        permit.success();
                    }
                }
            });
        }
    });
    let stats = breaker.stats();
    assert_eq!(stats.calls.started, 80_000);
    assert_eq!(stats.calls.failed, failed.into_inner() as u64);
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
    assert_eq!((stats.state, stats.stale), (State::Closed, 0));
}

#[test]
fn closed_breaker_admits_calls_while_others_fail() {
    let (builder, _time) = builder();
    let breaker = builder.window(Window::Count(100)).failure_rate(1.0).minimum_calls(100).build().unwrap();
    let before = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    fail(&breaker, 1);
    succeed(&breaker, 10);
    before.into_iter().for_each(|permit| permit.failure());
    breaker.force_open();
    assert!(breaker.try_acquire().is_err());
    breaker.reset();
    // No earlier result counts, so 99 failures are one too few.
    fail(&breaker, 99);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!((breaker.state(), breaker.stats().stale), (State::Open, 0));
}

#[test]
fn breaker_forced_open_admits_no_call_of_any_thread() {
    let (builder, _time) = builder();
    let breaker = builder.window(Window::Count(10)).failure_rate(0.9).build().unwrap();
    // The number is odd between the return of `force_open` and the call of `reset`.
    let turns = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (breaker, turns) = (&breaker, &turns);
            scope.spawn(move || {
                let mut number = thread;
                while turns.load(Ordering::SeqCst) < 400 {
                    let before = turns.load(Ordering::SeqCst);
                    let permit = breaker.try_acquire();
                    let forced = before % 2 == 1 && turns.load(Ordering::SeqCst) == before;
                    assert!(!forced || permit.is_err(), "let through in turn {before}");
                    number += 1;
                    if let Ok(permit) = permit {
                        permit.record(if number % 3 == 0 { Outcome::Failure } else { Outcome::Success });
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..200 {
                breaker.force_open();
                turns.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                turns.fetch_add(1, Ordering::SeqCst);
                breaker.reset();
            }
        });
    });
    let stats = breaker.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!(stats.state, State::Closed);
}

#[test]
fn threads_lose_no_success_of_a_window_of_time() {
    // Threads share a thousand successes in each of nine parts. The failure at the end makes exactly the minimum of calls.
    let (builder, time) = builder();
    let breaker = builder.window(Window::Time(10 * SECOND)).failure_rate(1.0 / 9001.0).minimum_calls(9001);
    let breaker = breaker.build().unwrap();
    for _ in 0..9 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| succeed(&breaker, 250));
            }
        });
        time.advance(SECOND);
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
    // One part later, the first thousand successes are no longer in the window.
    breaker.reset();
    succeed(&breaker, 9000);
    time.advance(10 * SECOND);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
}
