//! Leave to make one call.

use std::fmt;
use std::time::Instant;

use super::machine::Pass;
use super::shared::{Count, Shared};
use crate::Outcome;
use crate::panics::shielded;

/// Leave to make one call, to be told what became of it.
///
/// Dropped without a word it is neutral: a probe's place is given back, and nothing is learned.
#[must_use = "dropping it says nothing about the call"]
pub struct Permit<'a> {
    shared: &'a Shared,
    pass: Pass,
    /// When the call began, if slow calls count.
    began: Option<Instant>,
    open: bool,
}

impl<'a> Permit<'a> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, pass: Pass) -> Self {
        let began = shared.slow_after.map(|_| shared.clock.now());
        Permit { shared, pass, began, open: true }
    }

    /// Has the call begin now, for one that had to queue after it was let through: both the time that a slow call is
    /// measured by and the time that a probe has to answer in, if that is not up already.
    pub fn restart_clock(&mut self) {
        self.shared.sent(self.pass);
        self.began = self.shared.slow_after.map(|_| self.shared.clock.now());
    }

    /// The call did well.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// The callee is to blame.
    pub fn failure(self) {
        self.record(Outcome::Failure);
    }

    /// The call was of this outcome.
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// In place: moving a permit costs more than all that it does.
    #[inline]
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.open = false;
        self.shared.tally.count(outcome.into());
        let slow = match (self.began, self.shared.slow_after) {
            (Some(began), Some(limit)) if outcome != Outcome::Neutral => {
                self.shared.clock.now().saturating_duration_since(began) >= limit
            }
            _ => false,
        };
        if slow {
            self.shared.tally.bump(Count::Slow as usize);
        }
        self.shared.record(self.pass, outcome, slow);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.open {
            // A hook may be run by this, if a probe has hung meanwhile, and this may run while a panic unwinds: a
            // second one would end the process.
            shielded(|| self.end(Outcome::Neutral));
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("breaker", &self.shared.name).field("probe", &self.pass.probe).finish()
    }
}
