//! The settings of a breaker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Clock;

use super::CircuitBreaker;
use super::classify::AnyError;
use super::machine::{Machine, Rules, last_calls};
use super::shared::{LONGEST_WINDOW, OnStateChange, Shared, Span};
use super::state::Transition;
use super::window::{LastTime, Recent};
use crate::ConfigError;
use crate::config::{above_zero, at_least_one, within};

/// Which results the rates are taken of. This enum is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The last so many calls, from 1 to 1,048,576.
    Count(usize),
    /// The calls that ended within the last so long, counted in tenths of it. Longer than zero.
    Time(Duration),
}

/// Builds a [`CircuitBreaker`].
///
/// A breaker given [`consecutive_failures`](BreakerBuilder::consecutive_failures) goes by these alone, unless a rate or
/// a window is set as well. Defaults are not a promise: half of the last 100 calls failed, of at least 20; open for 30
/// seconds; one probe at a time, closed by the first that succeeds; a probe hangs after as long as it stays open.
#[must_use = "a builder does nothing until it is built"]
pub struct BreakerBuilder<C = AnyError> {
    name: Arc<str>,
    window: Option<Window>,
    failure_rate: Option<f64>,
    minimum_calls: Option<u32>,
    consecutive_failures: Option<u32>,
    slow_call: Option<(Duration, f64)>,
    open_for: Duration,
    half_open_calls: u32,
    half_open_successes: u32,
    half_open_timeout: Option<Duration>,
    on_state_change: Option<OnStateChange>,
    clock: Clock,
    classify: C,
}

impl BreakerBuilder {
    pub(super) fn new(name: Arc<str>) -> Self {
        BreakerBuilder {
            name,
            window: None,
            failure_rate: None,
            minimum_calls: None,
            consecutive_failures: None,
            slow_call: None,
            open_for: Duration::from_secs(30),
            half_open_calls: 1,
            half_open_successes: 1,
            half_open_timeout: None,
            on_state_change: None,
            clock: Clock::system(),
            classify: AnyError,
        }
    }
}

impl<C> BreakerBuilder<C> {
    /// Which results the rates are taken of; the last 100 calls if not set.
    pub fn window(mut self, window: Window) -> Self {
        self.window = Some(window);
        self
    }

    /// Opens when this share of the window's calls has failed: above 0, at most 1. Half of them if not set,
    /// or no rate at all if only [`consecutive_failures`](BreakerBuilder::consecutive_failures) is.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.failure_rate = Some(rate);
        self
    }

    /// Calls there have to be in the window before a rate means anything; at least 1, at most as many as the window
    /// holds. 20 if not set, or what a smaller window holds.
    pub fn minimum_calls(mut self, calls: u32) -> Self {
        self.minimum_calls = Some(calls);
        self
    }

    /// Opens after this many failures in a row; at least 1. If not set, failures in a row mean nothing.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = Some(failures);
        self
    }

    /// A call that takes this long is slow, and the breaker opens when this share of the window's calls was: above 0, at
    /// most 1. A call counts when it ends, however long ago it began. If not set, none is slow.
    pub fn slow_call(mut self, duration: Duration, rate: f64) -> Self {
        self.slow_call = Some((duration, rate));
        self
    }

    /// How long it stays open; longer than zero. 30 seconds if not set.
    pub fn open_for(mut self, duration: Duration) -> Self {
        self.open_for = duration;
        self
    }

    /// Probes at a time, when half-open; at least 1, which is the default.
    pub fn half_open_calls(mut self, calls: u32) -> Self {
        self.half_open_calls = calls;
        self
    }

    /// Successful probes that close it; at least 1, which is the default.
    pub fn half_open_successes(mut self, successes: u32) -> Self {
        self.half_open_successes = successes;
        self
    }

    /// How long a probe may take before it counts as failed; longer than zero. As long as the breaker stays open, if
    /// not set.
    pub fn half_open_timeout(mut self, duration: Duration) -> Self {
        self.half_open_timeout = Some(duration);
        self
    }

    /// Called after each change of state, without any lock held. Changes that follow each other closely may be told by
    /// different threads, and so out of order. A panic in it harms the call that ran it.
    pub fn on_state_change(mut self, hook: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.on_state_change = Some(Box::new(hook));
        self
    }

    /// The clock it goes by, for all its times; the system's if not set. It does not go by the clocks of the contexts that
    /// its calls are given: a test sets both.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How results are judged: a `Fn(&Result<T, E>) -> Outcome`. An error under a context that is done is neutral
    /// whatever it says.
    pub fn classify<F>(self, classify: F) -> BreakerBuilder<F> {
        let BreakerBuilder { name, window, failure_rate, minimum_calls, consecutive_failures, slow_call, .. } = self;
        let BreakerBuilder { open_for, half_open_calls, half_open_successes, half_open_timeout, .. } = self;
        let BreakerBuilder { on_state_change, clock, .. } = self;
        BreakerBuilder {
            name,
            window,
            failure_rate,
            minimum_calls,
            consecutive_failures,
            slow_call,
            open_for,
            half_open_calls,
            half_open_successes,
            half_open_timeout,
            on_state_change,
            clock,
            classify,
        }
    }

    /// The breaker, closed.
    ///
    /// # Errors
    ///
    /// Names the first setting out of bounds.
    pub fn build(self) -> Result<CircuitBreaker<C>, ConfigError> {
        let rules = self.rules()?;
        let (recent, span) = match self.checked_window()? {
            Window::Count(length) => (last_calls(length), Span::Calls(length as u64)),
            Window::Time(length) => {
                let origin = self.clock.now();
                (Recent::Time(LastTime::new(length, origin)), Span::Since(origin))
            }
        };
        let slow_after = self.slow_call.map(|(duration, _)| duration);
        let machine = Machine::new(rules, recent);
        let shared = Shared::new(self.name, machine, span, self.clock, slow_after, self.on_state_change);
        Ok(CircuitBreaker { shared: Arc::new(shared), classify: self.classify })
    }

    fn checked_window(&self) -> Result<Window, ConfigError> {
        let window = self.window.unwrap_or(Window::Count(100));
        match window {
            Window::Count(length) if !(1..=LONGEST_WINDOW).contains(&length) => {
                Err(ConfigError::new("window", format!("from 1 to {LONGEST_WINDOW} calls"), length))
            }
            Window::Time(length) => above_zero("window", length).map(|_| window),
            Window::Count(_) => Ok(window),
        }
    }

    fn rules(&self) -> Result<Rules, ConfigError> {
        let longest = match self.checked_window()? {
            Window::Count(length) => length as u64,
            Window::Time(_) => u64::MAX,
        };
        let minimum_calls = match self.minimum_calls {
            Some(calls) if u64::from(calls) > longest => {
                return Err(ConfigError::new("minimum_calls", format!("at most the window's {longest} calls"), calls));
            }
            Some(calls) => at_least_one("minimum_calls", calls)?.into(),
            None => longest.min(20),
        };
        if let Some((duration, rate)) = self.slow_call {
            above_zero("slow_call", duration)?;
            share("slow_call", rate)?;
        }
        let by_rate = self.failure_rate.is_some() || self.window.is_some() || self.minimum_calls.is_some();
        let failure_rate = match self.consecutive_failures {
            Some(_) if !by_rate => None,
            _ => Some(share("failure_rate", self.failure_rate.unwrap_or(0.5))?),
        };
        let open_for = above_zero("open_for", self.open_for)?;
        Ok(Rules {
            failure_rate,
            minimum_calls,
            consecutive_failures: match self.consecutive_failures {
                Some(failures) => Some(at_least_one("consecutive_failures", failures)?),
                None => None,
            },
            slow: self.slow_call,
            open_for,
            half_open_calls: at_least_one("half_open_calls", self.half_open_calls)?,
            half_open_successes: at_least_one("half_open_successes", self.half_open_successes)?,
            half_open_timeout: above_zero("half_open_timeout", self.half_open_timeout.unwrap_or(open_for))?,
        })
    }
}

impl<C> fmt::Debug for BreakerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A share of calls: above 0, at most 1.
fn share(field: &'static str, rate: f64) -> Result<f64, ConfigError> {
    match rate > 0.0 {
        true => within(field, rate, 0.0, 1.0),
        false => Err(ConfigError::new(field, "above 0 and at most 1", rate)),
    }
}
