//! C12: the size of a context.

use ripcord::{Canceler, Context};
use tokio_util::sync::CancellationToken;

use crate::alloc::live_bytes;
use crate::harness::{Bench, HOUR, Measured};
use crate::report::{Line, TOKIO_UTIL, Target};

/// C12. A hundred thousand children of one live parent are created and kept with their cancelers, without waiters. The figure is
/// the number of bytes requested from the allocator, per child. The `Vec` of the handles is not counted.
///
/// * without a timeout: ours is `with_cancel()`, tokio-util's `child_token()`, Go's `WithCancel`;
/// * with a timeout of an hour: ours is `with_timeout`, Go's `WithTimeout`.
///
/// Go's figure is the growth of its heap, which includes the rounding to its size classes.
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
    let [[without], [tokens], [go_without]] =
        bench.interleave(bench.few_rounds(), [&mut without, &mut tokens, &mut || go.figure("C12.without")]);

    let mut with_timeout = || {
        let (parent, _canceler) = Context::background().with_cancel();
        Some([bytes_each(count, || parent.with_timeout(HOUR))])
    };
    let [[with_timeout], [go_with]] =
        bench.interleave(bench.few_rounds(), [&mut with_timeout, &mut || go.figure("C12.with")]);

    let line = |what, ours, rivals, rival, target| Line::bytes("C12", what, Measured::new(ours, rivals), rival, target);
    vec![
        line("bytes per child", without.clone(), tokens, TOKIO_UTIL, Target::AtMost(112.0)),
        line("bytes per child", without, go_without, go.rival(), Target::Shown),
        line("bytes per child with a timeout", with_timeout, go_with, go.rival(), Target::AtMost(128.0)),
    ]
}

fn bytes_each<T>(count: usize, make: impl Fn() -> T) -> f64 {
    let mut kept = Vec::with_capacity(count);
    let ((), bytes) = live_bytes(|| kept.extend((0..count).map(|_| make())));
    bytes as f64 / count as f64
}
