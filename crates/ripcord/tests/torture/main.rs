//! Random use of the core by several threads: trees, merges of related contexts, conversions, groups, and hostile user code.
//!
//! Conditions that must always hold:
//!
//! 1. When `cancel` returns, every context below is done.
//! 2. No end is taken back. Once a context was seen done, all of its methods report the end, with the same cause.
//! 3. A child of a done context is done.
//!
//! Conditions at the end of a round, when everything has been canceled and dropped:
//!
//! 4. Each waiter whose last poll was pending has been woken.
//! 5. Each value and each function has been dropped.
//!
//! A failure prints its seed. `RIPCORD_TORTURE_SEED=N` starts with that seed. The order of the threads still varies, so a
//! failure may need several runs. `RIPCORD_TORTURE_SECONDS=N` sets a longer run. `scripts/soak` runs it for minutes.

#![expect(clippy::print_stderr, reason = "the seed repeats a failure")]

mod hostile;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::world::World;

const THREADS: u64 = if cfg!(miri) { 2 } else { 4 };
/// Number of steps of a thread in one round.
const STEPS: usize = if cfg!(miri) { 30 } else { 400 };
const SECONDS: u64 = if cfg!(miri) { 0 } else { 3 };
/// The first is longer than any wait within a round, the second is longer than a round.
const HANG: Duration = Duration::from_secs(20);
const ROUND_HANGS: Duration = Duration::from_secs(60);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

#[test]
fn torture() {
    hostile::silence_deliberate_panics();
    let started = Instant::now();
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).expect("the year is after 1970");
    let first = number("RIPCORD_TORTURE_SEED").unwrap_or(since_epoch.as_nanos() as u64);
    // A process that aborts prints no other seed. For this line, scripts/soak and scripts/sanitize pass `--nocapture`.
    eprintln!("RIPCORD_TORTURE_SEED={first}");
    let length = Duration::from_secs(number("RIPCORD_TORTURE_SECONDS").unwrap_or(SECONDS));
    for seed in first.. {
        let run = thread::Builder::new().name(format!("torture, RIPCORD_TORTURE_SEED={seed}"));
        let round = run.spawn(move || round(seed)).expect("a thread");
        wait_for(&format!("RIPCORD_TORTURE_SEED={seed}: a round hangs"), ROUND_HANGS, || round.is_finished());
        assert!(round.join().is_ok(), "failed with RIPCORD_TORTURE_SEED={seed}");
        if started.elapsed() >= length {
            break;
        }
    }
}

/// Runs one world, from its root until all of its contexts have ended.
fn round(seed: u64) {
    let world = World::new();
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (world, failed) = (&world, &failed);
            scope.spawn(move || {
                let mut random = Random::new(seed.wrapping_mul(THREADS).wrapping_add(thread));
                let fails = FailsOnPanic(failed);
                for _ in 0..STEPS {
                    if failed.load(Ordering::Relaxed) {
                        break;
                    }
                    world.step(&mut random);
                }
                drop(fails);
            });
        }
    });
    world.end();
}

/// Stops the other threads when this one panics.
struct FailsOnPanic<'a>(&'a AtomicBool);

impl Drop for FailsOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Waits for a condition that other threads make true. Panics if the wait is far too long.
fn wait_for(what: &str, hangs: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < hangs, "{what}");
        thread::yield_now();
    }
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // The state must not be zero.
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
