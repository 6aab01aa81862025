//! The system's clock: one thread for all deadlines of the process.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use super::clock::ticks_of_system;
use super::timers::Timers;
use super::{coarse, timer_slack};

/// Maximum time, in nanoseconds, by which the coarse clock is behind. The clock's tick is 1 to 10 ms. After five missed ticks,
/// another processor updates the clock.
const BEHIND: i64 = 120_000_000;

/// The start of the ticks, on both clocks.
struct Base {
    exact: Instant,
    /// `None` if the system has no coarse clock.
    coarse: Option<i64>,
}

#[inline]
fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        // Read in this order, both exactly, so that the coarse clock never shows more ticks than the exact clock.
        let exact = Instant::now();
        Base { exact, coarse: coarse::exact_since_boot() }
    })
}

/// Returns when this process first read the clock.
#[inline]
pub(super) fn start() -> Instant {
    base().exact
}

/// Returns the time, which may be a few milliseconds old.
#[inline]
fn coarse_ticks() -> i64 {
    match (base().coarse, coarse::since_boot()) {
        (Some(start), Some(now)) => now.saturating_sub(start).max(0),
        _ => ticks_of_system(),
    }
}

/// Returns whether `when` has been reached. For a deadline that is far away, the coarse clock suffices, at a third of the cost.
#[inline]
pub(super) fn has_come(when: i64) -> bool {
    when.saturating_sub(coarse_ticks()) < BEHIND && when <= ticks_of_system()
}

/// Returns the armed deadlines on the system's clock.
pub(super) fn timers() -> &'static Timers {
    static TIMERS: OnceLock<Timers> = OnceLock::new();
    TIMERS.get_or_init(|| Timers::wheel(alarm))
}

/// Wakes the timer thread for an earlier deadline. The first call starts the thread.
///
/// If the thread cannot be started, the next call tries again. `is_done` and `err` do not depend on the thread, because they
/// read the clock.
fn alarm() -> bool {
    static THREAD: Mutex<Option<Thread>> = Mutex::new(None);
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    match &*thread {
        // An unpark before the park is kept, so no alarm is lost.
        Some(thread) => thread.unpark(),
        None => {
            let started = std::thread::Builder::new().name("ripcord-timer".to_owned()).spawn(drive);
            *thread = started.ok().map(|handle| handle.thread().clone());
        }
    }
    thread.is_some()
}

fn drive() {
    timer_slack::disable();
    loop {
        let now = ticks_of_system();
        let Some(next) = timers().fire(now) else { continue };
        // A waker that parked this thread may have consumed the unpark of an alarm. No user code runs from here on.
        if timers().sleeps_until() < next {
            continue;
        }
        if next == i64::MAX {
            std::thread::park();
        } else {
            let left = next.saturating_sub(ticks_of_system());
            if left > 0 {
                std::thread::park_timeout(Duration::from_nanos(left.unsigned_abs()));
            }
        }
    }
}
