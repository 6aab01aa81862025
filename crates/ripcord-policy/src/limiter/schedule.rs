//! Tokens earned since the beginning, as a function of time.

use super::meter::{ENDLESS, Meter, Slope, TOKEN_BITS};
use super::rate::Rate;

/// Where a schedule begins. Above every burst, so that a burst can be subtracted.
pub(super) const BASE: u64 = 1 << 59;

/// How far a schedule may get before it is begun again from [`BASE`].
pub(super) const LIMIT: u64 = ENDLESS - BASE;

/// Units earned up to any time: `anchor_units` at `anchor_time`, and on from there at one rate.
///
/// Never more than the exact sum over all rates so far, and less by two units at most.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) meter: Meter,
    /// The most that can be kept, in units.
    pub(super) burst: u64,
    pub(super) anchor_time: u64,
    pub(super) anchor_units: u64,
    /// Earned at the anchor besides, in 2^-64 of a unit; paid out at the next anchor, so that a rate that is set a
    /// thousand times a second loses nothing by it.
    carry: u64,
}

/// The part of a schedule that the fast path reads, word by word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) slope: Slope,
    pub(super) anchor_time: u64,
    pub(super) anchor_units: u64,
    pub(super) burst: u64,
    /// How long after the anchor less than [`LIMIT`] is earned, at the least: zero at an infinite rate.
    pub(super) horizon: u64,
}

impl Schedule {
    pub(super) fn new(rate: Rate, burst: u32, now: u64) -> Self {
        Schedule { meter: Meter::new(rate), burst: units(burst), anchor_time: now, anchor_units: BASE, carry: 0 }
    }

    /// What has been spent by somebody who has all of the burst to spend.
    pub(super) fn full(&self) -> u64 {
        self.anchor_units - self.burst
    }

    pub(super) fn line(&self) -> Line {
        let Schedule { meter, burst, anchor_time, anchor_units, .. } = *self;
        let horizon = meter.time_for(LIMIT.saturating_sub(anchor_units)).unwrap_or(u64::MAX);
        Line { slope: meter.slope, anchor_time, anchor_units, burst, horizon }
    }

    /// Units earned by `now`; at most [`LIMIT`] or a little above, from where it should be begun again.
    pub(super) fn earned(&self, now: u64) -> u64 {
        // A reading from before the anchor is as good as one at the anchor: time only moves forward.
        let since = now.saturating_sub(self.anchor_time);
        self.anchor_units.saturating_add(self.meter.earned(since))
    }

    /// The first time by which `target` units are earned.
    pub(super) fn time_of(&self, target: u64) -> Option<u64> {
        let missing = target.saturating_sub(self.anchor_units);
        self.anchor_time.checked_add(self.meter.time_for(missing)?)
    }

    /// The same amounts up to `now`, and `rate` from there.
    pub(super) fn change_rate(&mut self, rate: Rate, now: u64) {
        let now = now.max(self.anchor_time);
        let since = now - self.anchor_time;
        if self.meter.is_infinite() {
            // There is no telling how much: whoever comes back from it begins with a full burst.
            self.anchor_units = BASE;
        } else {
            let earned = self.earned(now);
            let (carry, over) = self.carry.overflowing_add(self.meter.fraction(since));
            self.carry = carry;
            self.anchor_units = earned + u64::from(over);
        }
        self.anchor_time = now;
        self.meter = Meter::new(rate);
    }

    /// Begins again from [`BASE`] at `now`; returns what all amounts of before have to be lowered by.
    pub(super) fn rebase(&mut self, now: u64) -> u64 {
        self.change_rate(self.meter.rate, now);
        let lowered = self.anchor_units - BASE;
        self.anchor_units = BASE;
        lowered
    }
}

/// Tokens as units.
pub(super) fn units(tokens: u32) -> u64 {
    u64::from(tokens) << TOKEN_BITS
}
