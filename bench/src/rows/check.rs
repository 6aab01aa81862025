//! C4 and C5: the cost of checking whether a context has ended.

use std::hint::black_box;
use std::time::{Duration, Instant};

use ripcord::{Canceler, Context};
use tokio_util::sync::CancellationToken;

use crate::floor::Floor;
use crate::harness::{Bench, HOUR, Measured, percentile};
use crate::report::{Line, TOKIO_UTIL, Target};
use crate::timing::{Threads, Timing, clock, nanoseconds};

/// C4. Ours calls `is_done()` and the rival `is_cancelled()` in a loop, on a context that stays live:
///
/// * live: the context has no ancestor that can end;
/// * under a deadline: the context has a timeout of an hour. The rival has no deadlines, so its side is the same as for "live".
///   Before each sample, the same loop runs under a timeout of a millisecond and must see it expire within another millisecond;
/// * first look through 10 ancestors: the context is the last of a chain of contexts that can be canceled. Each chain is new and is
///   checked once, so no result of an earlier call can be cached. Shown, without a target.
pub(super) fn one_thread(bench: &Bench) -> Vec<Line> {
    let live = bench.compare(
        |iterations| {
            let (context, _canceler) = Context::background().with_cancel();
            clock(iterations, || context.is_done())
        },
        |iterations| rival_is_cancelled(Threads::One, iterations),
        Floor::load(Threads::One),
    );
    let under_a_deadline = bench.compare(
        |iterations| {
            expect_deadline_in_time();
            let context = Context::background().with_timeout(HOUR);
            clock(iterations, || context.is_done())
        },
        |iterations| rival_is_cancelled(Threads::One, iterations),
        Floor::load(Threads::One),
    );
    let first_looks = first_looks(bench);
    vec![
        Line::time("C4", "is_done, live", live, TOKIO_UTIL, Target::Ratio(3.0)).within_floor(2.5),
        Line::time("C4", "is_done, under a deadline", under_a_deadline, TOKIO_UTIL, Target::Ratio(3.0))
            .within_floor(2.5),
        Line::time("C4", "is_done, first look through 10 ancestors", first_looks, TOKIO_UTIL, Target::Shown),
    ]
}

/// C5. The same as "live" in C4, on two threads that check the same context. The cost is the time of one call on its thread.
pub(super) fn two_threads(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| {
            let (context, _canceler) = Context::background().with_cancel();
            Threads::Two.clock(iterations, || context.is_done())
        },
        |iterations| rival_is_cancelled(Threads::Two, iterations),
        Floor::load(Threads::Two),
    );
    vec![Line::time("C5", "is_done, 2 threads, 1 context", measured, TOKIO_UTIL, Target::Ratio(15.0)).within_floor(2.5)]
}

const ANCESTORS: usize = 10;
const MILLISECOND: Duration = Duration::from_millis(1);

fn rival_is_cancelled(threads: Threads, iterations: u64) -> Timing {
    let token = CancellationToken::new();
    threads.clock(iterations, || token.is_cancelled())
}

/// Checks that the measured loop is correct, because a fast `is_done` that misses its deadline must not win.
fn expect_deadline_in_time() {
    let deadline = Instant::now() + MILLISECOND;
    let context = Context::background().with_deadline(deadline);
    // Calls, not time, bound the loop, because the scheduler may pause this thread.
    let mut calls_after_the_bound = 0;
    while !context.is_done() {
        if Instant::now() > deadline + MILLISECOND {
            calls_after_the_bound += 1;
            assert!(calls_after_the_bound < 100, "is_done missed its deadline by more than a millisecond");
        }
    }
    assert!(Instant::now() >= deadline, "is_done reported a deadline early");
}

fn first_looks(bench: &Bench) -> Measured {
    // The number of chains is small enough that they stay in the processor's cache.
    let chains = 100;
    let batches = bench.size(20, 1);
    let mut ours =
        || each_asked_once(batches, chains, our_chain, |(contexts, _)| contexts.last().is_some_and(Context::is_done));
    let mut rivals = || {
        each_asked_once(batches, chains, rivals_chain, |tokens| {
            tokens.last().is_some_and(CancellationToken::is_cancelled)
        })
    };
    let [[ours], [rivals]] = bench.interleave(bench.many_rounds(), [&mut ours, &mut rivals]);
    Measured::new(ours, rivals)
}

fn each_asked_once<C>(batches: usize, chains: usize, chain: fn() -> C, ask: impl Fn(&C) -> bool) -> Option<[f64; 1]> {
    let costs: Vec<f64> = (0..batches)
        .map(|_| {
            let chains: Vec<C> = (0..chains).map(|_| chain()).collect();
            let start = Instant::now();
            for chain in &chains {
                black_box(ask(chain));
            }
            nanoseconds(start.elapsed()) / chains.len() as f64
        })
        .collect();
    percentile(&costs, 50).map(|median| [median])
}

fn our_chain() -> (Vec<Context>, Vec<Canceler>) {
    let mut contexts = vec![Context::background()];
    let mut cancelers = Vec::new();
    for ancestor in 0..=ANCESTORS {
        let (child, canceler) = contexts[ancestor].with_cancel();
        contexts.push(child);
        cancelers.push(canceler);
    }
    (contexts, cancelers)
}

fn rivals_chain() -> Vec<CancellationToken> {
    let mut tokens = vec![CancellationToken::new()];
    for ancestor in 0..ANCESTORS {
        tokens.push(tokens[ancestor].child_token());
    }
    tokens
}
