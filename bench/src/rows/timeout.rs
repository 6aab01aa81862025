//! C13, C14, C18 and C19: futures under a timeout, and how late timeouts are.

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

use crate::alloc::live_bytes;
use crate::harness::{Bench, Figure, HOUR, Side, Timing, clock, nanoseconds, percentile, poll, poll_to_end};
use crate::report::{Line, TOKIO, TOKIO_UTIL, Target};

/// C13. Under a living parent, both sides run a future that is ready at once, with a timeout of an
/// hour, and drop everything. Ours: `with_timeout` and `run`. The rival's: a child token, its
/// `run_until_cancelled`, and `tokio::time::timeout` around that, which is the cheaper of the two
/// orders. Both are polled by hand, inside a tokio runtime.
pub(super) fn run_ready(bench: &Bench) -> Vec<Line> {
    let figures = bench
        .compare(|iterations| ours_over(iterations, || ready(1)), |iterations| rivals_over(iterations, || ready(1)));
    vec![Line::time("C13", "with_timeout + run(ready)", figures, TOKIO_UTIL, Target::Faster(2.5))]
}

/// C14. As C13 with a future that is pending the first time and ready the second. What the future
/// costs when it is polled by itself, measured in the same round, is taken away from both sides.
pub(super) fn run_pending_once(bench: &Bench) -> Vec<Line> {
    let mut ours = bench.per_call(|iterations| ours_over(iterations, PendingOnce::default));
    let mut rivals = bench.per_call(|iterations| rivals_over(iterations, PendingOnce::default));
    let mut bare = bench.per_call(|iterations| clock(iterations, || poll_to_end(pin!(PendingOnce::default()))));
    let sides: [Side<'_, 1>; 3] = [&mut ours, &mut rivals, &mut bare];
    let [[ours], [rivals], [bare]] = bench.interleave(bench.many_rounds(), sides);
    let figures = [ours.over(&bare), rivals.over(&bare)];
    vec![Line::time(
        "C14",
        "with_timeout + run(pending once), over the future",
        figures,
        TOKIO_UTIL,
        Target::Faster(2.0),
    )]
}

/// C18. A million contexts under one living parent have the same deadline, two seconds ahead, and a
/// waker waits on each. One thread then waits for them one after the other until it has seen all of
/// them done; the figure is how long after the deadline that is. Go does the same with a million
/// `WithDeadline` contexts, whose `Done()` channels one goroutine receives from in turn: a
/// goroutine for each, as a Go program would have, makes it several times later.
///
/// Memory: a million of these, an hour ahead, against as many boxed `tokio::time::sleep`s that were
/// polled once. Everything is counted, the `Vec` they lie in included.
pub(super) fn a_million_at_once(bench: &Bench) -> Vec<Line> {
    let count = bench.size(1_000_000, 1000);
    let ahead = bench.size(Duration::from_secs(2), Duration::from_millis(50));
    let go = bench.go();
    let mut ours = || Some([nanoseconds(last_one_late(count, ahead))]);
    let late = bench.pair(bench.few_rounds(), &mut ours, &mut || go.figure("C18"));

    let runtime = current_thread();
    let mut timeouts = || {
        let (parent, _canceler) = Context::background().with_cancel();
        let deadline = Instant::now() + HOUR;
        let (_waits, bytes) = live_bytes(|| wait_on_all(&parent, count, deadline, Waker::noop()));
        Some([bytes / count as f64])
    };
    let mut sleeps = || {
        let (_sleeps, bytes) = live_bytes(|| sleep_all(&runtime, count));
        Some([bytes / count as f64])
    };
    let bytes = bench.pair(1, &mut timeouts, &mut sleeps);
    vec![
        Line::time("C18", "1M timeouts at one instant, last one late by", late, go.rival(), Target::AtMost(0.5e9)),
        Line::bytes("C18", "bytes per waited-on timeout", bytes, TOKIO, Target::NoMore),
    ]
}

/// C19. One after the other, timeouts of 1 ms are waited for, and how late each comes is noted; a
/// round gives the median and the 99th of a hundred. Ours: `with_timeout(1 ms)` and its `done()`;
/// tokio's: `sleep(1 ms)`; both in a current-thread runtime. Go's: `WithTimeout` and its `Done()`.
/// Between two of them every side keeps busy for the same uneven times, up to a millisecond, since
/// a timer that counts whole milliseconds would otherwise always be asked just after one began.
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
    let sides: [Side<'_, 2>; 3] = [&mut ours, &mut sleeps, &mut || go.figures("C19", ["C19.p50", "C19.p99"])];
    let [[ours_median, ours_tail], [tokio_median, tokio_tail], [go_median, go_tail]] =
        bench.interleave(bench.few_rounds(), sides);
    let line = |percentile: &str, ours: &Figure, rivals: Figure, rival, target| {
        Line::time("C19", format!("1 ms timeout late by, {percentile}"), [ours.clone(), rivals], rival, target)
    };
    vec![
        line("p50", &ours_median, tokio_median, TOKIO, Target::NoWorse),
        line("p99", &ours_tail, tokio_tail, TOKIO, Target::NoWorse),
        line("p50", &ours_median, go_median, go.rival(), Target::Shown),
        line("p99", &ours_tail, go_tail, go.rival(), Target::Shown),
    ]
}

const MILLISECOND: Duration = Duration::from_millis(1);

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime without threads can be built")
}

fn ours_over<F: Future>(iterations: u64, future: impl Fn() -> F) -> Timing {
    let runtime = current_thread();
    let _entered = runtime.enter();
    let (parent, _canceler) = Context::background().with_cancel();
    clock(iterations, || {
        let context = parent.with_timeout(HOUR);
        poll_to_end(pin!(context.run(future()))).is_ok()
    })
}

fn rivals_over<F: Future>(iterations: u64, future: impl Fn() -> F) -> Timing {
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

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

fn last_one_late(count: usize, ahead: Duration) -> Duration {
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
        assert!(Pin::new(wait).poll(&mut task).is_pending(), "the deadline came before all were waited on");
    }
    waits
}

fn sleep_all(runtime: &Runtime, count: usize) -> Vec<Pin<Box<Sleep>>> {
    let _entered = runtime.enter();
    let mut sleeps: Vec<Pin<Box<Sleep>>> = (0..count).map(|_| Box::pin(tokio::time::sleep(HOUR))).collect();
    for sleep in &mut sleeps {
        assert!(poll(sleep.as_mut()).is_pending(), "an hour is not over yet");
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

/// The same uneven pauses for everybody, below a millisecond; go/main.go has them too.
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
