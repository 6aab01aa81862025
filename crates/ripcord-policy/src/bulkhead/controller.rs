//! A limit that follows the latency measured under it.
//!
//! Calls that find a free server take as long as a call takes; calls beyond that wait inside the callee and take longer, so
//! latency over its unloaded value tells by how much the limit is too high. The same is told by the share of calls that
//! fail, in a callee that sheds load. Both are a *gradient*, 1 when all is well:
//!
//! * `tolerance * unloaded latency / latency`, over the calls that succeeded;
//! * `succeeded / (succeeded + failed)`.
//!
//! The smaller of the two, within 0.5 to 1, times the limit and its square root, is the next limit. So an unloaded callee is
//! tried with a few calls more in each window, one that takes longer or fails gets fewer at once, and a callee that serves `n`
//! calls at a time at its unloaded latency is given between `n` and some `tolerance * n + sqrt(n)`.
//!
//! # Invariants
//!
//! 1. A window judges by the calls that began in it, as what was sent under an earlier limit says nothing about this one;
//!    and by nearly all of them: a window that ended before its slowest calls would see the quick ones only. Neutral ends
//!    are not judged by.
//! 2. The unloaded latency is only ever taken from a window under a low limit: the least one at the beginning, then half of
//!    the limit from time to time, or whenever no more than half of the limit is used anyway. It is never taken from a loaded
//!    callee, so it cannot creep up with the load.
//! 3. Changes of the size are differences, to be applied after unlocking in any order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use super::AdaptiveLimit;
use crate::Outcome;

/// Calls that have to begin in a window, and how many of them have to say something.
const ENOUGH: u32 = 20;
const ENOUGH_SAID: u32 = 10;
/// No window changes the limit by more than this.
const STEEPEST: f64 = 0.5;

/// The limit, and what is measured under it.
pub(super) struct Controller {
    settings: AdaptiveLimit,
    clock: Clock,
    /// The limit in force, to be read without the lock that it is written under.
    in_force: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    /// What the limit has come to, exactly. While the unloaded latency is measured, a lower one is in force.
    limit: f64,
    measuring: bool,
    unloaded: Option<Duration>,
    measured_at: Instant,
    under_way: usize,
    window: Window,
}

/// The calls that begin within a time.
struct Window {
    /// Tells it from earlier ones.
    number: u64,
    /// None until enough of the calls sent under a higher limit have ended.
    since: Option<Instant>,
    /// Calls that began in it, and those of them that have ended.
    started: u32,
    ended: u32,
    succeeded: u32,
    failed: u32,
    /// The sum over those that succeeded.
    latency: Duration,
    /// The most under way at once.
    peak: usize,
}

/// What is noted of a call when it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    at: Instant,
    /// The window it began in.
    window: Option<u64>,
}

/// A limit that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: usize,
    pub(super) new: usize,
}

impl Controller {
    /// Begins by measuring, under the least limit.
    pub(super) fn new(settings: AdaptiveLimit, initial: usize, clock: Clock) -> Self {
        let now = clock.now();
        let state = State {
            limit: initial as f64,
            measuring: true,
            unloaded: None,
            measured_at: now,
            under_way: 0,
            window: Window::new(0, Some(now), 0),
        };
        Self { in_force: AtomicUsize::new(settings.min_limit), settings, clock, state: Mutex::new(state) }
    }

    /// The limit in force.
    pub(super) fn limit(&self) -> usize {
        self.in_force.load(Ordering::Relaxed)
    }

    pub(super) fn unloaded_latency(&self) -> Option<Duration> {
        self.lock().unloaded
    }

    /// A call begins.
    pub(super) fn begin(&self) -> Started {
        let at = self.clock.now();
        let mut state = self.lock();
        state.under_way += 1;
        let under_way = state.under_way;
        let window = &mut state.window;
        window.peak = window.peak.max(under_way);
        if !window.takes(at, self.settings.window) {
            return Started { at, window: None };
        }
        window.started += 1;
        Started { at, window: Some(window.number) }
    }

    /// A call has ended. The change is to be applied by the caller. (Invariant 3.)
    pub(super) fn end(&self, started: Started, outcome: Outcome) -> Option<Change> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.under_way -= 1;
        let old = self.limit();
        if state.window.since.is_none() && state.under_way <= old {
            state.window = Window::new(state.window.number + 1, Some(now), state.under_way);
        } else if started.window == Some(state.window.number) {
            state.window.count(now.saturating_duration_since(started.at), outcome);
        }
        if state.window.is_over(now, self.settings.window) {
            self.close_window(&mut state, now);
        }
        let new = self.limit();
        (new != old).then_some(Change { old, new })
    }

    fn close_window(&self, state: &mut State, now: Instant) {
        let AdaptiveLimit { tolerance, remeasure_every, .. } = self.settings;
        let number = state.window.number + 1;
        if state.window.succeeded + state.window.failed < ENOUGH_SAID {
            state.window = Window::new(number, Some(now), state.under_way);
            return;
        }
        let average = state.window.average();
        // As little load as a measurement would put on the callee.
        let low = state.window.peak * 2 <= self.limit();
        if state.measuring || low {
            state.unloaded = average.or(state.unloaded);
            state.measured_at = now;
        }
        if !std::mem::take(&mut state.measuring) {
            let gradient = state.window.gradient(average, state.unloaded, tolerance);
            let next = gradient * (state.limit + state.limit.sqrt());
            // A limit that is not made use of is no limit that has been tried.
            if next < state.limit || !low {
                state.limit = next.clamp(self.settings.min_limit as f64, self.settings.max_limit as f64);
            }
            state.measuring = now.saturating_duration_since(state.measured_at) >= remeasure_every;
        }
        let whole = if state.measuring { state.limit / 2.0 } else { state.limit };
        let limit = (whole as usize).max(self.settings.min_limit);
        self.in_force.store(limit, Ordering::Relaxed);
        // Invariant 2: what was sent under the higher limit has to be over before a measurement begins.
        let settled = !state.measuring || state.under_way <= limit;
        state.window = Window::new(number, settled.then_some(now), state.under_way);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(number: u64, since: Option<Instant>, under_way: usize) -> Self {
        Self { number, since, started: 0, ended: 0, succeeded: 0, failed: 0, latency: Duration::ZERO, peak: under_way }
    }

    /// Whether a call that begins now belongs to it.
    fn takes(&self, now: Instant, length: Duration) -> bool {
        self.since.is_some_and(|since| self.started < ENOUGH || now.saturating_duration_since(since) < length)
    }

    /// Whether it takes no more calls and nearly all that it took have ended. (Invariant 1.) Not all, as one may hang.
    fn is_over(&self, now: Instant, length: Duration) -> bool {
        let ended = u64::from(self.ended) * 10 >= u64::from(self.started) * 9;
        ended && self.since.is_some() && !self.takes(now, length)
    }

    fn count(&mut self, took: Duration, outcome: Outcome) {
        self.ended += 1;
        match outcome {
            Outcome::Success => {
                self.succeeded += 1;
                self.latency = self.latency.saturating_add(took);
            }
            Outcome::Failure => self.failed += 1,
            Outcome::Neutral => {}
        }
    }

    fn average(&self) -> Option<Duration> {
        (self.succeeded > 0).then(|| self.latency / self.succeeded)
    }

    /// By how much the limit is to shrink, if it is below 1.
    fn gradient(&self, average: Option<Duration>, unloaded: Option<Duration>, tolerance: f64) -> f64 {
        let served = f64::from(self.succeeded) / f64::from(self.succeeded + self.failed);
        let quick = match (average, unloaded) {
            (Some(average), Some(unloaded)) if !average.is_zero() => {
                tolerance * unloaded.as_secs_f64() / average.as_secs_f64()
            }
            _ => 1.0,
        };
        served.min(quick).clamp(STEEPEST, 1.0)
    }
}
