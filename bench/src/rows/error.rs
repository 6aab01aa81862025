//! C20: the cost of reading the error of an ended context.

use ripcord::Context;

use crate::floor::Floor;
use crate::harness::Bench;
use crate::report::{Line, Target};
use crate::timing::Threads;

/// C20. A child of a live parent has been canceled. Ours calls `err()` and drops the result, and Go calls `Err()`: on one thread,
/// then on two threads that share the context. With two threads, the cost is the time of one call on its thread.
pub(super) fn done(bench: &Bench) -> Vec<Line> {
    let measure = |threads: Threads, measurement| {
        let measured = bench.compare_with_go(
            |iterations| {
                let context = canceled();
                threads.clock(iterations, || context.err())
            },
            measurement,
            Floor::load(threads),
        );
        let what = format!("err on a done context{}", threads.suffix());
        Line::time("C20", what, measured, bench.go().rival(), Target::Ratio(3.0))
    };
    vec![measure(Threads::One, "C20.1"), measure(Threads::Two, "C20.2")]
}

fn canceled() -> Context {
    let (parent, _canceler) = Context::background().with_cancel();
    let (context, canceler) = parent.with_cancel();
    canceler.cancel();
    context
}
