//! C13, C14, C18 and C19: futures under a timeout, and the lateness of timeouts.

use std::future::ready;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{self, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ripcord::{Context, DoneOwned};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::cancel::WakerCells;
use crate::alloc::live_bytes;
use crate::floor::Floor;
use crate::harness::{Bench, Figure, HOUR, Measured, percentile};
use crate::report::{Line, TOKIO, TOKIO_UTIL, Target};
use crate::timing::{Timing, clock, nanoseconds, poll, poll_to_end};

/// C13. Under a live parent, both sides run a future that is ready at once, with a timeout of an hour, and drop everything. Ours is
/// `with_timeout` and `run`. The rival's is a child token, its `run_until_cancelled`, and `tokio::time::timeout` around it, which
/// is the cheaper of the two orders. Both are polled by hand, inside a tokio runtime.
pub(super) fn run_ready(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| ours_around(iterations, || ready(1)),
        |iterations| rivals_around(iterations, || ready(1)),
        Floor::clock_read(),
    );
    vec![Line::time("C13", "with_timeout + run(ready)", measured, TOKIO_UTIL, Target::Ratio(1.8)).within_floor(3.0)]
}

/// C14. The same as C13, with a future that is pending once and then ready. The cost of polling the bare future, measured in the
/// same rounds, is subtracted from both sides.
pub(super) fn run_pending_once(bench: &Bench) -> Vec<Line> {
    let mut ours = bench.per_call(|iterations| ours_around(iterations, PendingOnce::default));
    let mut rivals = bench.per_call(|iterations| rivals_around(iterations, PendingOnce::default));
    let mut bare = bench.per_call(|iterations| clock(iterations, || poll_to_end(pin!(PendingOnce::default()))));
    let floor = Floor::clock_read();
    let mut lowest = bench.per_call(|iterations| floor.sample(iterations));
    let [[ours], [rivals], [bare], [lowest]] =
        bench.interleave(bench.many_rounds(), [&mut ours, &mut rivals, &mut bare, &mut lowest]);
    let measured = Measured::new(ours.over(&bare), rivals.over(&bare)).with_floor(floor.name, lowest);
    let what = "with_timeout + run(pending once), over the future";
    vec![Line::time("C14", what, measured, TOKIO_UTIL, Target::Ratio(1.6))]
}

/// C18. A million contexts under one live parent have the same deadline, two seconds ahead, and a waker waits on each context. One
/// thread waits for the contexts one after another until all are done. The figure is the time from the deadline until the last
/// context is done. Go does the same with a million `WithDeadline` contexts, from whose `Done()` channels one goroutine receives in
/// turn. (A goroutine per context, as in most Go programs, makes Go several times later.) The floor is to wake a million wakers.
///
/// Memory: a million contexts with a timeout of an hour and a waiting waker, against a million boxed `tokio::time::sleep`s that
/// were polled once. All bytes count, including the `Vec`.
pub(super) fn a_million_at_once(bench: &Bench) -> Vec<Line> {
    let count = bench.size(1_000_000, 1000);
    let ahead = bench.size(Duration::from_secs(2), Duration::from_millis(50));
    let go = bench.go();
    let mut ours = || Some([nanoseconds(lateness_of_last(count, ahead))]);
    let mut wakes = || Some([nanoseconds(WakerCells::new(count).wake_all())]);
    let [[ours], [gos], [wakes]] =
        bench.interleave(bench.few_rounds(), [&mut ours, &mut || go.figure("C18"), &mut wakes]);
    let late = Measured::new(ours, gos).with_floor("1M wakes", wakes);

    let runtime = current_thread();
    let mut timeouts = || {
        let (parent, _canceler) = Context::background().with_cancel();
        let deadline = Instant::now() + HOUR;
        let (_waits, bytes) = live_bytes(|| wait_on_all(&parent, count, deadline, Waker::noop()));
        Some([bytes as f64 / count as f64])
    };
    let mut sleeps = || {
        let (_sleeps, bytes) = live_bytes(|| sleep_all(&runtime, count));
        Some([bytes as f64 / count as f64])
    };
    let [[timeouts], [sleeps]] = bench.interleave(1, [&mut timeouts, &mut sleeps]);
    let bytes = Measured::new(timeouts, sleeps);
    vec![
        Line::time("C18", "1M timeouts at one instant, last one late by", late, go.rival(), Target::AtMost(0.5e9)),
        Line::bytes("C18", "bytes per waited-on timeout", bytes, TOKIO, Target::Within(1.0)),
    ]
}

/// C19. Timeouts of 1 ms are awaited one after another, and the lateness of each is recorded. A round gives the median and the 99th
/// percentile of 200 timeouts. Ours is `with_timeout(1 ms)` and its `done()`, tokio's is `sleep(1 ms)`, and both run in a
/// current-thread runtime. Go's is `WithTimeout` and its `Done()`. Between two timeouts, every side is busy for the same uneven
/// times of up to a millisecond, because a timer that counts whole milliseconds would otherwise always start just after a tick. The
/// floor is `std::thread::sleep`.
pub(super) fn lateness(bench: &Bench) -> Vec<Line> {
    let timeouts = bench.size(200, 3);
    let go = bench.go();
    let runtime = current_thread();
    let mut ours = || {
        let (parent, _canceler) = Context::background().with_cancel();
        late(&runtime, timeouts, || async {
            parent.with_timeout(MILLISECOND).done().await;
        })
    };
    let mut sleeps = || late(&runtime, timeouts, || tokio::time::sleep(MILLISECOND));
    let mut thread_sleeps = || late(&runtime, timeouts, || async { thread::sleep(MILLISECOND) });
    let figures = bench.interleave(
        bench.few_rounds(),
        [&mut ours, &mut sleeps, &mut || go.figures("C19", ["C19.p50", "C19.p99"]), &mut thread_sleeps],
    );
    let [ours, tokio, gos, floor] = figures;
    let line = |what: &str, index: usize, rivals: &[Figure; 2], rival| {
        let measured = Measured::new(ours[index].clone(), rivals[index].clone());
        let measured = measured.with_floor("thread::sleep", floor[index].clone());
        Line::time("C19", format!("1 ms timeout late by, {what}"), measured, rival, Target::NoWorse(0.05))
    };
    vec![
        line("p50", 0, &tokio, TOKIO),
        line("p99", 1, &tokio, TOKIO),
        line("p50", 0, &gos, go.rival()),
        line("p99", 1, &gos, go.rival()),
    ]
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without threads can be built")
}

fn ours_around<F: Future>(iterations: u64, future: impl Fn() -> F) -> Timing {
    let runtime = current_thread();
    let _entered = runtime.enter();
    let (parent, _canceler) = Context::background().with_cancel();
    clock(iterations, || {
        let context = parent.with_timeout(HOUR);
        poll_to_end(pin!(context.run(future()))).is_ok()
    })
}

fn rivals_around<F: Future>(iterations: u64, future: impl Fn() -> F) -> Timing {
    let runtime = current_thread();
    let _entered = runtime.enter();
    let parent = CancellationToken::new();
    clock(iterations, || {
        let child = parent.child_token();
        poll_to_end(pin!(tokio::time::timeout(HOUR, child.run_until_cancelled(future())))).is_ok()
    })
}

#[derive(Default)]
struct PendingOnce {
    polled: bool,
}

impl Future for PendingOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        if self.polled {
            return Poll::Ready(());
        }
        self.polled = true;
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A waker that unparks the waiting thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn lateness_of_last(count: usize, ahead: Duration) -> Duration {
    let (parent, _canceler) = Context::background().with_cancel();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut task = task::Context::from_waker(&waker);
    let deadline = Instant::now() + ahead;
    let mut waits = wait_on_all(&parent, count, deadline, &waker);
    for wait in &mut waits {
        while Pin::new(&mut *wait).poll(&mut task).is_pending() {
            thread::park();
        }
    }
    deadline.elapsed()
}

fn wait_on_all(parent: &Context, count: usize, deadline: Instant, waker: &Waker) -> Vec<DoneOwned> {
    let mut task = task::Context::from_waker(waker);
    let mut waits: Vec<DoneOwned> = (0..count).map(|_| parent.with_deadline(deadline).done_owned()).collect();
    for wait in &mut waits {
        assert!(Pin::new(wait).poll(&mut task).is_pending(), "the deadline passed before all contexts had a waiter");
    }
    waits
}

fn sleep_all(runtime: &Runtime, count: usize) -> Vec<Pin<Box<Sleep>>> {
    let _entered = runtime.enter();
    let mut sleeps: Vec<Pin<Box<Sleep>>> = (0..count).map(|_| Box::pin(tokio::time::sleep(HOUR))).collect();
    for sleep in &mut sleeps {
        assert!(poll(sleep.as_mut()).is_pending(), "the hour has not passed");
    }
    sleeps
}

fn late<F: Future<Output = ()>>(runtime: &Runtime, timeouts: usize, wait: impl Fn() -> F) -> Option<[f64; 2]> {
    let mut lateness = Vec::with_capacity(timeouts);
    let mut pauses = Pauses::default();
    runtime.block_on(async {
        for _ in 0..timeouts {
            let pause = pauses.next();
            let until = Instant::now() + pause;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            wait().await;
            lateness.push(nanoseconds(start.elapsed()) - nanoseconds(MILLISECOND));
        }
    });
    Some([percentile(&lateness, 50)?, percentile(&lateness, 99)?])
}

/// Uneven pauses below a millisecond, the same for all sides. go/main.go has a copy.
#[derive(Default)]
struct Pauses {
    state: u32,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Duration::from_nanos(u64::from(self.state >> 12) % 1_000_000)
    }
}
