//! C9, C10, C11 and C17: what a cancel costs, whom it holds up, and how soon it is felt.

use std::cell::Cell;
use std::hint;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use ripcord::{Canceler, Context};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, Side, nanoseconds, percentile, poll};
use crate::preemption::Preemptions;
use crate::report::{Line, TOKIO_UTIL, Target};

/// C9. A parent has a million children, and a boxed future waits on each, as a spawned task would
/// be: ours on `done()`, the rival's on `cancelled()`, each polled once with a waker that does
/// nothing. The time is that of the parent's `cancel()`, shared out among the children. Every
/// future is found ready afterwards. (Side by side in a `Vec`, without boxes, the futures are
/// quicker to wake on both sides, and ours gain more.)
pub(super) fn with_waiters(bench: &Bench) -> Vec<Line> {
    let children = bench.size(MILLION, 1000);
    let mut ours = || {
        let (parent, canceler) = Context::background().with_cancel();
        let waiters = wait_on_all(children, || our_waiter(&parent));
        let taken = time(|| canceler.cancel());
        expect_ready(waiters);
        Some([nanoseconds(taken) / children as f64])
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        let waiters = wait_on_all(children, || rivals_waiter(&parent));
        let taken = time(|| parent.cancel());
        expect_ready(waiters);
        Some([nanoseconds(taken) / children as f64])
    };
    let figures = bench.pair(bench.few_rounds(), &mut ours, &mut rivals);
    vec![Line::time("C9", "cancel 1M waited-on children, per child", figures, TOKIO_UTIL, Target::Faster(2.0))]
}

/// C10. As C9 with nobody waiting: the children only exist. All are found done afterwards.
pub(super) fn without_waiters(bench: &Bench) -> Vec<Line> {
    let count = bench.size(MILLION, 1000);
    let mut ours = || {
        let (parent, canceler) = Context::background().with_cancel();
        let children: Vec<(Context, Canceler)> = (0..count).map(|_| parent.with_cancel()).collect();
        let taken = time(|| canceler.cancel());
        assert!(children.iter().all(|(child, _)| child.is_done()));
        Some([nanoseconds(taken) / count as f64])
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        let children: Vec<CancellationToken> = (0..count).map(|_| parent.child_token()).collect();
        let taken = time(|| parent.cancel());
        assert!(children.iter().all(CancellationToken::is_cancelled));
        Some([nanoseconds(taken) / count as f64])
    };
    let figures = bench.pair(bench.few_rounds(), &mut ours, &mut rivals);
    vec![Line::time("C10", "cancel 1M unwatched children, per child", figures, TOKIO_UTIL, Target::Faster(100.0))]
}

/// C11. While the cancel of C9 runs, another thread calls `is_done()` (the rival's:
/// `is_cancelled()`) on the parent without a pause, and the longest of these calls is noted.
///
/// Every machine takes a core away for tens of microseconds now and then, whatever runs on it. How
/// long is measured in each round by the same loop with nothing called in it, for as long as our
/// cancel took, and is taken away from both sides. The second line shows what was measured.
pub(super) fn longest_check(bench: &Bench) -> Vec<Line> {
    let children = bench.size(MILLION, 1000);
    let canceling = Cell::new(Duration::ZERO);
    let mut ours = || {
        let (parent, canceler) = Context::background().with_cancel();
        let waiters = wait_on_all(children, || our_waiter(&parent));
        let cancel = || canceling.set(time(|| canceler.cancel()));
        let longest = longest_look_during(cancel, || parent.is_done());
        expect_ready(waiters);
        Some([nanoseconds(longest)])
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        let waiters = wait_on_all(children, || rivals_waiter(&parent));
        let longest = longest_look_during(|| parent.cancel(), || parent.is_cancelled());
        expect_ready(waiters);
        Some([nanoseconds(longest)])
    };
    let mut nothing = || {
        let until = Instant::now() + canceling.get();
        let spin = || {
            while Instant::now() < until {
                hint::spin_loop();
            }
        };
        Some([nanoseconds(longest_look_during(spin, || false))])
    };
    let sides: [Side<'_, 1>; 3] = [&mut ours, &mut rivals, &mut nothing];
    let [[ours], [rivals], [nothing]] = bench.interleave(bench.few_rounds(), sides);
    let over_nothing = [ours.over(&nothing), rivals.over(&nothing)];
    vec![
        Line::time("C11", "longest is_done on the root during C9", over_nothing, TOKIO_UTIL, Target::AtMost(50_000.0)),
        Line::time("C11", "the same with the machine's own pauses", [ours, rivals], TOKIO_UTIL, Target::Shown),
    ]
}

/// C17. On a runtime of two workers, one task waits on a child of a living parent and another
/// cancels it. The time is from just before `cancel()` to the first thing the woken task does; the
/// figure of a round is the median of its wakes.
pub(super) fn across_tasks(bench: &Bench) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("the runtime's threads can be started");
    let wakes = bench.size(1000, 5);
    let mut ours = || {
        let (parent, _canceler) = Context::background().with_cancel();
        median_wake(&runtime, wakes, move || {
            let (child, canceler) = parent.with_cancel();
            (async move { _ = child.done().await }, move || canceler.cancel())
        })
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        median_wake(&runtime, wakes, move || {
            let child = parent.child_token();
            let token = child.clone();
            (async move { child.cancelled().await }, move || token.cancel())
        })
    };
    let figures = bench.pair(bench.many_rounds(), &mut ours, &mut rivals);
    vec![Line::time("C17", "cancel to wake, across tokio tasks", figures, TOKIO_UTIL, Target::NoWorse)]
}

const MILLION: usize = 1_000_000;

/// A look that takes longer than this is looked into.
const GLANCE: Duration = Duration::from_micros(5);

async fn wait_on(child: Context, _canceler: Canceler) {
    child.done().await;
}

fn our_waiter(parent: &Context) -> impl Future<Output = ()> + use<> {
    let (child, canceler) = parent.with_cancel();
    wait_on(child, canceler)
}

fn rivals_waiter(parent: &CancellationToken) -> impl Future<Output = ()> + use<> {
    let child = parent.child_token();
    async move { child.cancelled().await }
}

fn wait_on_all<F: Future>(count: usize, waiter: impl Fn() -> F) -> Vec<Pin<Box<F>>> {
    let mut waiters: Vec<Pin<Box<F>>> = (0..count).map(|_| Box::pin(waiter())).collect();
    for waiter in &mut waiters {
        assert!(poll(waiter.as_mut()).is_pending(), "nothing has been canceled yet");
    }
    waiters
}

fn expect_ready<F: Future>(mut waiters: Vec<Pin<Box<F>>>) {
    assert!(waiters.iter_mut().all(|waiter| poll(waiter.as_mut()).is_ready()), "a child outlived its parent's end");
}

fn time(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

/// Looks from another thread for as long as `cancel` runs, and gives the longest time one look
/// took.
fn longest_look_during(cancel: impl FnOnce(), look: impl Fn() -> bool + Sync) -> Duration {
    let looking = AtomicBool::new(false);
    let canceled = AtomicBool::new(false);
    thread::scope(|scope| {
        let observer = scope.spawn(|| {
            let mut preemptions = Preemptions::of_this_thread();
            let mut longest = Duration::ZERO;
            looking.store(true, SeqCst);
            let mut start = Instant::now();
            while !canceled.load(SeqCst) {
                hint::black_box(look());
                let end = Instant::now();
                let taken = end - start;
                start = end;
                let mut preempted = false;
                if taken > GLANCE {
                    // A core taken away by the scheduler says nothing of either side. Asking takes a
                    // while itself, hence only here and with the time begun anew.
                    preempted = preemptions.happened();
                    start = Instant::now();
                }
                if !preempted {
                    longest = longest.max(taken);
                }
            }
            longest
        });
        while !looking.load(SeqCst) {
            thread::yield_now();
        }
        cancel();
        canceled.store(true, SeqCst);
        observer.join().expect("a look does not panic")
    })
}

/// `pair` gives a future that waits and what ends its waiting.
fn median_wake<W, C>(runtime: &Runtime, wakes: usize, pair: impl Fn() -> (W, C) + Send + 'static) -> Option<[f64; 1]>
where
    W: Future<Output = ()> + Send + 'static,
    C: FnOnce() + Send + 'static,
{
    let canceling = async move {
        let mut latencies = Vec::with_capacity(wakes);
        for _ in 0..wakes {
            let (waiting, cancel) = pair();
            latencies.push(nanoseconds(wake(waiting, cancel).await));
        }
        latencies
    };
    let latencies = runtime.block_on(async { tokio::spawn(canceling).await.expect("no task panics") });
    percentile(&latencies, 50).map(|median| [median])
}

async fn wake(waiting: impl Future<Output = ()> + Send + 'static, cancel: impl FnOnce()) -> Duration {
    let parked = Arc::new(AtomicBool::new(false));
    let waiter = tokio::spawn({
        let parked = Arc::clone(&parked);
        async move {
            let mut waiting = pin!(waiting);
            std::future::poll_fn(|task| {
                let polled = waiting.as_mut().poll(task);
                if polled.is_pending() {
                    parked.store(true, SeqCst);
                }
                polled
            })
            .await;
            Instant::now()
        }
    });
    while !parked.load(SeqCst) {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    cancel();
    waiter.await.expect("waiting does not panic") - start
}
