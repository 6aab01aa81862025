//! The settings of a breaker.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Clock;

use super::CircuitBreaker;
use super::classify::DefaultClassifier;
use super::closed::MAX_WINDOW;
use super::machine::{Machine, Rules};
use super::peers::{BreakerHandle, SharedState};
use super::shared::{OnStateChange, Shared};
use super::state::Transition;
use super::window::Recent;
use crate::ConfigError;
use crate::config::{above_zero, at_least_one, within};

/// The results from which a [`CircuitBreaker`] computes its failure rate and its rate of slow calls. Set with
/// [`CircuitBreakerBuilder::window`]. This enum is exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// The results of the last calls. The value is the number of calls, from 1 to 1,048,576.
    Count(usize),
    /// The results of the calls that ended within the last period. The value is the length of the period, which must be
    /// longer than zero. The window moves in steps of a tenth of its length.
    Time(Duration),
}

/// Builds a [`CircuitBreaker`]. Create the builder with [`CircuitBreaker::builder`].
///
/// ```
/// use std::time::Duration;
/// use ripcord_policy::CircuitBreaker;
/// use ripcord_policy::breaker::Window;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let breaker = CircuitBreaker::builder("users")
///     .window(Window::Time(Duration::from_secs(10)))
///     .failure_rate(0.5)
///     .slow_call(Duration::from_secs(2), 0.8)
///     .open_for(Duration::from_secs(30))
///     .build()?;
/// assert_eq!(breaker.name(), "users");
/// # Ok(())
/// # }
/// ```
///
/// # Defaults
///
/// The breaker counts the results of the last 100 calls. It opens when there are at least 20 results and at least half of them
/// are failures. It stays open for 30 seconds. After this time it admits one probe at a time: a call that tests whether the
/// service works again. The breaker closes after the first successful probe. A probe counts as failed if it takes 30 seconds or
/// longer. The defaults may change.
///
/// # Rules
///
/// The breaker opens when any of its rules applies. The rules about rates apply only while the window contains at least
/// [`minimum_calls`](CircuitBreakerBuilder::minimum_calls) results.
///
/// * The failure rate is at least [`failure_rate`](CircuitBreakerBuilder::failure_rate). This rule is off if
///   [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) is set and none of `failure_rate`,
///   [`window`](CircuitBreakerBuilder::window) and [`minimum_calls`](CircuitBreakerBuilder::minimum_calls) is set.
/// * There were [`consecutive_failures`](CircuitBreakerBuilder::consecutive_failures) failures in a row, if this number is set.
/// * The rate of slow calls is at least the rate set with [`slow_call`](CircuitBreakerBuilder::slow_call), if it is set.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct CircuitBreakerBuilder<C = DefaultClassifier> {
    settings: Settings,
    classify: C,
}

#[derive(Clone)]
struct Settings {
    name: Cow<'static, str>,
    window: Option<Window>,
    failure_rate: Option<f64>,
    minimum_calls: Option<usize>,
    consecutive_failures: Option<u32>,
    slow_call: Option<(Duration, f64)>,
    open_for: Duration,
    half_open_calls: usize,
    half_open_successes: u32,
    half_open_timeout: Option<Duration>,
    on_state_change: Option<OnStateChange>,
    /// The clock, or `None` for the system's clock.
    clock: Option<Clock>,
    shared: Option<Arc<dyn SharedState>>,
    /// The line that created the builder.
    built_at: &'static Location<'static>,
}

impl CircuitBreakerBuilder {
    #[track_caller]
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        let settings = Settings {
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
            clock: None,
            shared: None,
            built_at: Location::caller(),
        };
        CircuitBreakerBuilder { settings, classify: DefaultClassifier }
    }
}

impl<C> CircuitBreakerBuilder<C> {
    /// Sets the window over which the breaker computes its failure rate and its slow-call rate. Default: the last 100 calls.
    pub fn window(mut self, window: Window) -> Self {
        self.settings.window = Some(window);
        self
    }

    /// Sets the failure rate at which the breaker opens: the number of failures divided by the number of results in the
    /// [`window`](Self::window). The rate must be above 0 and at most 1. Default: 0.5. The breaker opens only if the window
    /// contains at least [`minimum_calls`](Self::minimum_calls) results.
    ///
    /// If [`consecutive_failures`](Self::consecutive_failures) is set and none of `failure_rate`, `window` and
    /// `minimum_calls` is set, the failure rate does not open the breaker.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.settings.failure_rate = Some(rate);
        self
    }

    /// Sets the minimum number of results in the [`window`](Self::window). As long as there are fewer results, the failure rate
    /// and the rate of slow calls do not open the breaker. The number must be at least 1 and at most the size of a
    /// [`Window::Count`]. Default: 20, or the size of a smaller window.
    pub fn minimum_calls(mut self, calls: usize) -> Self {
        self.settings.minimum_calls = Some(calls);
        self
    }

    /// Sets the number of failures in a row after which the breaker opens. The number must be at least 1. Default: not set, so
    /// failures in a row do not open the breaker.
    ///
    /// If this number is set and none of [`failure_rate`](Self::failure_rate), [`window`](Self::window) and
    /// [`minimum_calls`](Self::minimum_calls) is set, the failure rate does not open the breaker.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.settings.consecutive_failures = Some(failures);
        self
    }

    /// Makes the breaker open when too many calls are slow. A call that takes `duration` or longer is slow. The rate of slow
    /// calls is their number divided by the number of results in the [`window`](Self::window). The breaker opens when this rate
    /// is at least `rate` and the window contains at least [`minimum_calls`](Self::minimum_calls) results. Default: no call is
    /// slow.
    ///
    /// `duration` must be longer than zero. `rate` must be above 0 and at most 1. The breaker measures the duration of a call
    /// when the call ends. So a slow call in flight does not count yet. A slow probe of a half-open breaker counts as failed.
    pub fn slow_call(mut self, duration: Duration, rate: f64) -> Self {
        self.settings.slow_call = Some((duration, rate));
        self
    }

    /// Sets how long the breaker stays open before it becomes [half-open](CircuitBreaker#states). The duration must be
    /// longer than zero. Default: 30 seconds.
    pub fn open_for(mut self, duration: Duration) -> Self {
        self.settings.open_for = duration;
        self
    }

    /// Sets the maximum number of probes in flight while the breaker is half-open. A probe is a call that tests whether the
    /// service works again. Calls beyond this number are refused. The number must be at least 1. Default: 1.
    pub fn half_open_calls(mut self, calls: usize) -> Self {
        self.settings.half_open_calls = calls;
        self
    }

    /// Sets the number of successful probes after which a half-open breaker closes. A probe is a call that tests whether the
    /// service works again. The number must be at least 1. Default: 1.
    pub fn half_open_successes(mut self, successes: u32) -> Self {
        self.settings.half_open_successes = successes;
        self
    }

    /// Sets how long a probe of a half-open breaker may take before it counts as failed and the breaker opens again. A probe
    /// is a call that tests whether the service works again. The breaker does not drop the probe. The duration must be
    /// longer than zero. Default: the setting [`open_for`](Self::open_for).
    pub fn half_open_timeout(mut self, duration: Duration) -> Self {
        self.settings.half_open_timeout = Some(duration);
        self
    }

    /// Sets a hook that runs after each change of the breaker's state. Its argument contains the name of the breaker, the
    /// old state and the new state. Default: no hook.
    ///
    /// The hook runs outside all locks, on the thread that caused the change. If two threads change the state at nearly the
    /// same time, the hook may see these changes in the wrong order. A panic of the hook goes to the caller of the method that
    /// changed the state, for example [`CircuitBreaker::run`].
    ///
    /// The breaker has no timer. So in these cases the hook runs later than the change:
    ///
    /// * The time [`open_for`](Self::open_for) ends: the hook runs when the next call starts.
    /// * A probe exceeds its [`half_open_timeout`](Self::half_open_timeout): the hook runs when the next call starts or ends.
    pub fn on_state_change(mut self, hook: impl Fn(&Transition) + Send + Sync + 'static) -> Self {
        self.settings.on_state_change = Some(Arc::new(hook));
        self
    }

    /// Sets the clock by which the breaker measures time. Default: the system's clock.
    ///
    /// The contexts of the calls have their own clocks. In a test, set the same manual clock for the breaker and for the
    /// contexts.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// Shares the state of the breaker with the breakers of the same name in other processes. Use `ripcord_redis::SharedBreaker`,
    /// or your own implementation of [`SharedState`]. Default: not shared.
    ///
    /// When a breaker opens, the breakers of the other processes open for about the same time. When a breaker closes after a
    /// successful probe or by [`reset`](CircuitBreaker::reset), the other breakers close too.
    /// [`force_open`](CircuitBreaker::force_open) opens only this breaker, and the other breakers do not close it. A call
    /// does not wait for other processes.
    ///
    /// The hook [`on_state_change`](Self::on_state_change) then also runs on a thread of `state`, where it must not block.
    pub fn shared(mut self, state: impl SharedState + 'static) -> Self {
        self.settings.shared = Some(Arc::new(state));
        self
    }

    /// Sets the classifier: a function `Fn(&Result<T, E>) -> Outcome`, or another [`Classify`](super::Classify), that judges
    /// the result of each call. Default: `Ok` is a success, and every error is a failure.
    ///
    /// If the context of the call has been canceled or its deadline has passed, an error of the call is
    /// [neutral](crate::Outcome::Neutral), and the classifier is not called.
    pub fn classify<F>(self, classify: F) -> CircuitBreakerBuilder<F> {
        CircuitBreakerBuilder { settings: self.settings, classify }
    }

    /// Builds the breaker. The breaker starts closed.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting is out of bounds. The error names the first such setting.
    pub fn build(self) -> Result<CircuitBreaker<C>, ConfigError> {
        let state = self.settings.shared.clone();
        let shared = Arc::new(self.settings.build()?);
        if let Some(state) = state {
            shared.announce.get_or_init(|| state.connect(BreakerHandle::new(&shared)));
        }
        Ok(CircuitBreaker { shared, classify: self.classify })
    }

    /// Checks the settings.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.settings.clone().build().map(drop)
    }

    /// Sets the clock to `clock`, unless the builder already has a clock.
    pub(crate) fn default_clock(mut self, clock: &Clock) -> Self {
        self.settings.clock.get_or_insert_with(|| clock.clone());
        self
    }

    pub(super) fn named(mut self, name: Cow<'static, str>) -> Self {
        self.settings.name = name;
        self
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }
}

impl Settings {
    fn build(self) -> Result<Shared, ConfigError> {
        let window = self.window.unwrap_or(Window::Count(100));
        let rules = self.rules(window)?;
        let clock = self.clock.unwrap_or_else(Clock::system);
        let recent = match window {
            Window::Count(length) => Recent::last_calls(length),
            Window::Time(length) => Recent::last_time(length, clock.now()),
        };
        let slow_after = self.slow_call.map(|(duration, _)| duration);
        let machine = Machine::new(rules, recent);
        Ok(Shared::new(self.name.into(), self.built_at, machine, clock, slow_after, self.on_state_change))
    }

    fn rules(&self, window: Window) -> Result<Rules, ConfigError> {
        let longest = match window {
            Window::Count(length) if !(1..=MAX_WINDOW).contains(&length) => {
                return Err(ConfigError::new("window", format!("from 1 to {MAX_WINDOW} calls"), length));
            }
            Window::Count(length) => length,
            Window::Time(length) => above_zero("window", length).map(|_| usize::MAX)?,
        };
        let minimum_calls = match self.minimum_calls {
            Some(calls) if calls > longest => {
                return Err(ConfigError::new("minimum_calls", format!("at most the window's {longest} calls"), calls));
            }
            Some(calls) => at_least_one("minimum_calls", calls)?,
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
            minimum_calls: minimum_calls as u64,
            consecutive_failures: self
                .consecutive_failures
                .map(|failures| at_least_one("consecutive_failures", failures))
                .transpose()?,
            slow: self.slow_call,
            open_for,
            half_open_calls: at_least_one("half_open_calls", self.half_open_calls)?,
            half_open_successes: at_least_one("half_open_successes", self.half_open_successes)?,
            half_open_timeout: above_zero("half_open_timeout", self.half_open_timeout.unwrap_or(open_for))?,
        })
    }
}

impl<C> fmt::Debug for CircuitBreakerBuilder<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// Checks a share of calls: it must be above 0 and at most 1.
fn share(field: &'static str, rate: f64) -> Result<f64, ConfigError> {
    match rate > 0.0 {
        true => within(field, rate, 0.0, 1.0),
        false => Err(ConfigError::new(field, "above 0 and at most 1", rate)),
    }
}
