//! C9, C10 and C11: the cost of a cancel, and the delay of other threads.

use std::cell::Cell;
use std::hint;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use ripcord::{Canceler, Context};
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, Measured};
use crate::preemption::Preemptions;
use crate::report::{Line, TOKIO_UTIL, Target};
use crate::timing::{nanoseconds, poll};

/// C9. A parent has a million children, and a boxed future waits on each child, like the future of a spawned task. Our futures are
/// `done()`, and the rival's are `cancelled()`. Each future is polled once with a waker that does nothing. The figure is the time
/// of the parent's `cancel()` per child. Afterwards every future is ready. (Futures in a `Vec` without boxes wake faster on both
/// sides, and ours gain more.) The floor is to wake a million wakers in separate allocations.
pub(super) fn with_waiters(bench: &Bench) -> Vec<Line> {
    let count = bench.size(MILLION, 1000);
    let per_child = |taken: Duration| Some([nanoseconds(taken) / count as f64]);
    let mut ours = || {
        let (parent, canceler) = Context::background().with_cancel();
        let waiters = wait_on_all(count, || our_waiter(&parent));
        let taken = time(|| canceler.cancel());
        expect_ready(waiters);
        per_child(taken)
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        let waiters = wait_on_all(count, || rivals_waiter(&parent));
        let taken = time(|| parent.cancel());
        expect_ready(waiters);
        per_child(taken)
    };
    let mut wakes = || per_child(WakerCells::new(count).wake_all());
    let [[ours], [rivals], [wakes]] = bench.interleave(bench.few_rounds(), [&mut ours, &mut rivals, &mut wakes]);
    let measured = Measured::new(ours, rivals).with_floor("wake", wakes);
    vec![Line::time("C9", "cancel 1M waited-on children, per child", measured, TOKIO_UTIL, Target::Ratio(2.0))]
}

/// C10. The same as C9, without waiters. Afterwards every child is done.
pub(super) fn without_waiters(bench: &Bench) -> Vec<Line> {
    let count = bench.size(MILLION, 1000);
    let per_child = |taken: Duration| Some([nanoseconds(taken) / count as f64]);
    let mut ours = || {
        let (parent, canceler) = Context::background().with_cancel();
        let children: Vec<(Context, Canceler)> = (0..count).map(|_| parent.with_cancel()).collect();
        let taken = time(|| canceler.cancel());
        assert!(children.iter().all(|(child, _)| child.is_done()));
        per_child(taken)
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        let children: Vec<CancellationToken> = (0..count).map(|_| parent.child_token()).collect();
        let taken = time(|| parent.cancel());
        assert!(children.iter().all(CancellationToken::is_cancelled));
        per_child(taken)
    };
    let [[ours], [rivals]] = bench.interleave(bench.few_rounds(), [&mut ours, &mut rivals]);
    let measured = Measured::new(ours, rivals);
    vec![Line::time("C10", "cancel 1M unwatched children, per child", measured, TOKIO_UTIL, Target::Ratio(100.0))]
}

/// C11. While the cancel of C9 runs, another thread calls `is_done()` on the parent without a pause (the rival's:
/// `is_cancelled()`). The figure is the time of the longest call.
///
/// Every machine occasionally takes a core away for tens of microseconds. The floor measures this effect in each round: the same
/// loop without a call, for as long as our cancel took. The floor is subtracted from both sides.
pub(super) fn longest_check(bench: &Bench) -> Vec<Line> {
    let count = bench.size(MILLION, 1000);
    let canceling = Cell::new(Duration::ZERO);
    let mut ours = || {
        let (parent, canceler) = Context::background().with_cancel();
        let waiters = wait_on_all(count, || our_waiter(&parent));
        let cancel = || canceling.set(time(|| canceler.cancel()));
        let longest = longest_call_during(cancel, || parent.is_done());
        expect_ready(waiters);
        Some([nanoseconds(longest)])
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        let waiters = wait_on_all(count, || rivals_waiter(&parent));
        let longest = longest_call_during(|| parent.cancel(), || parent.is_cancelled());
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
        Some([nanoseconds(longest_call_during(spin, || false))])
    };
    let [[ours], [rivals], [nothing]] = bench.interleave(bench.few_rounds(), [&mut ours, &mut rivals, &mut nothing]);
    let measured = Measured::new(ours.over(&nothing), rivals.over(&nothing)).with_floor("no call", nothing);
    let what = "longest is_done on the root during C9, over the floor";
    vec![Line::time("C11", what, measured, TOKIO_UTIL, Target::AtMost(50_000.0))]
}

/// Wakers in separate allocations, for the floor of a cancel that wakes.
pub(super) struct WakerCells(Vec<Arc<Mutex<Option<Waker>>>>);

impl WakerCells {
    pub(super) fn new(count: usize) -> Self {
        WakerCells((0..count).map(|_| Arc::new(Mutex::new(Some(Waker::noop().clone())))).collect())
    }

    /// Takes and wakes each waker. Returns the time.
    pub(super) fn wake_all(self) -> Duration {
        time(|| {
            for cell in &self.0 {
                if let Some(waker) = cell.lock().expect("no waker panics").take() {
                    waker.wake();
                }
            }
        })
    }
}

const MILLION: usize = 1_000_000;

/// Calls that take longer than this are checked for a preemption.
const LONG_CALL: Duration = Duration::from_micros(5);

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
        assert!(poll(waiter.as_mut()).is_pending(), "nothing was canceled yet");
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

/// Makes calls on another thread while `cancel` runs. Returns the time of the longest call.
fn longest_call_during(cancel: impl FnOnce(), call: impl Fn() -> bool + Sync) -> Duration {
    let calling = AtomicBool::new(false);
    let canceled = AtomicBool::new(false);
    thread::scope(|scope| {
        let observer = scope.spawn(|| {
            let mut preemptions = Preemptions::of_this_thread();
            let mut longest = Duration::ZERO;
            calling.store(true, SeqCst);
            let mut start = Instant::now();
            while !canceled.load(SeqCst) {
                hint::black_box(call());
                let end = Instant::now();
                let taken = end - start;
                start = end;
                let mut preempted = false;
                if taken > LONG_CALL {
                    // The sides do not cause preemptions. The check is slow, so it is made only here, and the clock restarts after
                    // it.
                    preempted = preemptions.happened();
                    start = Instant::now();
                }
                if !preempted {
                    longest = longest.max(taken);
                }
            }
            longest
        });
        while !calling.load(SeqCst) {
            thread::yield_now();
        }
        cancel();
        canceled.store(true, SeqCst);
        observer.join().expect("a call does not panic")
    })
}
