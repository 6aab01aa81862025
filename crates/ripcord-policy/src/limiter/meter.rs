//! What a rate earns in a time, exactly, for the price of a multiplication.
//!
//! Tokens are counted in units of 2^-26 of a token. What `dt` nanoseconds earn is the floor of an exact fraction:
//!
//! 1. It is approximated by `factor * dt >> shift`, where `factor` is rounded up, so the result is exact or one too many.
//! 2. It can be one too many only if the bits shifted out are fewer than `dt`: each nanosecond adds less than one to the
//!    error of the product. Then, and on round times that is often, the product of the exact fraction decides.

use super::rate::{Fraction, Rate};

/// Binary places of a token.
pub(super) const TOKEN_BITS: u32 = 26;

/// Earned by nobody: the answer when there is no end to it.
pub(super) const ENDLESS: u64 = 1 << 62;

/// The fast half of a [`Meter`]: two words, read without a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slope {
    pub(super) factor: u64,
    pub(super) shift: u32,
}

impl Slope {
    /// A shift no finite rate has: theirs are 127 at most.
    const INFINITE: Slope = Slope { factor: u64::MAX, shift: u32::MAX };
    const FLAT: Slope = Slope { factor: 0, shift: 127 };

    pub(super) fn is_infinite(self) -> bool {
        self == Slope::INFINITE
    }

    /// Units earned in `dt`, where that is certain without the exact fraction and below [`ENDLESS`].
    #[inline]
    pub(super) fn certain(self, dt: u64) -> Option<u64> {
        let product = u128::from(self.factor) * u128::from(dt);
        let units = product >> (self.shift & 127);
        let dropped = product & ((1u128 << (self.shift & 127)) - 1);
        // Invariant 2. A flat slope is never certain, and goes the exact way to its zero.
        (dropped >= u128::from(dt) && units < u128::from(ENDLESS)).then_some(units as u64)
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
        if self.is_infinite() {
            return ENDLESS;
        }
        let product = u128::from(self.slope.factor) * u128::from(dt);
        match u64::try_from(product >> self.slope.shift) {
            Ok(units) if units < ENDLESS => match self.slope.certain(dt) {
                Some(certain) => certain,
                None if self.reaches(dt, units) => units,
                None => units - 1,
            },
            _ => ENDLESS,
        }
    }

    /// What [`Meter::earned`] rounded away, in 2^-64 of a unit, itself rounded down.
    pub(super) fn fraction(&self, dt: u64) -> u64 {
        if self.is_infinite() {
            return 0;
        }
        let Slope { factor, shift } = self.slope;
        let product = u128::from(factor) * u128::from(dt);
        let dropped = product & ((1u128 << shift) - 1);
        let sure = dropped.saturating_sub(u128::from(dt));
        match shift.checked_sub(64) {
            Some(right) => (sure >> right) as u64,
            None => (sure << (64 - shift)) as u64,
        }
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

/// `fraction` as a factor of 64 significant bits, rounded up.
fn slope(fraction: Fraction) -> Slope {
    let Fraction { numerator, exponent, denominator } = fraction;
    if numerator == 0 {
        return Slope::FLAT;
    }
    let (up, down) = (numerator.leading_zeros(), denominator.leading_zeros());
    let (top, bottom) = (u128::from(numerator << up), u128::from(denominator << down));
    // The quotient of the two lies between a half and two.
    let (quotient, places) = match (top << 63).div_ceil(bottom) {
        small if small < 1 << 63 => ((top << 64).div_ceil(bottom), 64),
        large => (large, 63),
    };
    let (factor, places) = match u64::try_from(quotient) {
        Ok(factor) => (factor, places),
        // Rounding up carried into a 65th bit, and all others are zero.
        Err(_) => (1 << 63, places - 1),
    };
    let shift = places + up as i32 - down as i32 - exponent;
    match u32::try_from(shift) {
        Ok(shift @ 0..=127) => Slope { factor, shift },
        // Less than 2^-64 units a nanosecond. Fewer bits make do: the exact fraction decides more often.
        Ok(shift) => Slope { factor: factor.checked_shr(shift - 127).unwrap_or(0) + 1, shift: 127 },
        // Not reached: rates are capped at 2^63 tokens a second, which is a shift of 4.
        Err(_) => Slope { factor, shift: 0 },
    }
}
