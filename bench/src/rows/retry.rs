//! P3: the cost of a retry around a call that succeeds at once.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use ripcord::Context;
use ripcord_policy::Retry;
use tower::{Layer, Service, service_fn};
use tower_resilience::retry::{ExponentialBackoff, RetryLayer};

use super::caller::Caller;
use super::service;
use crate::floor::Floor;
use crate::harness::Bench;
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};
use crate::timing::{Threads, Timing};

const BACKON: Rival = Rival::named("backon");

/// P3. Both sides retry a function whose future is ready with a success at once, so it is called once and no side waits. Both have
/// four attempts and delays of 100 ms that double up to 2 s, without jitter. Ours is `Retry::run`, which marks the context of the
/// attempt. backon's is `retry(builder)` on the function. One task awaits the calls one after another. Ours runs under a background
/// context, then under a context that can be canceled. backon has no contexts, so its side stays the same.
///
/// * reused: our `Retry` was built beforehand, and backon's side copies a builder that was built beforehand;
/// * reused, 2 threads: the same, but two threads share our `Retry`, each with its own context. The cost is the time of one call on
///   its thread;
/// * built per call: both sides set all four settings for each call.
///
/// For comparison: tower-resilience's retry layer with the same settings, built beforehand, around an equally quick service,
/// against ours reused under a context that can be canceled. Each thread has its own clone of the service.
pub(super) fn first_try(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for caller in [Caller::Background, Caller::Cancelable] {
        let mut add = |what: &str, measured| {
            let what = format!("retry, {}, {what}", caller.name());
            lines.push(Line::time("P3", what, measured, BACKON, Target::NoWorse(0.05)));
        };
        for threads in Threads::ALL {
            let measured = bench.compare(
                |iterations| reused(threads, iterations, caller),
                |iterations| {
                    let builder = backons();
                    threads.await_each(iterations, |_| async || run_backon(*black_box(&builder)).await)
                },
                mark(threads, caller),
            );
            add(&format!("reused{}", threads.suffix()), measured);
        }
        let measured = bench.compare(
            |iterations| {
                let (context, _canceler) = caller.context();
                Threads::One.await_each(iterations, |_| async || run(&ours(), black_box(&context)).await)
            },
            |iterations| Threads::One.await_each(iterations, |_| async || run_backon(backons()).await),
            mark(Threads::One, caller),
        );
        add("built per call", measured);
    }
    for threads in Threads::ALL {
        let measured = bench.compare(
            |iterations| reused(threads, iterations, Caller::Cancelable),
            |iterations| {
                let service = tower_service();
                threads.await_each(iterations, |_| {
                    let mut service = service.clone();
                    async move || service::call_awaited(&mut service, ()).await.is_ok()
                })
            },
            mark(threads, Caller::Cancelable),
        );
        let what = format!("retry, cancelable, reused{}", threads.suffix());
        lines.push(Line::time("P3", what, measured, TOWER_RESILIENCE, Target::Shown));
    }
    lines
}

/// The mark of an attempt: a context with a value below the caller's context.
fn mark(threads: Threads, caller: Caller) -> Floor {
    struct Mark(#[expect(dead_code, reason = "it stands for the number of the attempt")] u32);
    impl ripcord::Value for Mark {}

    Floor::new("a value in the context", move |iterations| {
        threads.clock_each(iterations, |_| {
            let (context, canceler) = caller.context();
            move || {
                let _live = &canceler;
                black_box(&context).with_value(Mark(0))
            }
        })
    })
}

fn reused(threads: Threads, iterations: u64, caller: Caller) -> Timing {
    let retry = &ours();
    threads.await_each(iterations, |_| {
        let (context, canceler) = caller.context();
        async move || {
            let _live = &canceler;
            run(black_box(retry), black_box(&context)).await
        }
    })
}

const ATTEMPTS: u32 = 4;
const BASE: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(2);

fn succeed() -> Result<u64, io::Error> {
    Ok(black_box(1))
}

/// Settings, contexts and builders go through `black_box` on both sides, because a program does not know them at compile time.
fn ours() -> Retry<io::Error> {
    let retry = Retry::exponential().max_attempts(black_box(ATTEMPTS)).base(black_box(BASE));
    retry.max_delay(black_box(MAX_DELAY)).multiplier(black_box(2.0)).build().expect("within bounds")
}

async fn run(retry: &Retry<io::Error>, context: &Context) -> bool {
    retry.run(context, |_context| async { succeed() }).await.is_ok()
}

fn backons() -> ExponentialBuilder {
    let builder = ExponentialBuilder::new().with_max_times(black_box(ATTEMPTS as usize - 1));
    builder.with_min_delay(black_box(BASE)).with_max_delay(black_box(MAX_DELAY)).with_factor(black_box(2.0))
}

async fn run_backon(builder: ExponentialBuilder) -> bool {
    (|| async { succeed() }).retry(builder).await.is_ok()
}

fn tower_service() -> impl Service<(), Response = u64> + Clone + Sync {
    let builder = RetryLayer::<(), u64, io::Error>::builder().max_attempts(ATTEMPTS as usize);
    let backoff =
        ExponentialBackoff::new(BASE).max_interval(MAX_DELAY).multiplier(2.0).expect("the factor is within bounds");
    builder.backoff(backoff).build().layer(service_fn(|()| async { succeed() }))
}
