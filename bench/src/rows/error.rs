//! C20: what asking a done context why costs.

use ripcord::Context;

use crate::harness::{Bench, clock, clock_on_two_threads};
use crate::report::{Line, Target};

/// C20. A child of a living parent has been canceled. Ours calls `err()` and drops what it gives,
/// Go calls `Err()`; on one thread, then on two that share the context, where the cost is what one
/// call takes on the thread that makes it.
pub(super) fn done(bench: &Bench) -> Vec<Line> {
    let go = bench.go();
    let mut one = bench.per_call(|iterations| {
        let context = canceled();
        clock(iterations, || context.err())
    });
    let one = bench.pair(bench.many_rounds(), &mut one, &mut || go.figure("C20.1"));

    let mut two = bench.per_call(|iterations| {
        let context = canceled();
        clock_on_two_threads(iterations, || context.err())
    });
    let two = bench.pair(bench.many_rounds(), &mut two, &mut || go.figure("C20.2"));
    vec![
        Line::time("C20", "err on a done context", one, go.rival(), Target::Faster(3.0)),
        Line::time("C20", "err on a done context, 2 threads", two, go.rival(), Target::Faster(3.0)),
    ]
}

fn canceled() -> Context {
    let (parent, _canceler) = Context::background().with_cancel();
    let (context, canceler) = parent.with_cancel();
    canceler.cancel();
    context
}
