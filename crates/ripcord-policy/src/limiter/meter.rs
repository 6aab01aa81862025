//! What a rate earns in a time, exactly, for the price of a multiplication.
//!
//! Tokens are counted in units of 2^-26 of a token. What `dt` nanoseconds earn is the floor of an exact fraction:
//!
//! # Invariants
//!
//! 1. It is computed from the units of a nanosecond as a number of 128 bits, half of them behind the point, rounded up:
//!    the result is exact or one too many.
//! 2. It can be one too many only if what lies behind the point is less than `dt` in the last place: each nanosecond adds
//!    less than one there to the error. Then, and on round times that is often, the exact fraction decides.

use super::rate::{Fraction, Rate};

/// Binary places of a token.
pub(super) const TOKEN_BITS: u32 = 26;

/// Earned by nobody: the answer when there is no end to it.
pub(super) const ENDLESS: u64 = 1 << 62;

/// The fast half of a [`Meter`]: units per nanosecond, rounded up, in two words that are read without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slope {
    pub(super) whole: u64,
    /// In 2^-64. Zero only if that is exact: see [`slope`].
    pub(super) part: u64,
}

impl Slope {
    /// What no finite rate has: they are capped at 2^63 tokens a second.
    const INFINITE: Slope = Slope { whole: u64::MAX, part: u64::MAX };

    pub(super) fn is_infinite(self) -> bool {
        self.whole == u64::MAX
    }

    /// Units earned in `dt`, where that is certain without the exact fraction; for a `dt` that earns fewer than 2^64.
    #[inline]
    pub(super) fn certain(self, dt: u64) -> Option<u64> {
        let behind = u128::from(self.part) * u128::from(dt);
        // Invariant 2.
        if (behind as u64) < dt && self.part != 0 {
            return None;
        }
        Some(self.whole.wrapping_mul(dt).wrapping_add((behind >> 64) as u64))
    }
}

/// A rate, ready to be multiplied by times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pub(super) rate: Rate,
    pub(super) slope: Slope,
    /// Units per nanosecond, exactly.
    exact: Fraction,
}

impl Meter {
    /// For a rate that has been checked.
    pub(super) fn new(rate: Rate) -> Self {
        if rate.is_infinite() {
            let exact = Fraction { numerator: 1, exponent: 0, denominator: 1 };
            return Meter { rate, slope: Slope::INFINITE, exact };
        }
        let mut exact = rate.exact();
        exact.exponent += TOKEN_BITS as i32;
        Meter { rate, slope: slope(exact), exact }
    }

    pub(super) fn is_infinite(&self) -> bool {
        self.slope.is_infinite()
    }

    /// Units earned in `dt` nanoseconds, rounded down; at most [`ENDLESS`].
    pub(super) fn earned(&self, dt: u64) -> u64 {
        let Slope { whole, part } = self.slope;
        let behind = (u128::from(part) * u128::from(dt)) >> 64;
        match whole.checked_mul(dt).and_then(|units| units.checked_add(behind as u64)) {
            Some(units) if units < ENDLESS && !self.is_infinite() => match self.slope.certain(dt) {
                Some(certain) => certain,
                None if self.reaches(dt, units) => units,
                None => units - 1,
            },
            _ => ENDLESS,
        }
    }

    /// What [`Meter::earned`] rounded away, in 2^-64 of a unit, itself rounded down.
    pub(super) fn fraction(&self, dt: u64) -> u64 {
        let behind = (u128::from(self.slope.part) * u128::from(dt)) as u64;
        if self.is_infinite() { 0 } else { behind.saturating_sub(dt) }
    }

    /// The shortest time in nanoseconds that earns `units`; none if that is over five hundred years.
    pub(super) fn time_for(&self, units: u64) -> Option<u64> {
        if units == 0 || self.is_infinite() {
            return Some(0);
        }
        if self.earned(u64::MAX) < units {
            return None;
        }
        let Fraction { numerator, exponent, denominator } = self.exact;
        let wanted = u128::from(units) * u128::from(denominator);
        let (left, right) = (exponent.max(0) as u32, exponent.min(0).unsigned_abs());
        if right < wanted.leading_zeros() && left < u128::from(numerator).leading_zeros() {
            let time = (wanted << right).div_ceil(u128::from(numerator) << left);
            return u64::try_from(time).ok();
        }
        // The numbers are too long to divide: search.
        let (mut low, mut high) = (0, u64::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.earned(middle) >= units { high = middle } else { low = middle + 1 }
        }
        Some(low)
    }

    /// Whether `dt` nanoseconds earn `units` by the exact fraction.
    fn reaches(&self, dt: u64, units: u64) -> bool {
        let Fraction { numerator, exponent, denominator } = self.exact;
        let earned = u128::from(numerator) * u128::from(dt);
        let wanted = u128::from(units) * u128::from(denominator);
        let (left, right) = (exponent.max(0) as u32, exponent.min(0).unsigned_abs());
        match (shifted(earned, left), shifted(wanted, right)) {
            (Some(earned), Some(wanted)) => earned >= wanted,
            // Only one of the two is shifted; what does not fit in 128 bits is the larger.
            (None, _) => true,
            (_, None) => false,
        }
    }
}

/// `number * 2^by`, if that fits.
fn shifted(number: u128, by: u32) -> Option<u128> {
    if number == 0 {
        return Some(0);
    }
    (by < 128 && by <= number.leading_zeros()).then(|| number << by)
}

/// `fraction` as a number of 128 bits with the point in the middle, rounded up.
///
/// Rounding never carries into the whole: a fraction within 2^-64 of the next integer would take more bits than the 53 of a
/// float or the 64 of a period have. So a part of zero is exact.
fn slope(fraction: Fraction) -> Slope {
    let Fraction { numerator, exponent, denominator } = fraction;
    let denominator = u128::from(denominator);
    // Long division, 64 bits behind the point; `numerator * 2^left` fits, as rates are capped.
    let (left, right) = (exponent.max(0) as u32, exponent.min(0).unsigned_abs());
    let numerator = u128::from(numerator) << left;
    let (whole, rest) = (numerator / denominator, numerator % denominator);
    let (part, left_over) = ((rest << 64) / denominator, (rest << 64) % denominator);
    // Shifting right moves bits of the whole behind the point; what falls off the end counts as left over.
    let number = whole << 64 | part;
    let shifted = number.checked_shr(right).unwrap_or(0);
    let lost = if right < 128 { number & ((1u128 << right) - 1) } else { number };
    let rounded = shifted + u128::from(lost != 0 || left_over != 0);
    Slope { whole: (rounded >> 64) as u64, part: rounded as u64 }
}
