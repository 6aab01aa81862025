//! The settings of a limit that follows the measured latency.

use std::time::Duration;

use crate::ConfigError;
use crate::config::{above_zero, at_least_one_usize, within};
use crate::semaphore::Semaphore;

/// Settings of a [`Bulkhead`](super::Bulkhead) whose limit follows the measured latency.
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
/// The limit grows while calls take no longer than without load. It shrinks when calls take longer or fail. This is a gradient
/// limiter, like Envoy's adaptive concurrency. A failure, including a timeout, counts as a call that the callee dropped. So a
/// [`Stack`](crate::Stack) with an adaptive bulkhead should have an attempt timeout. Neutral outcomes do not count.
///
/// The latency without load is first measured with `min_limit` calls at a time. It is measured again every
/// [`remeasure_every`](Self::remeasure_every) with half of the limit, because the callee may become slower or faster permanently.
/// The limiter is deterministic: the same calls at the same times give the same limits.
///
/// By default the limit is from 5 to 1000 calls, the tolerance is 1.25, the window is 100 ms, and the latency without load is
/// measured every 30 s. The defaults are not a promise.
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
    /// Creates the settings with the defaults.
    pub fn new() -> Self {
        Self {
            min_limit: 5,
            max_limit: 1000,
            tolerance: 1.25,
            window: Duration::from_millis(100),
            remeasure_every: Duration::from_secs(30),
        }
    }

    /// Sets the minimum limit, at least 1. Choose a number of calls that the callee can certainly serve at once.
    pub fn min_limit(mut self, calls: usize) -> Self {
        self.min_limit = calls;
        self
    }

    /// Sets the maximum limit.
    pub fn max_limit(mut self, calls: usize) -> Self {
        self.max_limit = calls;
        self
    }

    /// Sets the factor by which a call may exceed the latency without load before the limit shrinks. The factor must be from 1 to
    /// 10. Choose a higher factor for a callee whose latency varies without load.
    pub fn tolerance(mut self, factor: f64) -> Self {
        self.tolerance = factor;
        self
    }

    /// Sets the length of a window, which must be longer than zero. The calls of a window decide the next change of the limit. A
    /// window lasts until at least 20 calls have started in it. The limit changes when nine tenths of the calls have ended.
    pub fn window(mut self, duration: Duration) -> Self {
        self.window = duration;
        self
    }

    /// Sets how often the latency without load is measured again, with half of the limit. The interval must be longer than zero.
    pub fn remeasure_every(mut self, interval: Duration) -> Self {
        self.remeasure_every = interval;
        self
    }

    pub(super) fn check(&self, initial: usize) -> Result<(), ConfigError> {
        at_least_one_usize("min_limit", self.min_limit)?;
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
