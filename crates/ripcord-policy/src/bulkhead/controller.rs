//! A limit that follows the measured latency.
//!
//! A call that finds a free server in the callee has the unloaded latency. Further calls wait inside the callee and take longer.
//! So the latency divided by the unloaded latency shows by how much the limit is too high. In a callee that sheds load, the share
//! of failed calls shows the same. Both give a *gradient*, which is 1 when the limit is not too high:
//!
//! * `tolerance * unloaded latency / latency`, over the calls that succeeded;
//! * `succeeded / (succeeded + failed)`.
//!
//! The smaller gradient is clamped to 0.5 to 1. The next limit is this gradient times the sum of the limit and its square root.
//! So the limit grows by a few calls per window while the callee is not loaded, and shrinks at once when calls take longer or
//! fail. A callee that serves `n` calls at a time with its unloaded latency gets between `n` and about `tolerance * n + sqrt(n)`
//! calls.
//!
//! # Invariants
//!
//! 1. A window judges only calls that started in it, because a call sent under an earlier limit says nothing about the present
//!    limit. The window waits for nearly all of its calls: a window that closed before its slowest calls would see only the fast
//!    calls. Neutral calls do not count.
//! 2. The unloaded latency is only measured in a window with low load: at first under the minimum limit, then from time to time
//!    under half of the calls that the callee serves at once, and whenever at most that many calls are in flight. The callee
//!    serves about `limit * unloaded latency / latency` calls at once, which is less than the limit while the limit is too high.
//!    So a value that was measured under load is at least halved by each further measurement, until it is right.
//! 3. A change of the limit is a difference, so the caller can apply changes after unlocking, in any order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use super::AdaptiveLimit;
use crate::Outcome;

/// The minimum number of calls that start in a window.
const MIN_STARTED: u32 = 20;
/// The minimum number of calls of a window that succeed or fail. With fewer calls, the window does not change the limit.
const MIN_JUDGED: u32 = 10;
/// The smallest gradient.
const MIN_GRADIENT: f64 = 0.5;

/// The limit, and the measurements under it.
pub(super) struct Controller {
    settings: AdaptiveLimit,
    clock: Clock,
    /// The limit in force. Written under the lock, read without it.
    in_force: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    /// The limit before rounding. While the unloaded latency is measured, a lower limit is in force.
    limit: f64,
    measuring: bool,
    unloaded: Option<Duration>,
    measured_at: Instant,
    in_flight: usize,
    window: Window,
}

/// The calls that start within a period.
struct Window {
    number: u64,
    /// The time when the window opened. `None` until enough of the calls sent under a higher limit have ended.
    since: Option<Instant>,
    /// Calls that started in the window.
    started: u32,
    /// Calls that started in the window and have ended.
    ended: u32,
    succeeded: u32,
    failed: u32,
    /// The sum of the latencies of the calls that succeeded.
    latency: Duration,
    /// The maximum number of calls in flight at once.
    peak: usize,
}

/// A call that has started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    at: Instant,
    /// The number of the window in which the call started. `None` if it belongs to no window.
    window: Option<u64>,
}

/// A change of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: usize,
    pub(super) new: usize,
}

impl Controller {
    /// Creates a controller that first measures the unloaded latency, under the minimum limit.
    pub(super) fn new(settings: AdaptiveLimit, initial: usize, clock: Clock) -> Self {
        let now = clock.now();
        let state = State {
            limit: initial as f64,
            measuring: true,
            unloaded: None,
            measured_at: now,
            in_flight: 0,
            window: Window::new(0, Some(now), 0),
        };
        Self { in_force: AtomicUsize::new(settings.min_limit), settings, clock, state: Mutex::new(state) }
    }

    /// Returns the limit in force.
    pub(super) fn limit(&self) -> usize {
        self.in_force.load(Ordering::Relaxed)
    }

    pub(super) fn unloaded_latency(&self) -> Option<Duration> {
        self.lock().unloaded
    }

    /// Records the start of a call.
    pub(super) fn begin(&self) -> Started {
        let at = self.clock.now();
        let mut state = self.lock();
        state.in_flight += 1;
        let in_flight = state.in_flight;
        let window = &mut state.window;
        window.peak = window.peak.max(in_flight);
        if !window.takes(at, self.settings.window) {
            return Started { at, window: None };
        }
        window.started += 1;
        Started { at, window: Some(window.number) }
    }

    /// Records the end of a call. Returns a change of the limit, which the caller applies. (Invariant 3.)
    pub(super) fn end(&self, started: Started, outcome: Outcome) -> Option<Change> {
        let now = self.clock.now();
        let mut state = self.lock();
        state.in_flight -= 1;
        let old = self.limit();
        if state.window.since.is_none() && state.in_flight <= old {
            state.window = Window::new(state.window.number + 1, Some(now), state.in_flight);
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
        if state.window.succeeded + state.window.failed < MIN_JUDGED {
            state.window = Window::new(number, Some(now), state.in_flight);
            return;
        }
        let average = state.window.average();
        // The part of the limit that the callee serves at once, if all of the limit is in use.
        let served = match (average, state.unloaded) {
            (Some(average), Some(unloaded)) if average > unloaded => unloaded.as_secs_f64() / average.as_secs_f64(),
            _ => 1.0,
        };
        // Whether the load was as low as during a measurement. (Invariant 2.)
        let low = state.window.peak as f64 <= self.limit() as f64 * served / 2.0;
        if state.measuring || low {
            state.unloaded = average.or(state.unloaded);
            state.measured_at = now;
        }
        if !std::mem::take(&mut state.measuring) {
            let gradient = (tolerance * served).min(state.window.succeeded_part()).clamp(MIN_GRADIENT, 1.0);
            let next = gradient * (state.limit + state.limit.sqrt());
            // The limit grows only if the calls have used it.
            if next < state.limit || !low {
                state.limit = next.clamp(self.settings.min_limit as f64, self.settings.max_limit as f64);
            }
            state.measuring = now.saturating_duration_since(state.measured_at) >= remeasure_every;
        }
        let whole = if state.measuring { state.limit * served / 2.0 } else { state.limit };
        let limit = (whole as usize).max(self.settings.min_limit);
        self.in_force.store(limit, Ordering::Relaxed);
        // Invariant 2: the calls sent under the higher limit have to end before a measurement starts.
        let settled = !state.measuring || state.in_flight <= limit;
        state.window = Window::new(number, settled.then_some(now), state.in_flight);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new(number: u64, since: Option<Instant>, in_flight: usize) -> Self {
        Self { number, since, started: 0, ended: 0, succeeded: 0, failed: 0, latency: Duration::ZERO, peak: in_flight }
    }

    /// Returns whether a call that starts now belongs to the window.
    fn takes(&self, now: Instant, length: Duration) -> bool {
        self.since.is_some_and(|since| self.started < MIN_STARTED || now.saturating_duration_since(since) < length)
    }

    /// Returns whether the window accepts no more calls and nearly all of its calls have ended. (Invariant 1.) It does not wait
    /// for all calls, because a call may hang.
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

    /// Returns the part of the calls that succeeded, from 0 to 1.
    fn succeeded_part(&self) -> f64 {
        f64::from(self.succeeded) / f64::from(self.succeeded + self.failed)
    }
}
