//! Measures a row: its sides take turns, round after round, and their medians are compared.

use std::array;
use std::cell::OnceCell;
use std::time::Duration;

use crate::floor::Floor;
use crate::go::Go;
use crate::progress::Progress;
use crate::timing::{Timing, calibrate, nanoseconds, undisturbed};

/// A timeout that never expires during a run.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// One side of a comparison, called once per round. It creates fresh state, measures it, and returns one value per figure, or
/// `None` if the side cannot run on this machine.
pub(crate) type Side<'a, const M: usize> = &'a mut dyn FnMut() -> Option<[f64; M]>;

/// The harness, which every row gets.
pub(crate) struct Bench {
    test: bool,
    go: OnceCell<Go>,
    progress: Progress,
}

impl Bench {
    pub(crate) fn new(test: bool) -> Self {
        Bench { test, go: OnceCell::new(), progress: Progress::new() }
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns the Go rival. The first call builds it.
    pub(crate) fn go(&self) -> &Go {
        self.go.get_or_init(|| Go::build(self.test, &self.progress))
    }

    /// Returns `full`, or `tiny` under `--test`.
    pub(crate) fn size<T>(&self, full: T, tiny: T) -> T {
        if self.test { tiny } else { full }
    }

    /// Number of rounds of a row whose samples take milliseconds.
    pub(crate) fn many_rounds(&self) -> usize {
        self.size(31, 1)
    }

    /// Number of rounds of a row whose samples take seconds.
    pub(crate) fn few_rounds(&self) -> usize {
        self.size(7, 1)
    }

    /// Measures all sides in turn, in the order A B B A. So a slow phase of the machine affects all sides, and no side always
    /// follows the same other side.
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

    /// Creates a side whose figure is the cost of one call in nanoseconds. `sample` creates fresh state and times the given
    /// number of calls. The first round finds a suitable number, which also warms up the side.
    pub(crate) fn per_call(&self, sample: impl Fn(u64) -> Timing) -> impl FnMut() -> Option<[f64; 1]> {
        let mut iterations = self.size(None, Some(16));
        move || {
            let iterations = *iterations.get_or_insert_with(|| calibrate(&sample));
            Some([nanoseconds(undisturbed(&sample, iterations)) / iterations as f64])
        }
    }

    /// Compares the costs of one call of ours, of the rival and of the floor. Most rows need no more.
    pub(crate) fn compare(
        &self,
        ours: impl Fn(u64) -> Timing,
        rival: impl Fn(u64) -> Timing,
        floor: Floor,
    ) -> Measured {
        self.measure(self.many_rounds(), &mut self.per_call(ours), &mut self.per_call(rival), floor)
    }

    /// Does the same as [`Bench::compare`], against a measurement of the Go program.
    pub(crate) fn compare_with_go(&self, ours: impl Fn(u64) -> Timing, measurement: &str, floor: Floor) -> Measured {
        let go = self.go();
        self.measure(self.many_rounds(), &mut self.per_call(ours), &mut || go.figure(measurement), floor)
    }

    fn measure(&self, rounds: usize, ours: Side<'_, 1>, rivals: Side<'_, 1>, floor: Floor) -> Measured {
        let mut lowest = self.per_call(|iterations| floor.sample(iterations));
        let [[ours], [rivals], [lowest]] = self.interleave(rounds, [ours, rivals, &mut lowest]);
        Measured::new(ours, rivals).with_floor(floor.name, lowest)
    }
}

/// The figures of one line.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) ours: Figure,
    pub(crate) rivals: Figure,
    /// The floor's name and figure. Bytes have no floor.
    pub(crate) floor: Option<(&'static str, Figure)>,
}

impl Measured {
    pub(crate) fn new(ours: Figure, rivals: Figure) -> Self {
        Measured { ours, rivals, floor: None }
    }

    pub(crate) fn with_floor(self, name: &'static str, figure: Figure) -> Self {
        Measured { floor: Some((name, figure)), ..self }
    }
}

/// All samples of one figure, in the order of the rounds. Times are in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    samples: Vec<f64>,
}

impl FromIterator<f64> for Figure {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Figure { samples: samples.into_iter().collect() }
    }
}

impl Figure {
    pub(crate) fn samples(&self) -> &[f64] {
        &self.samples
    }

    /// Returns `None` if the side did not run.
    pub(crate) fn median(&self) -> Option<f64> {
        percentile(&self.samples, 50)
    }

    /// Subtracts `bare`, which was measured in the same rounds. Negative results become zero.
    pub(crate) fn over(&self, bare: &Figure) -> Figure {
        self.samples.iter().zip(&bare.samples).map(|(whole, bare)| (whole - bare).max(0.0)).collect()
    }
}

/// Returns the smallest value that is above `percent` percent of the values. 50 gives the median.
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() * percent / 100).copied()
}
