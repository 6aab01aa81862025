//! C4 and C5: what looking costs.

use std::hint::black_box;
use std::time::Instant;

use ripcord::{Canceler, Context};
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, Figure, HOUR, Timing, clock, clock_on_two_threads, nanoseconds, percentile};
use crate::report::{Line, TOKIO_UTIL, Target};

/// C4. Ours calls `is_done()` and the rival `is_cancelled()` in a loop, on a context that stays
/// live:
///
/// * live: one that has no ancestors that could end;
/// * through 10 ancestors: the last of a chain of which each could be canceled, and nobody has
///   waited on any;
/// * first look through 10 ancestors: as before, but every chain is new and looked at once, so that
///   nothing can have been learnt from an earlier look; shown beside the others, without a target;
/// * under a deadline: ours has a timeout of an hour, which the rival has no notion of; its side is
///   that of "live".
pub(super) fn one_thread(bench: &Bench) -> Vec<Line> {
    let live = bench.compare(
        |iterations| {
            let (context, _canceler) = Context::background().with_cancel();
            clock(iterations, || context.is_done())
        },
        one_token,
    );
    let through_ancestors = bench.compare(
        |iterations| {
            let (contexts, _cancelers) = our_chain();
            let context = &contexts[contexts.len() - 1];
            clock(iterations, || context.is_done())
        },
        |iterations| {
            let tokens = rivals_chain();
            let token = &tokens[tokens.len() - 1];
            clock(iterations, || token.is_cancelled())
        },
    );
    let first_looks = first_looks(bench);
    let under_a_deadline = bench.compare(
        |iterations| {
            let context = Context::background().with_timeout(HOUR);
            clock(iterations, || context.is_done())
        },
        one_token,
    );
    vec![
        Line::time("C4", "is_done, live", live, TOKIO_UTIL, Target::Faster(15.0)),
        Line::time("C4", "is_done, through 10 ancestors", through_ancestors, TOKIO_UTIL, Target::Faster(2.0)),
        Line::time("C4", "is_done, first look through 10 ancestors", first_looks, TOKIO_UTIL, Target::Shown),
        Line::time("C4", "is_done, under a deadline", under_a_deadline, TOKIO_UTIL, Target::Faster(5.0)),
    ]
}

/// C5. As "live" in C4, on two threads that look at the same context. The cost is what one call
/// takes on the thread that makes it.
pub(super) fn two_threads(bench: &Bench) -> Vec<Line> {
    let figures = bench.compare(
        |iterations| {
            let (context, _canceler) = Context::background().with_cancel();
            clock_on_two_threads(iterations, || context.is_done())
        },
        |iterations| {
            let token = CancellationToken::new();
            clock_on_two_threads(iterations, || token.is_cancelled())
        },
    );
    vec![Line::time("C5", "is_done, 2 threads, 1 context", figures, TOKIO_UTIL, Target::Faster(30.0))]
}

const ANCESTORS: usize = 10;

fn first_looks(bench: &Bench) -> [Figure; 2] {
    // Few enough chains to lie in the cache they were built in.
    let chains = 100;
    let batches = bench.size(20, 1);
    let mut ours = || {
        each_looked_at_once(batches, chains, our_chain, |(contexts, _)| contexts.last().is_some_and(Context::is_done))
    };
    let mut rivals = || {
        each_looked_at_once(batches, chains, rivals_chain, |tokens| {
            tokens.last().is_some_and(CancellationToken::is_cancelled)
        })
    };
    bench.pair(bench.many_rounds(), &mut ours, &mut rivals)
}

fn each_looked_at_once<C>(
    batches: usize,
    chains: usize,
    chain: fn() -> C,
    look: impl Fn(&C) -> bool,
) -> Option<[f64; 1]> {
    let costs: Vec<f64> = (0..batches)
        .map(|_| {
            let chains: Vec<C> = (0..chains).map(|_| chain()).collect();
            let start = Instant::now();
            for chain in &chains {
                black_box(look(chain));
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

fn one_token(iterations: u64) -> Timing {
    let token = CancellationToken::new();
    clock(iterations, || token.is_cancelled())
}
