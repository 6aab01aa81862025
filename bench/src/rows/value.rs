//! C16: the cost of finding a value.

use std::hint::black_box;

use ripcord::{Context, Value};

use crate::floor::Floor;
use crate::harness::Bench;
use crate::report::{Line, Target};
use crate::timing::{Threads, Timing, clock};

/// C16. Each context of a chain of 100 has one value, and each value has its own key type. The last context of the chain looks up
/// its own value (depth 1), the values 10 and 100 contexts up, and an absent value. Go's chain is the same, and its keys also have
/// distinct types.
pub(super) fn look_up(bench: &Bench) -> Vec<Line> {
    let line = |what, sample: fn(u64) -> Timing, measurement, target| {
        let measured = bench.compare_with_go(sample, measurement, Floor::load(Threads::One));
        Line::time("C16", what, measured, bench.go().rival(), Target::Ratio(target))
    };
    vec![
        line("value at depth 1", |iterations| find::<1>(iterations, true), "C16.1", 2.0),
        line("value at depth 10", |iterations| find::<10>(iterations, true), "C16.10", 3.0),
        line("value at depth 100", |iterations| find::<100>(iterations, true), "C16.100", 20.0),
        line("value absent, through 100", |iterations| find::<0>(iterations, false), "C16.absent", 20.0),
    ]
}

/// The value `DEPTH` contexts up.
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
