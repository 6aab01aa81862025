//! The rate at which a limiter earns tokens, and the quota of a key.

use std::fmt;
use std::time::Duration;

use super::schedule::{Slope, TOKEN_BITS};
use crate::ConfigError;
use crate::config::at_least_one;

/// The rate at which a [`RateLimiter`](super::RateLimiter) earns tokens. The limiter spends one token for each call.
///
/// The constructors are `const` and do not check their arguments. A limiter rejects a rate that is negative, is NaN or has a
/// period of zero with a [`ConfigError`].
///
/// ```
/// use ripcord_policy::Rate;
/// use std::time::Duration;
///
/// assert_eq!(Rate::per_second(2.0).to_string(), "2/s");
/// assert_eq!(Rate::every(Duration::from_millis(250)).tokens_per_second(), 4.0);
/// assert!(Rate::INFINITE.is_infinite());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(Kind);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    PerSecond(f64),
    Per { tokens: u32, period: Duration },
}

/// The maximum rate, in tokens per second. At this rate a bucket of any burst fills within 32 ms.
const MAX_PER_SECOND: u64 = 1 << 37;

impl Rate {
    /// The infinite rate. A limiter with this rate grants every request at once, and its burst has no effect.
    pub const INFINITE: Rate = Rate(Kind::PerSecond(f64::INFINITY));

    /// The rate of zero. A limiter with this rate grants the tokens that are in its bucket, and earns no further tokens.
    pub const ZERO: Rate = Rate(Kind::PerSecond(0.0));

    /// Creates a rate of `tokens` per second. `f64::INFINITY` is [`Rate::INFINITE`]. A limiter rejects a negative rate or NaN
    /// with a [`ConfigError`].
    ///
    /// A finite rate above 2^37 (1.4e11) tokens per second counts as 2^37. The precision is 2^-60 of a token per second.
    pub const fn per_second(tokens: f64) -> Rate {
        Rate(Kind::PerSecond(tokens))
    }

    /// Creates a rate of one token per `period`. A limiter rejects a `period` of zero with a [`ConfigError`].
    pub const fn every(period: Duration) -> Rate {
        Rate::per(1, period)
    }

    /// Creates a rate of `tokens` per `period`. A limiter rejects a `period` of zero with a [`ConfigError`]. A rate above
    /// 2^37 (1.4e11) tokens per second counts as 2^37.
    pub const fn per(tokens: u32, period: Duration) -> Rate {
        Rate(Kind::Per { tokens, period })
    }

    /// Returns whether the rate is infinite.
    pub fn is_infinite(self) -> bool {
        self.0 == Kind::PerSecond(f64::INFINITY)
    }

    /// Returns the rate in tokens per second. The result may be rounded.
    pub fn tokens_per_second(self) -> f64 {
        match self.0 {
            Kind::PerSecond(tokens) => tokens,
            Kind::Per { tokens, period } => f64::from(tokens) / period.as_secs_f64(),
        }
    }

    /// Returns the rate as a number of tokens, and the period in which a bucket earns them. The period is one second, except for
    /// a rate created with [`every`](Rate::every) or [`per`](Rate::per). The number of [`Rate::INFINITE`] is infinite.
    ///
    /// ```
    /// use ripcord_policy::Rate;
    /// use std::time::Duration;
    ///
    /// let rate = Rate::per(3, Duration::from_secs(60));
    /// assert_eq!(rate.tokens_and_period(), (3.0, Duration::from_secs(60)));
    /// ```
    pub fn tokens_and_period(self) -> (f64, Duration) {
        match self.0 {
            Kind::PerSecond(tokens) => (tokens, Duration::from_secs(1)),
            Kind::Per { tokens, period } => (f64::from(tokens), period),
        }
    }

    pub(super) fn check(self) -> Result<Rate, ConfigError> {
        match self.0 {
            Kind::PerSecond(tokens) if tokens.is_nan() || tokens < 0.0 => {
                Err(ConfigError::new("rate", "at least 0 tokens per second", tokens))
            }
            Kind::Per { period, .. } if period.is_zero() => {
                Err(ConfigError::new("rate", "a number of tokens in a period longer than zero", "0ns"))
            }
            _ => Ok(self),
        }
    }

    /// Returns the rate in units per nanosecond. The rate must have been checked.
    pub(super) fn slope(self) -> Slope {
        const BINARY_PLACES: u32 = 64;
        if self.is_infinite() {
            return Slope::INFINITE;
        }
        let (tokens, nanos) = match self.0 {
            Kind::PerSecond(tokens) => {
                let capped = tokens.min(MAX_PER_SECOND as f64);
                // Both conversions are exact down to the last binary place. Smaller fractions are rounded down.
                let part = (capped.fract() * 2f64.powi(BINARY_PLACES as i32)) as u128;
                ((u128::from(capped as u64) << BINARY_PLACES) + part, 1_000_000_000)
            }
            Kind::Per { tokens, period } => (u128::from(tokens) << BINARY_PLACES, period.as_nanos()),
        };
        let highest = (u128::from(MAX_PER_SECOND) << (BINARY_PLACES + TOKEN_BITS)).div_ceil(1_000_000_000);
        Slope::new((tokens << TOKEN_BITS).div_ceil(nanos).min(highest))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::PerSecond(f64::INFINITY) => f.write_str("unlimited"),
            Kind::PerSecond(tokens) => write!(f, "{tokens}/s"),
            Kind::Per { tokens, period } => write!(f, "{tokens}/{period:?}"),
        }
    }
}

/// The rate and the burst of one key of a [`KeyedLimiter`](super::KeyedLimiter). The burst is the maximum number of tokens in
/// the bucket of the key. Return a quota from the function that is passed to
/// [`KeyedLimiterBuilder::quota`](super::KeyedLimiterBuilder::quota).
///
/// ```
/// use ripcord_policy::Rate;
/// use ripcord_policy::limiter::Quota;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let paying = Quota::new(Rate::per_second(100.0), 20)?;
/// assert_eq!(paying.burst(), 20);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    pub(super) rate: Rate,
    pub(super) burst: u32,
}

impl Quota {
    /// Creates a quota with the given rate and burst.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `rate` is negative, NaN or has a period of zero, or if `burst` is 0.
    pub fn new(rate: Rate, burst: u32) -> Result<Self, ConfigError> {
        Ok(Quota { rate: rate.check()?, burst: at_least_one("burst", burst)? })
    }

    /// Returns the rate at which the bucket of the key earns tokens.
    pub fn rate(self) -> Rate {
        self.rate
    }

    /// Returns the burst: the maximum number of tokens in the bucket of the key.
    pub fn burst(self) -> u32 {
        self.burst
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Rate;

    #[test]
    fn whole_tokens_per_nanosecond_give_an_exact_slope() {
        let slope = Rate::per(3, Duration::from_nanos(1)).slope();
        assert_eq!(slope.earned(5), 15 << 26);
        assert_eq!(Rate::per_second(1.5e9).slope().earned(2), 3 << 26);
    }

    #[test]
    fn amount_at_the_end_of_each_period_is_a_whole_token() {
        for per_second in [1.0, 3.0, 7.0, 10.0, 1000.0, 1e6, 123.0] {
            assert_eq!(Rate::per_second(per_second).slope().earned(1_000_000_000), (per_second as u64) << 26);
        }
        for nanos in [3, 7, 1_001, 999_999_937, u64::MAX / 2] {
            assert_eq!(Rate::every(Duration::from_nanos(nanos)).slope().earned(nanos), 1 << 26);
        }
    }

    #[test]
    fn extreme_rates_have_a_slope() {
        for rate in [Rate::per_second(f64::MAX), Rate::per(u32::MAX, Duration::from_nanos(1))] {
            assert_eq!(rate.slope(), Rate::per_second(2f64.powi(37)).slope());
        }
        for rate in [Rate::per_second(5e-324), Rate::ZERO, Rate::per(0, Duration::MAX)] {
            assert_eq!(rate.slope().earned(u64::MAX), 0);
        }
    }
}
