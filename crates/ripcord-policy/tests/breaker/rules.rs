//! The rules by which the breaker opens, becomes half-open and closes, and the calls that count.

use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use ripcord::{Clock, Context};
use ripcord_policy::breaker::{CircuitBreakerBuilder, State, Window, by_outcome};
use ripcord_policy::{Bulkhead, CircuitBreaker, Error, Outcome, Stack};

use crate::common::{SECOND, builder, call, call_blocking, chapter, fail, succeed};

#[test]
fn breaker_with_the_settings_of_new_goes_through_all_states() {
    let (breaker, time) = chapter();
    assert!(call(&breaker, true).is_ok());
    for state in [State::Closed, State::Closed, State::Open] {
        assert_eq!(call(&breaker, false).unwrap_err().to_string(), "service error");
        assert_eq!(breaker.state(), state);
    }
    let refused = call(&breaker, true).unwrap_err();
    assert_eq!(refused.to_string(), "circuit breaker 'test' is OPEN");
    assert_eq!(refused.retry_after(), Some(2 * SECOND));
    assert_eq!(refused.outcome(), Outcome::Neutral);
    time.advance(2 * SECOND);
    call(&breaker, true).unwrap();
    assert_eq!(breaker.state(), State::HalfOpen);
    call(&breaker, true).unwrap();
    assert_eq!(breaker.state(), State::Closed);
    let stats = breaker.stats();
    assert_eq!(
        (stats.calls.started, stats.calls.succeeded, stats.calls.failed, stats.calls.rejected, stats.opened),
        (6, 3, 3, 1, 1)
    );
}

#[test]
fn success_between_failures_keeps_the_breaker_closed() {
    let (breaker, _time) = chapter();
    for _ in 0..50 {
        fail(&breaker, 2);
        succeed(&breaker, 1);
    }
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn half_open_breaker_admits_exactly_as_many_probes_as_set() {
    let (builder, time) = builder();
    let breaker = builder.consecutive_failures(1).open_for(SECOND).half_open_calls(3).build().unwrap();
    fail(&breaker, 1);
    time.advance(SECOND);
    let admitted = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| admitted.lock().unwrap().extend(breaker.try_acquire().ok()));
        }
    });
    assert_eq!(admitted.lock().unwrap().len(), 3);
    let refused = breaker.try_acquire().unwrap_err();
    assert_eq!(refused.retry_after, Duration::ZERO);
    drop(admitted);
    // Dropped probes are neutral: their slots are free, and the breaker neither closes nor opens.
    assert_eq!(breaker.state(), State::HalfOpen);
    let probes: Vec<_> = std::iter::from_fn(|| breaker.try_acquire().ok()).collect();
    assert_eq!(probes.len(), 3);
}

#[test]
fn hung_probe_opens_the_breaker_and_its_late_result_is_ignored() {
    let (builder, time) = builder();
    let breaker = builder.consecutive_failures(1).open_for(SECOND).half_open_timeout(3 * SECOND).build().unwrap();
    fail(&breaker, 1);
    time.advance(SECOND);
    let hung = breaker.try_acquire().unwrap();
    time.advance(3 * SECOND);
    // The probe failed at this moment, so the breaker is open for another second.
    assert_eq!((breaker.state(), breaker.remaining_delay()), (State::Open, Some(SECOND)));
    assert!(breaker.try_acquire().is_err());
    time.advance(SECOND);
    let probe = breaker.try_acquire().unwrap();
    hung.success();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.stats().stale, 1);
    probe.success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn result_of_an_earlier_generation_is_ignored() {
    let (breaker, time) = chapter();
    let (stale_failure, stale_success) = (breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap());
    fail(&breaker, 3);
    time.advance(2 * SECOND);
    succeed(&breaker, 1);
    stale_failure.failure();
    assert_eq!(breaker.state(), State::HalfOpen);
    stale_success.success();
    assert_eq!(breaker.state(), State::HalfOpen);
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(breaker.stats().stale, 2);
}

#[test]
fn end_of_the_caller_neither_opens_nor_closes_the_breaker() {
    let (breaker, time) = chapter();
    let canceled_call = || {
        let (ctx, cancel) = Context::background().with_cancel();
        block_on(breaker.call(&ctx, |_| async {
            cancel.cancel();
            Err::<(), _>("canceled")
        }))
    };
    for _ in 0..10 {
        canceled_call().unwrap_err();
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 3);
    time.advance(2 * SECOND);
    canceled_call().unwrap_err();
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.stats().calls.canceled, 11);
    // Under a context that has ended, no call is made.
    let done = Context::background().with_timeout(Duration::ZERO);
    let refused = block_on(breaker.call(&done, |_| async { unreachable!() as Result<(), &str> })).unwrap_err();
    assert!(refused.is_deadline_exceeded());
    assert_eq!((breaker.stats().calls.started, breaker.stats().calls.rejected), (14, 1));
    // A success counts even if the context ended meanwhile.
    let (ctx, cancel) = Context::background().with_cancel();
    block_on(breaker.call(&ctx, |_| async {
        cancel.cancel();
        Ok::<_, &str>(())
    }))
    .unwrap();
    assert_eq!(breaker.stats().calls.succeeded, 1);
}

#[test]
fn call_dropped_at_any_await_point_is_neutral() {
    let (builder, time) = builder();
    let breaker = builder.consecutive_failures(1).open_for(SECOND).build().unwrap();
    fail(&breaker, 1);
    time.advance(SECOND);
    for polls in 0..3 {
        let ctx = Context::background();
        let mut call = Box::pin(breaker.call(&ctx, |_| async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            Ok::<_, &str>(())
        }));
        for _ in 0..polls {
            assert!(call.as_mut().now_or_never().is_none());
        }
        drop(call);
        assert_eq!(breaker.state(), State::HalfOpen);
        drop(breaker.try_acquire().expect("the probe's place is back"));
    }
}

#[test]
fn open_breaker_whose_time_is_over_reports_half_open() {
    let (breaker, time) = chapter();
    fail(&breaker, 3);
    assert_eq!(breaker.remaining_delay(), Some(2 * SECOND));
    time.advance(2 * SECOND - Duration::from_nanos(1));
    assert_eq!((breaker.state(), breaker.remaining_delay()), (State::Open, Some(Duration::from_nanos(1))));
    time.advance(Duration::from_nanos(1));
    assert_eq!((breaker.state(), breaker.remaining_delay()), (State::HalfOpen, None));
}

#[test]
fn failed_probe_opens_the_breaker_again() {
    let (breaker, time) = chapter();
    fail(&breaker, 3);
    time.advance(2 * SECOND);
    succeed(&breaker, 1);
    fail(&breaker, 1);
    assert_eq!(breaker.remaining_delay(), Some(2 * SECOND));
    time.advance(2 * SECOND);
    // The earlier success no longer counts.
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::HalfOpen);
}

#[test]
fn rate_is_computed_over_the_last_calls() {
    let (builder, _time) = builder();
    let breaker = builder.window(Window::Count(10)).failure_rate(0.5).minimum_calls(4).build().unwrap();
    fail(&breaker, 3);
    assert_eq!(breaker.state(), State::Closed, "not enough calls");
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Open, "three of four");
    breaker.reset();
    succeed(&breaker, 1000);
    fail(&breaker, 4);
    assert_eq!(breaker.state(), State::Closed, "four of the last ten");
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open, "five of the last ten");
}

#[test]
fn failures_leave_the_window_of_calls() {
    let (builder, _time) = builder();
    let breaker = builder.window(Window::Count(4)).failure_rate(0.5).minimum_calls(4).build().unwrap();
    for _ in 0..100 {
        succeed(&breaker, 3);
        fail(&breaker, 1);
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn failures_leave_the_window_of_time() {
    let (builder, time) = builder();
    let breaker = builder.window(Window::Time(10 * SECOND)).failure_rate(0.5).minimum_calls(4).build().unwrap();
    succeed(&breaker, 2);
    time.advance(5 * SECOND);
    fail(&breaker, 1);
    time.advance(5 * SECOND);
    // The successes have left the window. After the next failure only two calls count, which is below the minimum.
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 2);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn slow_calls_count_when_they_end() {
    let (builder, time) = builder();
    let breaker = builder.window(Window::Time(2 * SECOND)).minimum_calls(2).slow_call(SECOND, 1.0).build().unwrap();
    // The calls span the whole window, and succeed.
    let calls = [breaker.try_acquire().unwrap(), breaker.try_acquire().unwrap()];
    time.advance(20 * SECOND);
    calls.into_iter().for_each(|permit| permit.success());
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.stats().slow, 2);
}

#[test]
fn clock_of_a_slow_call_starts_at_the_call_and_not_in_a_queue() {
    let (builder, time) = builder();
    let breaker = builder.minimum_calls(1).slow_call(SECOND, 1.0).build().unwrap();
    let mut permit = breaker.try_acquire().unwrap();
    time.advance(10 * SECOND);
    permit.restart_clock();
    time.advance(SECOND / 2);
    permit.success();
    assert_eq!((breaker.stats().slow, breaker.state()), (0, State::Closed));
}

#[test]
fn breaker_forced_open_stays_open_until_reset() {
    let (breaker, time) = chapter();
    breaker.force_open();
    time.advance(1000 * SECOND);
    assert_eq!(breaker.state(), State::Open);
    assert!(call(&breaker, true).unwrap_err().is_breaker_open());
    breaker.reset();
    call(&breaker, true).unwrap();
}

#[test]
fn classifier_judges_results_and_errors() {
    let (builder, _time) = builder();
    let breaker = builder
        .consecutive_failures(1)
        .classify(|result: &Result<u16, &str>| match result {
            Ok(500..) => Outcome::Failure,
            Err("not found") => Outcome::Success,
            Err("skip") => Outcome::Neutral,
            result => Outcome::new(result, |_| Outcome::Failure),
        })
        .build()
        .unwrap();
    let ctx = Context::background();
    for result in [Ok(200), Err("not found"), Err("skip")] {
        let _ = call_blocking(&breaker, &ctx, |_| result);
        assert_eq!(breaker.state(), State::Closed);
    }
    assert_eq!(call_blocking(&breaker, &ctx, |_| Ok(503)).unwrap(), 503);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn rejection_by_an_inner_policy_is_neutral() {
    let (builder, _time) = builder();
    let breaker = builder.consecutive_failures(1).classify(by_outcome::<(), &str>).build().unwrap();
    let ctx = Context::background();
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let _permit = bulkhead.try_acquire();
    let full = call_blocking(&breaker, &ctx, |_| bulkhead.try_acquire().map(drop).map_err(Error::<&str>::from));
    assert!(Error::<&str>::from(full.unwrap_err()).is_full());
    assert_eq!(breaker.state(), State::Closed);
    let hanging: Stack<(), &str> = Stack::builder().attempt_timeout(SECOND).build().unwrap();
    let (manual, time) = Clock::manual();
    let ctx = ctx.with_clock(manual);
    let mut hung = Box::pin(hanging.run(&ctx, |_| std::future::pending()));
    assert!((&mut hung).now_or_never().is_none());
    time.advance(SECOND);
    let timed_out = hung.now_or_never().expect("the attempt's time is up");
    let _ = call_blocking(&breaker, &ctx, |_| timed_out);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn setting_out_of_bounds_is_named() {
    let field = |builder: CircuitBreakerBuilder| builder.build().unwrap_err().to_string();
    let b = || CircuitBreaker::builder("bad");
    assert_eq!(field(b().window(Window::Count(0))), "window must be from 1 to 1048576 calls, got 0");
    assert!(field(b().window(Window::Count(usize::MAX))).starts_with("window must be"));
    assert_eq!(field(b().window(Window::Time(Duration::ZERO))), "window must be longer than zero, got 0ns");
    for rate in [0.0, -0.5, 1.5, f64::NAN, f64::INFINITY] {
        assert!(field(b().failure_rate(rate)).starts_with("failure_rate must be"));
        assert!(field(b().slow_call(SECOND, rate)).starts_with("slow_call must be"));
    }
    assert!(field(b().slow_call(Duration::ZERO, 0.5)).starts_with("slow_call must be longer than zero"));
    assert_eq!(field(b().minimum_calls(0)), "minimum_calls must be at least 1, got 0");
    assert!(field(b().window(Window::Count(5)).minimum_calls(6)).contains("at most the window's 5 calls"));
    assert!(field(b().consecutive_failures(0)).starts_with("consecutive_failures"));
    assert!(field(b().open_for(Duration::ZERO)).starts_with("open_for"));
    assert!(field(b().half_open_calls(0)).starts_with("half_open_calls"));
    assert!(field(b().half_open_successes(0)).starts_with("half_open_successes"));
    assert!(field(b().half_open_timeout(Duration::ZERO)).starts_with("half_open_timeout"));
    assert!(CircuitBreaker::new("bad", 0, SECOND).is_err());
}

#[test]
fn durations_beyond_all_time_do_not_overflow() {
    let (builder, time) = builder();
    let breaker = builder.consecutive_failures(1).open_for(Duration::MAX).build().unwrap();
    fail(&breaker, 1);
    time.advance(SECOND);
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn timeout_of_a_queued_probe_starts_with_its_call() {
    let (builder, time) = builder();
    let breaker = builder.consecutive_failures(1).open_for(SECOND).half_open_timeout(3 * SECOND).build().unwrap();
    fail(&breaker, 1);
    time.advance(SECOND);
    let mut probe = breaker.try_acquire().unwrap();
    time.advance(2 * SECOND);
    probe.restart_clock();
    time.advance(2 * SECOND);
    assert_eq!(breaker.state(), State::HalfOpen, "two seconds of three");
    time.advance(SECOND);
    assert_eq!((breaker.state(), breaker.remaining_delay()), (State::Open, Some(SECOND)));
    // A restart has no effect after the timeout has expired.
    probe.restart_clock();
    assert_eq!(breaker.remaining_delay(), Some(SECOND));
    probe.success();
    assert_eq!((breaker.state(), breaker.stats().stale), (State::Open, 1));
}

#[test]
fn breaker_opens_at_exactly_the_failure_rate() {
    for hundredths in 1..=100 {
        let (builder, _time) = builder();
        let rate = hundredths as f64 / 100.0;
        let breaker = builder.window(Window::Count(100)).failure_rate(rate).minimum_calls(100).build().unwrap();
        succeed(&breaker, 100);
        fail(&breaker, hundredths - 1);
        assert_eq!(breaker.state(), State::Closed, "{hundredths}");
        fail(&breaker, 1);
        assert_eq!(breaker.state(), State::Open, "{hundredths}");
    }
}
