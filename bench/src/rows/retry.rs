//! P3: what a retry costs a call that succeeds at once.

use std::future::ready;
use std::hint::black_box;
use std::io;
use std::pin::pin;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use ripcord::Context;
use ripcord_policy::Retry;
use tower::{Layer, service_fn};
use tower_resilience::retry::RetryLayer;

use super::service;
use crate::harness::{Bench, clock, clock_on_two_threads, poll_to_end};
use crate::report::{Line, Rival, TOWER_RESILIENCE, Target};

const BACKON: Rival = Rival::named("backon");

/// P3. Both sides retry a function whose future is ready with a success at once, so that it is called
/// once and nothing waits. Both have four attempts, 100 ms doubling up to 2 s, no jitter; ours by
/// `Retry::run`, backon's by `retry(builder)` on the function; both are polled by hand. The lines are
/// ours under a background context and under one that can be canceled; backon has no such notion, and
/// its side is the same.
///
/// * reused: our `Retry` has been built before, backon's side copies a builder that has been;
/// * built per call: both sides set up the four settings for each call;
/// * 2 threads: reused by both, where the cost is what one call takes on the thread that makes it.
///
/// Shown beside them: tower-resilience's retry layer with the same settings around an equally quick
/// service, made once, against ours reused under a context that can be canceled.
pub(super) fn first_try(bench: &Bench) -> Vec<Line> {
    let background = Context::background();
    let (cancelable, _canceler) = Context::background().with_cancel();
    let mut lines = Vec::new();
    for (name, context) in [("background", &background), ("cancelable", &cancelable)] {
        let reused = bench.compare(
            |iterations| {
                let retry = ours();
                clock(iterations, || run(black_box(&retry), context))
            },
            |iterations| {
                let builder = backons();
                clock(iterations, || run_backon(*black_box(&builder)))
            },
        );
        let built = bench.compare(
            |iterations| clock(iterations, || run(&ours(), context)),
            |iterations| clock(iterations, || run_backon(backons())),
        );
        let two_threads = bench.compare(
            |iterations| {
                let retry = ours();
                clock_on_two_threads(iterations, || run(black_box(&retry), context))
            },
            |iterations| {
                let builder = backons();
                clock_on_two_threads(iterations, || run_backon(*black_box(&builder)))
            },
        );
        for (what, figures) in [("reused", reused), ("built per call", built), ("reused, 2 threads", two_threads)] {
            lines.push(Line::time("P3", format!("retry, {name}, {what}"), figures, BACKON, Target::Faster(2.0)));
        }
    }
    let figures = bench.compare(
        |iterations| {
            let retry = ours();
            clock(iterations, || run(black_box(&retry), &cancelable))
        },
        |iterations| {
            let layer = RetryLayer::<(), u64, io::Error>::builder()
                .max_attempts(ATTEMPTS as usize)
                .exponential_backoff(BASE)
                .build();
            let mut service = layer.layer(service_fn(|()| ready(succeed())));
            clock(iterations, || service::call(&mut service, ()))
        },
    );
    lines.push(Line::time("P3", "retry, cancelable, reused", figures, TOWER_RESILIENCE, Target::Shown));
    lines
}

const ATTEMPTS: u32 = 4;
const BASE: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(2);

fn succeed() -> Result<u64, io::Error> {
    Ok(black_box(1))
}

/// The settings go through `black_box`, so that neither side has them folded in.
fn ours() -> Retry<io::Error> {
    let retry = Retry::exponential().max_attempts(black_box(ATTEMPTS)).base(black_box(BASE));
    retry.max_delay(black_box(MAX_DELAY)).multiplier(black_box(2.0))
}

fn run(retry: &Retry<io::Error>, context: &Context) -> bool {
    poll_to_end(pin!(retry.run(context, |_context, _attempt| ready(succeed())))).is_ok()
}

fn backons() -> ExponentialBuilder {
    let builder = ExponentialBuilder::new().with_max_times(black_box(ATTEMPTS as usize - 1));
    builder.with_min_delay(black_box(BASE)).with_max_delay(black_box(MAX_DELAY)).with_factor(black_box(2.0))
}

fn run_backon(builder: ExponentialBuilder) -> bool {
    poll_to_end(pin!((|| ready(succeed())).retry(builder))).is_ok()
}
