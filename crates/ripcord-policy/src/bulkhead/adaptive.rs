//! The settings of a limit that follows the measured latency.

use std::time::Duration;

use crate::ConfigError;
use crate::config::{above_zero, at_least_one, within};
use crate::semaphore::Semaphore;

/// Settings of a [`Bulkhead`](super::Bulkhead) whose limit follows the measured latency of the calls. The limit is the maximum
/// number of calls in flight. Pass the settings to [`BulkheadBuilder::adaptive`](super::BulkheadBuilder::adaptive).
///
/// ```
/// use ripcord_policy::Bulkhead;
/// use ripcord_policy::bulkhead::AdaptiveLimit;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let adaptive = AdaptiveLimit::new().min_limit(2).max_limit(200);
/// let bulkhead = Bulkhead::builder().limit(20).adaptive(adaptive).queue(50).build()?;
/// assert_eq!(bulkhead.stats().limit, 2);   // until the unloaded latency is known
/// # Ok(())
/// # }
/// ```
///
/// # How the limit changes
///
/// The *unloaded latency* is the latency of calls while the service has little load. The limit grows while calls take about
/// this long and more than half of the limit is in use. It shrinks when calls take longer or fail. The algorithm is a
/// gradient limiter, like Envoy's adaptive concurrency. It is deterministic: the same calls at the same times give the same
/// limits.
///
/// The more calls of a [`window`](Self::window) fail, the more the limit shrinks. One window lowers it at most to about half.
/// An attempt timeout is a failure. A call that never returns has no effect on the limit. So a [`Stack`](crate::Stack) with an
/// adaptive bulkhead should have an attempt timeout. Calls with the outcome [`Outcome::Neutral`](crate::Outcome::Neutral) do
/// not count.
///
/// At first the limit is [`min_limit`](Self::min_limit), and the bulkhead measures the unloaded latency of the first calls.
/// The service may become permanently slower or faster, so the bulkhead measures the unloaded latency again at the interval
/// [`remeasure_every`](Self::remeasure_every). During such a measurement the limit is at most half of its previous value,
/// but not below `min_limit`.
///
/// # Defaults
///
/// The limit is from 5 to 1000 calls. The [`tolerance`](Self::tolerance) is 1.25. The [`window`](Self::window) is 100 ms.
/// The unloaded latency is measured every 30 seconds. The defaults may change.
#[derive(Clone, Debug)]
#[must_use = "the settings do nothing until a bulkhead is built with them"]
pub struct AdaptiveLimit {
    pub(super) min_limit: usize,
    pub(super) max_limit: usize,
    pub(super) tolerance: f64,
    pub(super) window: Duration,
    pub(super) remeasure_every: Duration,
}

impl AdaptiveLimit {
    /// Creates settings with the [defaults](AdaptiveLimit#defaults).
    pub fn new() -> Self {
        Self {
            min_limit: 5,
            max_limit: 1000,
            tolerance: 1.25,
            window: Duration::from_millis(100),
            remeasure_every: Duration::from_secs(30),
        }
    }

    /// Sets the minimum of the limit. The limit never shrinks below this number of calls in flight. The number must be at
    /// least 1 and at most the [`max_limit`](Self::max_limit). Choose a number of calls that the service can certainly serve
    /// at the same time. Default: 5.
    pub fn min_limit(mut self, calls: usize) -> Self {
        self.min_limit = calls;
        self
    }

    /// Sets the maximum of the limit. The limit never grows above this number of calls in flight. The number must be at
    /// least the [`min_limit`](Self::min_limit) and at most 2^61 - 1. Default: 1000.
    pub fn max_limit(mut self, calls: usize) -> Self {
        self.max_limit = calls;
        self
    }

    /// Sets the tolerance for the latency. As long as the average latency of calls is at most `factor` times the [unloaded
    /// latency](AdaptiveLimit#how-the-limit-changes), the latency does not shrink the limit. The factor must be from 1 to 10.
    /// Default: 1.25.
    ///
    /// Choose a higher factor for a service whose latency varies even without load.
    pub fn tolerance(mut self, factor: f64) -> Self {
        self.tolerance = factor;
        self
    }

    /// Sets the minimum length of a window. The limit can change at the end of each window: the latencies and failures of the
    /// calls that started in the window decide how. The length must be longer than zero. Default: 100 ms.
    ///
    /// A window takes new calls for at least this long, and until 20 calls have started in it. The window then ends as soon
    /// as nine tenths of its calls have ended. If fewer than 10 of its calls have succeeded or failed by then, the limit does
    /// not change.
    pub fn window(mut self, duration: Duration) -> Self {
        self.window = duration;
        self
    }

    /// Sets the interval at which the bulkhead measures the [unloaded latency](AdaptiveLimit#how-the-limit-changes) again.
    /// A measurement takes about one [`window`](Self::window). During the measurement the limit is at most half of its previous
    /// value, but not below [`min_limit`](Self::min_limit). The interval must be longer than zero. Default: 30 seconds.
    pub fn remeasure_every(mut self, interval: Duration) -> Self {
        self.remeasure_every = interval;
        self
    }

    pub(super) fn check(&self, initial: usize) -> Result<(), ConfigError> {
        at_least_one("min_limit", self.min_limit)?;
        if self.max_limit > Semaphore::MAX_PERMITS {
            return Err(ConfigError::new("max_limit", format!("at most {}", Semaphore::MAX_PERMITS), self.max_limit));
        }
        if self.max_limit < self.min_limit {
            return Err(ConfigError::new(
                "max_limit",
                format!("at least min_limit ({})", self.min_limit),
                self.max_limit,
            ));
        }
        if !(self.min_limit..=self.max_limit).contains(&initial) {
            let bound = format!("from min_limit ({}) to max_limit ({})", self.min_limit, self.max_limit);
            return Err(ConfigError::new("limit", bound, initial));
        }
        within("tolerance", self.tolerance, 1.0, 10.0)?;
        above_zero("window", self.window)?;
        above_zero("remeasure_every", self.remeasure_every)?;
        Ok(())
    }
}

impl Default for AdaptiveLimit {
    fn default() -> Self {
        Self::new()
    }
}
