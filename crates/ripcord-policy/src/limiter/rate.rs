//! How many tokens a limiter earns in a given time.

use std::fmt;
use std::time::Duration;

use crate::ConfigError;

/// Tokens per time. Made without checks, so that it can be a constant; whoever takes one checks it.
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

impl Rate {
    /// No limit at all: whatever is asked for is granted, and the burst does not matter.
    pub const INFINITE: Rate = Rate(Kind::PerSecond(f64::INFINITY));

    /// Nothing is ever earned: what the limiter begins with is all there is.
    pub const ZERO: Rate = Rate(Kind::PerSecond(0.0));

    /// This many tokens a second, exactly the value of the `f64`. Must not be negative or NaN.
    ///
    /// Rates above 2^63 a second count as that many.
    pub const fn per_second(tokens: f64) -> Rate {
        Rate(Kind::PerSecond(tokens))
    }

    /// One token every `period`, which must be longer than zero.
    pub const fn every(period: Duration) -> Rate {
        Rate::per(1, period)
    }

    /// `tokens` in every `period`, exactly; the period must be longer than zero.
    pub const fn per(tokens: u32, period: Duration) -> Rate {
        Rate(Kind::Per { tokens, period })
    }

    /// Whether there is no limit.
    pub fn is_infinite(self) -> bool {
        self.0 == Kind::PerSecond(f64::INFINITY)
    }

    /// The rate as a number, rounded.
    pub fn tokens_per_second(self) -> f64 {
        match self.0 {
            Kind::PerSecond(tokens) => tokens,
            Kind::Per { tokens, period } => f64::from(tokens) / period.as_secs_f64(),
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

    /// The rate of tokens per nanosecond as `numerator * 2^exponent / denominator`, exactly.
    pub(super) fn exact(self) -> Fraction {
        match self.0 {
            Kind::PerSecond(tokens) => {
                let bits = tokens.min(9_223_372_036_854_775_808.0).to_bits();
                let (mantissa, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) & 0x7ff);
                let (numerator, exponent) = match exponent {
                    0 => (mantissa, -1074),
                    _ => (mantissa | (1 << 52), exponent as i32 - 1075),
                };
                // Even factors go to the exponent, so that sums of products stay small.
                let even = numerator.trailing_zeros().min(63);
                Fraction { numerator: numerator >> even, exponent: exponent + even as i32, denominator: 1_000_000_000 }
            }
            Kind::Per { tokens, period } => match u64::try_from(period.as_nanos()) {
                Ok(nanos) => Fraction { numerator: u64::from(tokens), exponent: 0, denominator: nanos },
                // A token in 585 years or more.
                Err(_) => Fraction { numerator: 0, exponent: 0, denominator: 1 },
            },
        }
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

/// See [`Rate::exact`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Fraction {
    pub(super) numerator: u64,
    pub(super) exponent: i32,
    pub(super) denominator: u64,
}
