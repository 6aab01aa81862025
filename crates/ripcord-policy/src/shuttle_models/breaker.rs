//! Models of the circuit breaker: the admission of calls, and the counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ripcord::Clock;
use shuttle::thread;

use super::explore;
use crate::breaker::{CircuitBreaker, State};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn probes_run_one_at_a_time_and_none_is_lost() {
    explore(|| {
        let (clock, time) = Clock::manual();
        let breaker = CircuitBreaker::builder("backend").consecutive_failures(1).open_for(SECOND).clock(clock);
        let breaker = Arc::new(breaker.half_open_calls(1).half_open_successes(1).build().unwrap());
        breaker.try_acquire().unwrap().failure();
        time.advance(SECOND);
        let (now, through) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..3)
            .map(|caller| {
                let (breaker, now, through) = (Arc::clone(&breaker), Arc::clone(&now), Arc::clone(&through));
                thread::spawn(move || {
                    let Ok(permit) = breaker.try_acquire() else { return };
                    through.fetch_add(1, Ordering::Relaxed);
                    if breaker.state() == State::HalfOpen {
                        assert_eq!(now.fetch_add(1, Ordering::Relaxed), 0, "a second probe beside the first");
                        thread::yield_now();
                        now.fetch_sub(1, Ordering::Relaxed);
                    }
                    match caller {
                        // A neutral outcome: the next caller may probe.
                        0 => drop(permit),
                        _ => permit.success(),
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert!(through.load(Ordering::Relaxed) >= 1);
        // A dropped probe has freed its slot.
        breaker.try_acquire().unwrap().success();
        assert_eq!(breaker.state(), State::Closed);
        let stats = breaker.stats();
        assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    });
}

#[test]
fn failures_in_a_row_among_threads_open_it_once() {
    explore(|| {
        let (clock, _time) = Clock::manual();
        let breaker = CircuitBreaker::builder("backend").consecutive_failures(2).open_for(SECOND).clock(clock);
        let breaker = Arc::new(breaker.build().unwrap());
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || {
                    if let Ok(permit) = breaker.try_acquire() {
                        permit.failure();
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.stats().opened, 1);
    });
}
