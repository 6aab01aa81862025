//! C4 and C5: what looking costs.

use ripcord::Context;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, HOUR, clock, clock_on_two_threads};
use crate::report::{Line, TOKIO_UTIL, Target};

/// C4. Ours calls `is_done()` and the rival `is_cancelled()` in a loop, on a context that stays
/// live:
///
/// * live: one that has no ancestors that could end;
/// * through 10 ancestors: the last of a chain of which each could be canceled, and nobody has
///   waited on any;
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
            let mut cancelers = Vec::new();
            let mut context = Context::background();
            for _ in 0..=ANCESTORS {
                let (child, canceler) = context.with_cancel();
                cancelers.push(canceler);
                context = child;
            }
            clock(iterations, || context.is_done())
        },
        |iterations| {
            let mut chain = vec![CancellationToken::new()];
            for ancestor in 0..ANCESTORS {
                chain.push(chain[ancestor].child_token());
            }
            let token = &chain[ANCESTORS];
            clock(iterations, || token.is_cancelled())
        },
    );
    let under_a_deadline = bench.compare(
        |iterations| {
            let context = Context::background().with_timeout(HOUR);
            clock(iterations, || context.is_done())
        },
        one_token,
    );
    vec![
        Line::time(
            "C4",
            "is_done, live",
            live,
            TOKIO_UTIL,
            Target::Faster(15.0),
        ),
        Line::time(
            "C4",
            "is_done, through 10 ancestors",
            through_ancestors,
            TOKIO_UTIL,
            Target::Faster(2.0),
        ),
        Line::time(
            "C4",
            "is_done, under a deadline",
            under_a_deadline,
            TOKIO_UTIL,
            Target::Faster(5.0),
        ),
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
    vec![Line::time(
        "C5",
        "is_done, 2 threads, 1 context",
        figures,
        TOKIO_UTIL,
        Target::Faster(30.0),
    )]
}

const ANCESTORS: usize = 10;

fn one_token(iterations: u64) -> std::time::Duration {
    let token = CancellationToken::new();
    clock(iterations, || token.is_cancelled())
}
