//! C12: what a context weighs.

use ripcord::{Canceler, Context};
use tokio_util::sync::CancellationToken;

use crate::alloc::live_bytes;
use crate::harness::{Bench, HOUR, Side};
use crate::report::{Line, TOKIO_UTIL, Target};

/// C12. A hundred thousand children of one living parent are made and kept, with what cancels them,
/// and nobody waits on any; the bytes that are live because of them, as asked of the allocator, are
/// shared out. The handles lie in a `Vec` that is not counted.
///
/// * without a timeout: ours `with_cancel()`; tokio-util's `child_token()`, Go's `WithCancel`;
/// * with a timeout of an hour: ours `with_timeout`, Go's `WithTimeout`.
///
/// Go's count is what its heap grows by, which is rounded up to its size classes.
pub(super) fn per_child(bench: &Bench) -> Vec<Line> {
    let count = bench.size(100_000, 1000);
    let go = bench.go();

    let mut without = || {
        let (parent, _canceler) = Context::background().with_cancel();
        Some([bytes_each::<(Context, Canceler)>(count, || parent.with_cancel())])
    };
    let mut tokens = || {
        let parent = CancellationToken::new();
        Some([bytes_each(count, || parent.child_token())])
    };
    let sides: [Side<'_, 1>; 3] = [&mut without, &mut tokens, &mut || go.figure("C12.without")];
    let [[without], [tokens], [go_without]] = bench.interleave(bench.few_rounds(), sides);

    let mut with_timeout = || {
        let (parent, _canceler) = Context::background().with_cancel();
        Some([bytes_each(count, || parent.with_timeout(HOUR))])
    };
    let [with_timeout, go_with] = bench.pair(bench.few_rounds(), &mut with_timeout, &mut || go.figure("C12.with"));

    vec![
        Line::bytes("C12", "bytes per child", [without.clone(), tokens], TOKIO_UTIL, Target::AtMost(112.0)),
        Line::bytes("C12", "bytes per child", [without, go_without], go.rival(), Target::Shown),
        Line::bytes(
            "C12",
            "bytes per child with a timeout",
            [with_timeout, go_with],
            go.rival(),
            Target::AtMost(128.0),
        ),
    ]
}

fn bytes_each<T>(count: usize, make: impl Fn() -> T) -> f64 {
    let mut kept = Vec::with_capacity(count);
    let ((), bytes) = live_bytes(|| kept.extend((0..count).map(|_| make())));
    bytes / count as f64
}
