//! P2: the cost of a call through a closed circuit breaker.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use failsafe::{CircuitBreaker as _, Config, failure_policy};
use recloser::{AsyncRecloser, Recloser};
use ripcord_policy::CircuitBreaker;
use ripcord_policy::breaker::Window;
use tower::{Layer, Service, service_fn};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use super::caller::Caller;
use super::service;
use crate::floor::Floor;
use crate::harness::Bench;
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};
use crate::timing::{Threads, Timing};

const RECLOSER: Rival = Rival::named("recloser");
const FAILSAFE: Rival = Rival::named("failsafe");

/// P2. Both sides call a function that succeeds at once, through a closed breaker: on one thread, then on two that share the
/// breaker. With two threads, the cost is the time of one call on its thread. Each thread has its own context.
///
/// Against recloser, both sides open when half of the last 100 calls have failed, and not before 100 calls:
///
/// * call: ours is `block_on(run)` under a background context, recloser's `Recloser::call`;
/// * call, cancelable: the same under a context that can be canceled;
/// * async call, cancelable: ours is `run` under such a context, recloser's `AsyncRecloser::call`, both with a future that is
///   ready at once. One task awaits the calls one after another.
///
/// Against failsafe's `call`, ours is `block_on(run)` under a background context:
///
/// * by rate: both open when half of at least 100 calls in the last ten seconds have failed;
/// * by failures in a row: both open after five. The back-off of failsafe is constant. Only an open breaker uses it.
///
/// For comparison: tower-resilience's breaker layer against our async call. It also opens by half of the last 100 calls, and wraps
/// a service that answers at once. Each thread has its own clone of the service.
pub(super) fn closed(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, ours: Measure<'_>, rivals: Measure<'_>, rival: Rival, target: Target| {
        for threads in Threads::ALL {
            let measured = bench.compare(
                |iterations| ours(threads, iterations),
                |iterations| rivals(threads, iterations),
                Floor::locked_add(threads),
            );
            lines.push(Line::time("P2", format!("{what}{}", threads.suffix()), measured, rival.clone(), target));
        }
    };
    let recloser = |threads: Threads, iterations| {
        let breaker = last_hundred_recloser();
        threads.clock(iterations, || breaker.call(succeed).is_ok())
    };
    let background = |threads, iterations| blocking(threads, iterations, &last_hundred(), Caller::Background);
    compare("call", &background, &recloser, RECLOSER, NO_WORSE);
    compare("call, cancelable", &under_cancelable, &recloser, RECLOSER, NO_WORSE);
    let async_recloser = |threads: Threads, iterations| {
        let breaker = AsyncRecloser::from(last_hundred_recloser());
        threads.await_each(iterations, |_| async || breaker.call(async { succeed() }).await.is_ok())
    };
    compare("async call, cancelable", &async_under_cancelable, &async_recloser, RECLOSER, NO_WORSE);

    let by_rate = |threads: Threads, iterations| blocking(threads, iterations, &last_ten_seconds(), Caller::Background);
    let failsafe_by_rate = |threads: Threads, iterations| {
        let policy = failure_policy::success_rate_over_time_window(0.5, CALLS as u32, WINDOW, back_off());
        let breaker = Config::new().failure_policy(policy).build();
        threads.clock(iterations, || breaker.call(succeed).is_ok())
    };
    compare("call, by rate over 10 s", &by_rate, &failsafe_by_rate, FAILSAFE, NO_WORSE);
    let by_count = |threads: Threads, iterations| blocking(threads, iterations, &in_a_row(), Caller::Background);
    let failsafe_by_count = |threads: Threads, iterations| {
        let breaker = Config::new().failure_policy(failure_policy::consecutive_failures(IN_A_ROW, back_off())).build();
        threads.clock(iterations, || breaker.call(succeed).is_ok())
    };
    compare("call, by failures in a row", &by_count, &failsafe_by_count, FAILSAFE, NO_WORSE);

    let tower = |threads: Threads, iterations| {
        let service = tower_service();
        threads.await_each(iterations, |_| {
            let mut service = service.clone();
            async move || service::call_awaited(&mut service, ()).await.is_ok()
        })
    };
    compare("async call, cancelable", &async_under_cancelable, &tower, TOWER_RESILIENCE, Target::Shown);
    lines
}

/// Times the given number of calls with a fresh breaker.
type Measure<'a> = &'a dyn Fn(Threads, u64) -> Timing;

const NO_WORSE: Target = Target::NoWorse(0.05);

const CALLS: usize = 100;
const WINDOW: Duration = Duration::from_secs(10);
const OPEN_FOR: Duration = Duration::from_secs(30);
const IN_A_ROW: u32 = 5;

fn succeed() -> Result<u64, Infallible> {
    Ok(black_box(1))
}

fn blocking(threads: Threads, iterations: u64, breaker: &CircuitBreaker, caller: Caller) -> Timing {
    threads.clock_each(iterations, |_| {
        let (context, canceler) = caller.context();
        move || {
            let _live = &canceler;
            ripcord::block_on(breaker.run(black_box(&context), |_context| std::future::ready(succeed()))).is_ok()
        }
    })
}

fn under_cancelable(threads: Threads, iterations: u64) -> Timing {
    blocking(threads, iterations, &last_hundred(), Caller::Cancelable)
}

fn async_under_cancelable(threads: Threads, iterations: u64) -> Timing {
    let breaker = &last_hundred();
    threads.await_each(iterations, |_| {
        let (context, canceler) = Caller::Cancelable.context();
        async move || {
            let _live = &canceler;
            breaker.run(black_box(&context), |_context| async { succeed() }).await.is_ok()
        }
    })
}

fn last_hundred() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("bench").window(Window::Count(CALLS)).minimum_calls(CALLS);
    builder.failure_rate(0.5).open_for(OPEN_FOR).build().expect("the settings are within bounds")
}

fn last_ten_seconds() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("bench").window(Window::Time(WINDOW)).minimum_calls(CALLS);
    builder.failure_rate(0.5).open_for(OPEN_FOR).build().expect("the settings are within bounds")
}

fn in_a_row() -> CircuitBreaker {
    CircuitBreaker::new("bench", IN_A_ROW, OPEN_FOR).expect("the settings are within bounds")
}

fn last_hundred_recloser() -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(CALLS).half_open_len(1).open_wait(OPEN_FOR).build()
}

fn back_off() -> failsafe::backoff::Constant {
    failsafe::backoff::constant(OPEN_FOR)
}

fn tower_service() -> impl Service<(), Response = u64> + Clone + Send + Sync {
    let layer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(CALLS)
        .minimum_number_of_calls(CALLS)
        .wait_duration_in_open(OPEN_FOR)
        .build()
        .expect("the settings are within bounds");
    layer.layer(service_fn(|()| async { succeed() }))
}
