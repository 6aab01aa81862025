//! The number of tokens earned since a limiter was built, as a function of time.
//!
//! Tokens are counted in units of 2^-26 of a token. Time is counted in nanoseconds since the limiter was built.
//!
//! # Invariants
//!
//! 1. A slope is too high by less than 2^-64 of a unit per nanosecond, and every amount is rounded down to a unit. So an amount,
//!    summed over any number of rates, is at most one unit more than the exact amount. If the exact amount is a whole number of
//!    units, the computed amount is exact.
//! 2. [`Slope::time_for`] is the inverse of [`Slope::earned`]: it returns the first time at which an amount is earned.

/// The number of binary places of a token.
pub(super) const TOKEN_BITS: u32 = 26;

/// The start of a schedule, in units. It is larger than every burst, so that a burst can be subtracted.
pub(super) const BASE: u64 = 1 << 59;

/// The maximum amount that a slope earns, in units.
const MAX_EARNED: u64 = 1 << 62;

/// The amount at which a schedule starts again from [`BASE`], in units.
pub(super) const LIMIT: u64 = MAX_EARNED - BASE;

/// A rate in units per nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slope {
    pub(super) whole: u64,
    /// The fraction of a unit, in 2^-64 of a unit.
    pub(super) part: u64,
}

impl Slope {
    /// An infinite slope. No finite rate has this slope, because finite rates are capped far below it.
    pub(super) const INFINITE: Slope = Slope { whole: u64::MAX, part: u64::MAX };

    /// Creates a slope from a number with 64 binary places.
    pub(super) fn new(slope: u128) -> Self {
        Slope { whole: (slope >> 64) as u64, part: slope as u64 }
    }

    pub(super) fn is_infinite(self) -> bool {
        self == Slope::INFINITE
    }

    /// Returns the units earned in `nanos`, at most [`MAX_EARNED`]. An infinite rate earns the maximum at once.
    pub(super) fn earned(self, nanos: u64) -> u64 {
        if self.is_infinite() {
            return MAX_EARNED;
        }
        let part = (u128::from(self.part) * u128::from(nanos)) >> 64;
        let units = self.whole.checked_mul(nanos).and_then(|whole| whole.checked_add(part as u64));
        units.unwrap_or(MAX_EARNED).min(MAX_EARNED)
    }

    /// Returns the units earned in `nanos`. The caller knows that they are fewer than [`MAX_EARNED`].
    #[inline]
    pub(super) fn earned_before_horizon(self, nanos: u64) -> u64 {
        let part = (u128::from(self.part) * u128::from(nanos)) >> 64;
        self.whole.wrapping_mul(nanos).wrapping_add(part as u64)
    }

    /// Returns the shortest time in which `units` are earned, or `None` if it is longer than 584 years.
    fn time_for(self, units: u64) -> Option<u64> {
        if self.is_infinite() {
            return Some(0);
        }
        let slope = u128::from(self.whole) << 64 | u128::from(self.part);
        let time = (u128::from(units) << 64).checked_add(slope.checked_sub(1)?)? / slope;
        u64::try_from(time).ok()
    }
}

/// The units earned by any time: `anchor_units` at `anchor_time`, and `slope` per nanosecond from then on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) slope: Slope,
    /// The maximum amount that a bucket keeps, in units.
    pub(super) burst: u64,
    pub(super) anchor_time: u64,
    pub(super) anchor_units: u64,
}

impl Schedule {
    pub(super) fn new(slope: Slope, burst: u64, now: u64) -> Self {
        Schedule { slope, burst, anchor_time: now, anchor_units: BASE }
    }

    pub(super) fn is_infinite(&self) -> bool {
        self.slope.is_infinite()
    }

    /// Returns the amount that a full bucket has spent at the anchor.
    pub(super) fn spent_when_full(&self) -> u64 {
        self.anchor_units - self.burst
    }

    /// Returns a duration after the anchor within which less than [`LIMIT`] is earned. It is zero for an infinite rate.
    pub(super) fn horizon(&self) -> u64 {
        self.slope.time_for(LIMIT.saturating_sub(self.anchor_units)).unwrap_or(u64::MAX)
    }

    /// Returns the units earned by `now`.
    pub(super) fn earned(&self, now: u64) -> u64 {
        // Time only moves forward: a reading from before the anchor counts as a reading at the anchor.
        self.anchor_units.saturating_add(self.slope.earned(now.saturating_sub(self.anchor_time)))
    }

    /// Returns the first time at which `target` units are earned.
    pub(super) fn time_of(&self, target: u64) -> Option<u64> {
        match target.saturating_sub(self.anchor_units) {
            0 => Some(self.anchor_time),
            missing => self.anchor_time.checked_add(self.slope.time_for(missing)?),
        }
    }

    /// Changes the slope from `now` on.
    pub(super) fn change_slope(&mut self, slope: Slope, now: u64) {
        let now = now.max(self.anchor_time);
        // At an infinite rate no units are counted.
        self.anchor_units = if self.is_infinite() { BASE } else { self.earned(now) };
        self.anchor_time = now;
        self.slope = slope;
    }

    /// Returns whether the schedule has to start again.
    pub(super) fn is_at_limit(&self, now: u64) -> bool {
        !self.is_infinite() && self.earned(now) >= LIMIT
    }

    /// Starts the schedule again from [`BASE`]. Returns the amount by which all earlier amounts must be lowered.
    pub(super) fn start_again(&mut self, now: u64) -> u64 {
        let lowered = self.earned(now) - BASE;
        self.anchor_time = now.max(self.anchor_time);
        self.anchor_units = BASE;
        lowered
    }
}

/// Returns `tokens` in units.
pub(super) fn units(tokens: u32) -> u64 {
    u64::from(tokens) << TOKEN_BITS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::rate::Rate;
    use super::*;

    proptest! {
        #[test]
        fn time_for_an_amount_is_the_first_that_earns_it(
            tokens in 0u32..,
            period in 1u64..,
            units in 0u64..LIMIT,
        ) {
            let slope = Rate::per(tokens, Duration::from_nanos(period)).slope();
            match slope.time_for(units) {
                Some(time) => {
                    prop_assert!(slope.earned(time) >= units);
                    prop_assert!(time == 0 || slope.earned(time - 1) < units);
                }
                None => prop_assert!(slope.earned(u64::MAX) < units || slope.whole == 0 && slope.part == 0),
            }
        }

        #[test]
        fn amount_exceeds_the_exact_one_by_less_than_a_unit(tokens in 0u32..1 << 30, period in 1u64 << 20.., time: u64) {
            let slope = Rate::per(tokens, Duration::from_nanos(period)).slope();
            let (earned, exact) = (u128::from(slope.earned(time)), u128::from(tokens) << TOKEN_BITS);
            // Checks `earned * period <= exact * time + period`. `exact * time` is split so that it does not overflow.
            let (whole, rest) = (exact / u128::from(period), exact % u128::from(period));
            let due = whole * u128::from(time) + rest * u128::from(time) / u128::from(period);
            prop_assert!(earned <= due + 1 && (earned + 1 >= due || earned == u128::from(MAX_EARNED)), "{earned} of {due}");
        }
    }
}
