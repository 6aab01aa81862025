//! P2: what a call through a closed circuit breaker costs.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::pin::pin;
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use recloser::{AsyncRecloser, Recloser};
use ripcord::Context;
use ripcord_policy::CircuitBreaker;
use ripcord_policy::breaker::Window;
use tower::{Layer, Service, service_fn};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use super::service;
use crate::harness::{Bench, Figure, Timing, clock, clock_each_of_two_threads, clock_on_two_threads, poll_to_end};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};

const RECLOSER: Rival = Rival::named("recloser");
const FAILSAFE: Rival = Rival::named("failsafe");

/// P2. Both sides call, through a closed breaker, a function that succeeds at once; on one thread,
/// then on two that share the breaker, where the cost is what one call takes on the thread that makes
/// it. Ours and recloser's open when half of the last 100 calls have failed, and not before there were
/// as many.
///
/// * call: ours is `call_blocking` under a background context, recloser's `Recloser::call`;
/// * call, cancelable: as before, under a context that can be canceled;
/// * async call: ours is `call` under a context that can be canceled, of a future that is ready at
///   once; recloser's is `AsyncRecloser::call` of such a future; both are polled by hand.
///
/// Shown beside them:
///
/// * failsafe's `call` against our `call_blocking` under a background context, both going by the
///   failures of the last ten seconds (by rate: half, of at least 100 calls), then by the failures in a
///   row (5); failsafe's back-off, used when it opens, is constant;
/// * tower-resilience's breaker layer, by half of the last 100 calls as above, around a service that is
///   ready with its answer at once, against our async call; each thread has its own clone of the
///   service.
pub(super) fn closed(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |what: &str, [one, two]: [[Figure; 2]; 2], rival: &Rival, target: Target| {
        lines.push(Line::time("P2", what, one, rival.clone(), target));
        lines.push(Line::time("P2", format!("{what}, 2 threads"), two, rival.clone(), target));
    };
    let background = Context::background();
    let (cancelable, _canceler) = Context::background().with_cancel();

    let recloser = |threads: Threads| {
        move |iterations| {
            let breaker = last_hundred_recloser();
            threads.clock(iterations, || breaker.call(succeed))
        }
    };
    for (what, context) in [("call", &background), ("call, cancelable", &cancelable)] {
        let ours = |threads: Threads| move |iterations| blocking(threads, iterations, &last_hundred(), context);
        add(what, THREADS.map(|threads| bench.compare(ours(threads), recloser(threads))), &RECLOSER, Target::NoWorse);
    }

    let context = &cancelable;
    let ours = |threads: Threads| {
        move |iterations| {
            let breaker = last_hundred();
            threads.clock(iterations, || poll_to_end(pin!(breaker.call(context, |_context| ready(succeed())))))
        }
    };
    let recloser = |threads: Threads| {
        move |iterations| {
            let breaker = AsyncRecloser::from(last_hundred_recloser());
            threads.clock(iterations, || poll_to_end(pin!(breaker.call(ready(succeed())))))
        }
    };
    let figures = THREADS.map(|threads| bench.compare(ours(threads), recloser(threads)));
    add("async call, cancelable", figures, &RECLOSER, Target::NoWorse);

    let context = &background;
    let figures = THREADS.map(|threads| {
        bench.compare(
            |iterations| blocking(threads, iterations, &last_ten_seconds(), context),
            |iterations| {
                let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 100, WINDOW, back_off());
                let breaker = failsafe::Config::new().failure_policy(policy).build();
                threads.clock(iterations, || breaker.call(succeed))
            },
        )
    });
    add("call, by rate over 10 s", figures, &FAILSAFE, Target::Shown);
    let figures = THREADS.map(|threads| {
        bench.compare(
            |iterations| blocking(threads, iterations, &in_a_row(), context),
            |iterations| {
                let policy = failsafe::failure_policy::consecutive_failures(IN_A_ROW, back_off());
                let breaker = failsafe::Config::new().failure_policy(policy).build();
                threads.clock(iterations, || breaker.call(succeed))
            },
        )
    });
    add("call, by failures in a row", figures, &FAILSAFE, Target::Shown);

    let figures = THREADS.map(|threads| {
        bench.compare(ours(threads), move |iterations| {
            let service = tower_service();
            let make = |_| {
                let mut service = service.clone();
                move || service::call(&mut service, ())
            };
            match threads {
                Threads::One => clock(iterations, make(0)),
                Threads::Two => clock_each_of_two_threads(iterations, make),
            }
        })
    });
    add("async call, cancelable", figures, &TOWER_RESILIENCE, Target::Shown);
    lines
}

const CALLS: usize = 100;
const WINDOW: Duration = Duration::from_secs(10);
const OPEN_FOR: Duration = Duration::from_secs(30);
const IN_A_ROW: u32 = 5;

#[derive(Clone, Copy)]
enum Threads {
    One,
    Two,
}

const THREADS: [Threads; 2] = [Threads::One, Threads::Two];

impl Threads {
    fn clock<T>(self, iterations: u64, call: impl Fn() -> T + Sync) -> Timing {
        match self {
            Threads::One => clock(iterations, call),
            Threads::Two => clock_on_two_threads(iterations, call),
        }
    }
}

fn succeed() -> Result<u64, Infallible> {
    Ok(black_box(1))
}

fn blocking(threads: Threads, iterations: u64, breaker: &CircuitBreaker, context: &Context) -> Timing {
    threads.clock(iterations, || breaker.call_blocking(context, |_context| succeed()))
}

fn last_hundred() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("bench").window(Window::Count(CALLS)).minimum_calls(CALLS as u32);
    builder.failure_rate(0.5).open_for(OPEN_FOR).build().expect("the settings are within bounds")
}

fn last_ten_seconds() -> CircuitBreaker {
    let builder = CircuitBreaker::builder("bench").window(Window::Time(WINDOW)).minimum_calls(CALLS as u32);
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
    layer.layer(service_fn(|()| ready(succeed())))
}
