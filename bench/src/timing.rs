//! Times calls in a loop, on one thread or two.

use std::hint::{self, black_box};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{self, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::preemption::Preemptions;

/// The target duration of one sample: far longer than a clock read, shorter than a scheduler's time slice.
const SAMPLE: Duration = Duration::from_millis(2);

/// One timed loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    taken: Duration,
    start: Instant,
    /// Whether the sample also measured another program, or the two threads did not run at the same time.
    disturbed: bool,
}

/// The longest time for which a disturbed sample is repeated. It bounds the run on a machine that is always busy.
const PATIENCE: Duration = Duration::from_millis(50);

/// Takes a sample, and repeats it while it is disturbed.
pub(crate) fn undisturbed(sample: impl Fn(u64) -> Timing, iterations: u64) -> Duration {
    let start = Instant::now();
    loop {
        let timing = sample(iterations);
        if !timing.disturbed || start.elapsed() > PATIENCE {
            return timing.taken;
        }
    }
}

/// Returns the number of iterations that take about as long as a sample should.
pub(crate) fn calibrate(sample: impl Fn(u64) -> Timing) -> u64 {
    let mut iterations = 64;
    loop {
        let taken = undisturbed(&sample, iterations);
        if taken * 2 >= SAMPLE {
            let scale = SAMPLE.as_secs_f64() / taken.as_secs_f64();
            return ((iterations as f64 * scale) as u64).max(1);
        }
        iterations *= 2;
    }
}

/// Times `iterations` calls, including the drop of each result.
pub(crate) fn clock<T>(iterations: u64, mut call: impl FnMut() -> T) -> Timing {
    clock_once(|| {
        for _ in 0..iterations {
            black_box(call());
        }
    })
}

fn clock_once(work: impl FnOnce()) -> Timing {
    let mut preemptions = Preemptions::of_this_thread();
    let start = Instant::now();
    work();
    let taken = start.elapsed();
    Timing { taken, start, disturbed: preemptions.happened() }
}

/// The number of threads that make the calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    One,
    Two,
}

impl Threads {
    pub(crate) const ALL: [Threads; 2] = [Threads::One, Threads::Two];

    /// The end of a line's name.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Threads::One => "",
            Threads::Two => ", 2 threads",
        }
    }

    /// Times `iterations` calls on each thread, like [`clock`]. Returns the mean over the threads.
    pub(crate) fn clock<T>(self, iterations: u64, call: impl Fn() -> T + Sync) -> Timing {
        self.clock_each(iterations, |_| &call)
    }

    /// Does the same as [`Threads::clock`], but `make` first creates the call of each thread, which is number 0 or 1.
    pub(crate) fn clock_each<T, C: FnMut() -> T>(self, iterations: u64, make: impl Fn(usize) -> C + Sync) -> Timing {
        self.at_once(|thread| {
            let call = make(thread);
            move || clock(iterations, call)
        })
    }

    /// Does the same as [`Threads::clock_each`] for asynchronous calls. Each thread awaits its calls one after another in one task.
    /// The calls must not need a waker.
    pub(crate) fn await_each<T, C: AsyncFnMut() -> T>(
        self,
        iterations: u64,
        make: impl Fn(usize) -> C + Sync,
    ) -> Timing {
        self.at_once(|thread| {
            let mut call = make(thread);
            move || {
                let mut task = pin!(async {
                    for _ in 0..iterations {
                        black_box(call().await);
                    }
                });
                clock_once(|| poll_to_end(task.as_mut()))
            }
        })
    }

    /// Runs `prepare` on each thread, waits for all threads, then takes their samples at the same time.
    fn at_once<S: FnOnce() -> Timing>(self, prepare: impl Fn(usize) -> S + Sync) -> Timing {
        let threads = match self {
            Threads::One => 1,
            Threads::Two => 2,
        };
        let arrived = AtomicUsize::new(0);
        // Threads spin, because a sleeping thread wakes too late to overlap with the other thread. One thread runs the same code as
        // two, so that the compiler generates the same loop for both.
        let run = |thread| {
            let sample = prepare(thread);
            arrived.fetch_add(1, SeqCst);
            let mut spins = 0_u32;
            while arrived.load(SeqCst) < threads {
                spins += 1;
                if spins.is_multiple_of(1000) {
                    thread::yield_now();
                }
                hint::spin_loop();
            }
            sample()
        };
        thread::scope(|scope| {
            let run = &run;
            let other = (threads > 1).then(|| scope.spawn(move || run(1)));
            let here = run(0);
            let Some(other) = other else { return here };
            let there = other.join().expect("the measured call does not panic");
            let apart = here.start.max(there.start) - here.start.min(there.start);
            Timing {
                taken: (here.taken + there.taken) / 2,
                start: here.start.min(there.start),
                // On a busy machine the two threads may run one after the other.
                disturbed: here.disturbed || there.disturbed || apart > here.taken / 10,
            }
        })
    }
}

/// Times `work` as the main task of `runtime`, polled on this thread.
pub(crate) fn clock_main(runtime: &Runtime, work: impl Future<Output = ()>) -> Timing {
    let mut preemptions = Preemptions::of_all_threads();
    let start = Instant::now();
    runtime.block_on(work);
    let taken = start.elapsed();
    Timing { taken, start, disturbed: preemptions.happened() }
}

/// Times `work` as a spawned task of `runtime`, polled by its workers.
pub(crate) fn clock_spawned(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> Timing {
    // The task may move from one thread to another.
    let mut preemptions = Preemptions::of_all_threads();
    let timed = runtime.spawn(async {
        let start = Instant::now();
        work.await;
        (start, start.elapsed())
    });
    let (start, taken) = runtime.block_on(timed).expect("the measured task does not panic");
    Timing { taken, start, disturbed: preemptions.happened() }
}

/// Polls once with a waker that does nothing.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}

/// Polls until the future is ready. The future must not need a waker.
pub(crate) fn poll_to_end<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    loop {
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return output;
        }
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
