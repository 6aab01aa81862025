//! C16: what finding a value costs.

use std::hint::black_box;

use ripcord::{Context, Value};

use crate::harness::{Bench, Timing, clock};
use crate::report::{Line, Target};

/// C16. A chain of contexts carries one value each, every one under a key of its own type. The last
/// of the chain is asked for the value it carries itself (depth 1), for those that lie 10 and 100
/// contexts up, and for one that is nowhere, through 100. Go's chain is the same, its keys being of
/// distinct types too.
pub(super) fn look_up(bench: &Bench) -> Vec<Line> {
    let go = bench.go();
    let measure = |name, sample: &dyn Fn(u64) -> Timing| {
        let mut ours = bench.per_call(sample);
        bench.pair(bench.many_rounds(), &mut ours, &mut || go.figure(name))
    };
    let first = measure("C16.1", &|iterations| find::<1>(iterations, true));
    let tenth = measure("C16.10", &|iterations| find::<10>(iterations, true));
    let hundredth = measure("C16.100", &|iterations| find::<100>(iterations, true));
    let absent = measure("C16.absent", &|iterations| find::<0>(iterations, false));
    vec![
        Line::time("C16", "value at depth 1", first, go.rival(), Target::Faster(2.0)),
        Line::time("C16", "value at depth 10", tenth, go.rival(), Target::Faster(5.0)),
        Line::time("C16", "value at depth 100", hundredth, go.rival(), Target::Faster(20.0)),
        Line::time("C16", "value absent, through 100", absent, go.rival(), Target::Faster(50.0)),
    ]
}

/// The value that lies `DEPTH` contexts up.
struct At<const DEPTH: u64>(u64);

impl<const DEPTH: u64> Value for At<DEPTH> {}

fn find<const DEPTH: u64>(iterations: u64, present: bool) -> Timing {
    let context = chain();
    assert_eq!(context.value::<At<DEPTH>>().map(|value| value.0), present.then_some(DEPTH));
    clock(iterations, || black_box(&context).value::<At<DEPTH>>().map(|value| value.0))
}

macro_rules! with_values {
    ($context:expr, $($depth:literal)*) => { $context$(.with_value(At::<$depth>($depth)))* };
}

#[rustfmt::skip]
fn chain() -> Context {
    with_values!(Context::background(),
        100 99 98 97 96 95 94 93 92 91 90 89 88 87 86 85 84 83 82 81 80 79 78 77 76 75 74 73 72 71 70 69 68 67 66 65 64 63 62 61
        60 59 58 57 56 55 54 53 52 51 50 49 48 47 46 45 44 43 42 41 40 39 38 37 36 35 34 33 32 31 30 29 28 27 26 25 24 23 22 21
        20 19 18 17 16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1)
}
