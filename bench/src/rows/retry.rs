//! P3: what a retry costs a call that succeeds at once.

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
use crate::harness::{Bench, Threads, Timing};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};

const BACKON: Rival = Rival::named("backon");

/// P3. Both sides retry a function whose future is ready with a success at once, so that it is called
/// once and nothing waits. Both have four attempts, 100 ms doubling up to 2 s, no jitter; ours by
/// `Retry::run`, backon's by `retry(builder)` on the function; both are awaited in a row within one
/// task, as a program does; polled one by one on the stack of a function, backon's costs 10 ns, and
/// ours what it does here. Ours is under a background context, then under one that can be canceled;
/// backon has no such notion, and its side is the same.
///
/// * reused: our `Retry` has been built before, backon's side copies a builder that has been;
/// * reused, 2 threads: as before, where two threads share our `Retry`, each under a context of its
///   own, and the cost is what one call takes on the thread that makes it;
/// * built per call: both sides set up the four settings for each call.
///
/// Shown beside them: tower-resilience's retry layer with the same settings around an equally quick
/// service, made once, against ours reused under a context that can be canceled; each thread has its
/// own clone of the service.
pub(super) fn first_try(bench: &Bench) -> Vec<Line> {
    let mut lines = Vec::new();
    for caller in [Caller::Background, Caller::Cancelable] {
        let mut add = |what: &str, figures| {
            lines.push(Line::time(
                "P3",
                format!("retry, {}, {what}", caller.name()),
                figures,
                BACKON,
                Target::Faster(2.0),
            ));
        };
        for threads in Threads::ALL {
            let figures = bench.compare(
                |iterations| reused(threads, iterations, caller),
                |iterations| {
                    let builder = backons();
                    threads.await_each(iterations, |_| async || run_backon(*black_box(&builder)).await)
                },
            );
            add(&format!("reused{}", threads.suffix()), figures);
        }
        let figures = bench.compare(
            |iterations| {
                let (context, _canceler) = caller.context();
                Threads::One.await_each(iterations, |_| async || run(&ours(), black_box(&context)).await)
            },
            |iterations| Threads::One.await_each(iterations, |_| async || run_backon(backons()).await),
        );
        add("built per call", figures);
    }
    for threads in Threads::ALL {
        let figures = bench.compare(
            |iterations| reused(threads, iterations, Caller::Cancelable),
            |iterations| {
                let service = tower_service();
                threads.await_each(iterations, |_| {
                    let mut service = service.clone();
                    async move || service::call_awaited(&mut service, ()).await.is_ok()
                })
            },
        );
        let what = format!("retry, cancelable, reused{}", threads.suffix());
        lines.push(Line::time("P3", what, figures, TOWER_RESILIENCE, Target::Shown));
    }
    lines
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

/// The settings go through `black_box`, as contexts and builders do above, so that neither side has
/// them folded in.
fn ours() -> Retry<io::Error> {
    let retry = Retry::exponential().max_attempts(black_box(ATTEMPTS)).base(black_box(BASE));
    retry.max_delay(black_box(MAX_DELAY)).multiplier(black_box(2.0))
}

async fn run(retry: &Retry<io::Error>, context: &Context) -> bool {
    retry.run(context, |_context, _attempt| async { succeed() }).await.is_ok()
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
