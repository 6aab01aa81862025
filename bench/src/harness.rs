//! How a row is measured: sides take turns, round after round, and the medians are compared.

use std::array;
use std::cell::OnceCell;
use std::hint::{self, black_box};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{self, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::go::Go;
use crate::preemption::Preemptions;
use crate::progress::Progress;

/// Long enough that nothing with this timeout ends during a run.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// One sample should last about this long: far above the clock's own cost, below a scheduler's time
/// slice.
const SAMPLE: Duration = Duration::from_millis(2);

/// One side of a comparison. Called once a round; sets up fresh state, measures it, and gives one
/// value per figure, or nothing when the side cannot run here.
pub(crate) type Side<'a, const M: usize> = &'a mut dyn FnMut() -> Option<[f64; M]>;

/// What every row is given.
pub(crate) struct Bench {
    test: bool,
    go: OnceCell<Go>,
    progress: Progress,
}

impl Bench {
    pub(crate) fn new(test: bool) -> Self {
        Bench { test, go: OnceCell::new(), progress: Progress::default() }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The Go rival, built the first time a row asks for it.
    pub(crate) fn go(&self) -> &Go {
        self.go.get_or_init(|| Go::build(self.test, &self.progress))
    }

    /// `full`, or `tiny` when the rows are only tried out.
    pub(crate) fn size<T>(&self, full: T, tiny: T) -> T {
        if self.test { tiny } else { full }
    }

    /// Rounds of a row whose samples take a few milliseconds.
    pub(crate) fn many_rounds(&self) -> usize {
        self.size(31, 1)
    }

    /// Rounds of a row whose samples take seconds.
    pub(crate) fn few_rounds(&self) -> usize {
        self.size(7, 1)
    }

    /// Lets the sides take turns, A B B A, so that whatever slows the machine for a while slows all
    /// of them, and none always comes after the other.
    pub(crate) fn interleave<const N: usize, const M: usize>(
        &self,
        rounds: usize,
        sides: [Side<'_, M>; N],
    ) -> [[Figure; M]; N] {
        let mut figures = array::from_fn(|_| array::from_fn(|_| Figure::default()));
        for round in 1..=rounds {
            self.progress.round(round, rounds);
            let order: [usize; N] = array::from_fn(|turn| if round % 2 == 0 { N - 1 - turn } else { turn });
            for number in order {
                let figures: &mut [Figure; M] = &mut figures[number];
                for (value, figure) in sides[number]().into_iter().flatten().zip(figures) {
                    figure.samples.push(value);
                }
            }
        }
        figures
    }

    /// As [`Bench::interleave`], for the usual two sides with one figure each: ours, then the rival's.
    pub(crate) fn pair(&self, rounds: usize, ours: Side<'_, 1>, rivals: Side<'_, 1>) -> [Figure; 2] {
        self.interleave(rounds, [ours, rivals]).map(|[figure]| figure)
    }

    /// A side whose figure is the cost of one call in nanoseconds. `sample` sets up fresh state and
    /// times as many calls as it is told to; how many make a good sample is found out in the first
    /// round, which also warms the side up.
    pub(crate) fn per_call(&self, sample: impl Fn(u64) -> Timing) -> impl FnMut() -> Option<[f64; 1]> {
        let mut iterations = self.size(None, Some(16));
        move || {
            let iterations = *iterations.get_or_insert_with(|| calibrate(&sample));
            Some([nanoseconds(undisturbed(&sample, iterations)) / iterations as f64])
        }
    }

    /// The commonest comparison: the cost of one call of ours and of one call of the rival's.
    pub(crate) fn compare(&self, ours: impl Fn(u64) -> Timing, rival: impl Fn(u64) -> Timing) -> [Figure; 2] {
        self.pair(self.many_rounds(), &mut self.per_call(ours), &mut self.per_call(rival))
    }
}

/// All samples of one figure, in the order they were taken. Times are in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    samples: Vec<f64>,
}

impl Figure {
    pub(crate) fn samples(&self) -> &[f64] {
        &self.samples
    }

    /// None when the side did not run.
    pub(crate) fn median(&self) -> Option<f64> {
        percentile(&self.samples, 50)
    }

    /// What is left when `bare`, measured in the same rounds, is taken away; never less than nothing.
    pub(crate) fn over(&self, bare: &Figure) -> Figure {
        Figure {
            samples: self.samples.iter().zip(&bare.samples).map(|(whole, bare)| (whole - bare).max(0.0)).collect(),
        }
    }
}

/// The value below which `percent` of a hundred lie; the median for 50.
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).copied()
}

pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// What [`clock`] measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    taken: Duration,
    start: Instant,
    /// Whether something else had a part in it.
    disturbed: bool,
}

/// A sample that shared its core with another program has measured that program too; it is taken
/// again, unless the machine is so busy that this does not help.
fn undisturbed(sample: impl Fn(u64) -> Timing, iterations: u64) -> Duration {
    const ATTEMPTS: usize = 32;
    let mut timing = sample(iterations);
    for _ in 1..ATTEMPTS {
        if !timing.disturbed {
            break;
        }
        timing = sample(iterations);
    }
    timing.taken
}

fn calibrate(sample: impl Fn(u64) -> Timing) -> u64 {
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

/// Times `iterations` calls in a row. What a call gives is looked at, then dropped, within the
/// time.
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

/// As [`clock`], on two threads at once that both make `iterations` calls; gives the mean of what
/// each took.
pub(crate) fn clock_on_two_threads<T>(iterations: u64, call: impl Fn() -> T + Sync) -> Timing {
    Threads::Two.clock(iterations, call)
}

/// How many threads make the calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Threads {
    One,
    Two,
}

impl Threads {
    pub(crate) const ALL: [Threads; 2] = [Threads::One, Threads::Two];

    /// What a line's name ends in.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Threads::One => "",
            Threads::Two => ", 2 threads",
        }
    }

    /// As [`clock`] or [`clock_on_two_threads`].
    pub(crate) fn clock<T>(self, iterations: u64, call: impl Fn() -> T + Sync) -> Timing {
        self.clock_each(iterations, |_| &call)
    }

    /// As [`Threads::clock`], where each thread, 0 or 1, makes its own call beforehand, with whatever
    /// it does not share.
    pub(crate) fn clock_each<T, C: FnMut() -> T>(self, iterations: u64, make: impl Fn(usize) -> C + Sync) -> Timing {
        self.at_once(|thread| {
            let call = make(thread);
            move || clock(iterations, call)
        })
    }

    /// As [`Threads::clock_each`], where each thread has one task in which it awaits its calls in a row.
    /// They need no waking.
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

    /// Lets each thread prepare and then all of them measure at once.
    fn at_once<S: FnOnce() -> Timing>(self, prepare: impl Fn(usize) -> S + Sync) -> Timing {
        let threads = match self {
            Threads::One => 1,
            Threads::Two => 2,
        };
        let arrived = AtomicUsize::new(0);
        // Spinning, because a thread woken from sleep would come so late that the two hardly met. One
        // thread takes the same way, so that the call is compiled into one loop for both.
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
                // On a busy machine two threads may well run one after the other.
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

/// Times `work` as a task that was spawned on `runtime`, polled by its workers.
pub(crate) fn clock_spawned(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) -> Timing {
    // The work may move from one thread to another.
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

/// Polls until the future is ready; for futures that need no waking.
pub(crate) fn poll_to_end<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    loop {
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return output;
        }
    }
}
