//! The wait before each retry.

use std::time::Duration;

use crate::{ConfigError, Random};

/// The way in which the waits of a [`Retry`](crate::Retry) are randomized. Without jitter, clients that failed at the same time
/// also retry at the same time.
///
/// The *computed time* of the first wait is [`base`](super::RetryBuilder::base). For each further wait it is multiplied by
/// [`multiplier`](super::RetryBuilder::multiplier), up to [`max_delay`](super::RetryBuilder::max_delay). No randomized wait
/// exceeds `max_delay`. More kinds of jitter may be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Jitter {
    /// Waits for exactly the computed time.
    #[default]
    None,
    /// Waits for a random time from zero to the computed time. This spreads the retries most widely.
    Full,
    /// Waits for a random time from half of the computed time to the computed time.
    Equal,
    /// Waits for a random time from `base` to three times the previous wait, but at most `max_delay`. For the first wait,
    /// `base` counts as the previous wait. The multiplier is not used.
    Decorrelated,
}

#[derive(Clone, Debug)]
pub(super) struct Backoff {
    pub(super) base: Duration,
    pub(super) max_delay: Duration,
    pub(super) multiplier: f64,
    pub(super) jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            base: Duration::from_millis(100),
            max_delay: Duration::from_secs(2),
            multiplier: 2.0,
            jitter: Jitter::None,
        }
    }
}

impl Backoff {
    /// Checks that the settings are within bounds.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1.0..=f64::MAX).contains(&self.multiplier) {
            return Err(ConfigError::new("multiplier", "at least 1 and finite", self.multiplier));
        }
        if self.base > self.max_delay {
            let bound = format!("at most max_delay ({:?})", self.max_delay);
            return Err(ConfigError::new("base", bound, format_args!("{:?}", self.base)));
        }
        Ok(())
    }

    /// Returns the wait before retry number `retry`, counted from 1. `previous` is the wait before the previous retry.
    pub(super) fn delay(&self, retry: u32, previous: Duration, random: &Random) -> Duration {
        if self.jitter == Jitter::Decorrelated {
            let high = previous.max(self.base).saturating_mul(3).min(self.max_delay);
            return random.duration_between(self.base, high);
        }
        let backoff = self.without_jitter(retry);
        match self.jitter {
            Jitter::Full => random.duration_between(Duration::ZERO, backoff),
            Jitter::Equal => random.duration_between(backoff / 2, backoff),
            Jitter::None | Jitter::Decorrelated => backoff,
        }
    }

    fn without_jitter(&self, retry: u32) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.multiplier.powi(exponent);
        // Zero times an infinite factor is NaN and means no wait. A number of seconds that does not fit means the longest wait.
        match Duration::try_from_secs_f64(seconds) {
            Ok(delay) => delay.min(self.max_delay),
            Err(_) if seconds.is_nan() => Duration::ZERO,
            Err(_) => self.max_delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_maximum_and_never_overflows() {
        let random = Random::seeded(1);
        let backoff = Backoff::default();
        let waits = [1, 2, 3, 4, 5, 6, u32::MAX].map(|n| backoff.delay(n, Duration::ZERO, &random).as_millis());
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        let none = Backoff { base: Duration::ZERO, ..Backoff::default() };
        assert_eq!(none.delay(u32::MAX, Duration::ZERO, &random), Duration::ZERO);
        let huge = Backoff { base: Duration::MAX, max_delay: Duration::MAX, ..Backoff::default() };
        assert_eq!(huge.delay(9, Duration::MAX, &random), Duration::MAX);
    }

    #[test]
    fn no_jitter_exceeds_the_maximum() {
        let random = Random::seeded(2);
        for jitter in [Jitter::None, Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
            let backoff = Backoff { jitter, ..Backoff::default() };
            let mut previous = Duration::ZERO;
            for retry in 1..2000 {
                previous = backoff.delay(retry, previous, &random);
                assert!(previous <= backoff.max_delay, "{jitter:?}: {previous:?}");
            }
        }
    }
}
