//! Permission to make one call.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::machine::{Admission, Refusal};
use super::shared::{Count, Shared};
use super::state::BreakerOpen;
use crate::Outcome;
use crate::panics::shielded;
use crate::stats::Call;

/// Permission to make one call through a [`CircuitBreaker`](super::CircuitBreaker). Returned by
/// [`try_acquire`](super::CircuitBreaker::try_acquire).
///
/// Report the result of the call with [`success`](Permit::success), [`failure`](Permit::failure) or [`record`](Permit::record).
/// A permit that is dropped without a report counts as a canceled call, which is neither a success nor a failure.
///
/// ```
/// use ripcord_policy::CircuitBreaker;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = CircuitBreaker::builder("disk").build()?;
/// let permit = breaker.try_acquire()?;
/// match std::fs::read_to_string("Cargo.toml") {
///     Ok(_) => permit.success(),
///     Err(_) => permit.failure(),
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it says nothing about the call"]
pub struct Permit<'a> {
    shared: &'a Shared,
    admission: Admission,
    /// The start of the call. `None` if the breaker has no setting for slow calls.
    started: Option<Instant>,
    is_recorded: bool,
}

/// Admits a call. A call that `queues` calls [`Permit::restart_clock`] when it is sent. The caller creates the permit, because a
/// permit that is returned from a function and moved costs as much as the rest of a healthy call.
#[inline]
pub(super) fn admit(shared: &Shared, queues: bool) -> Result<Admission, BreakerOpen> {
    match shared.closed_generation() {
        Some(generation) => Ok(admit_to_closed(shared, generation)),
        None => admit_locked(shared, queues),
    }
}

/// Admits a call to a breaker that is closed in this generation.
#[inline]
pub(super) fn admit_to_closed(shared: &Shared, generation: u64) -> Admission {
    shared.tally.count(Call::Started);
    Admission { generation, probe: None }
}

#[cold]
fn admit_locked(shared: &Shared, queues: bool) -> Result<Admission, BreakerOpen> {
    let (acquired, changes) = shared.change(|machine, now| machine.acquire(queues, now));
    match acquired {
        Ok(admission) => {
            shared.tally.count(Call::Started);
            // Invariant 3 of `shared`.
            let permit = Permit::new(shared, admission);
            shared.tell(&changes);
            Ok(permit.into_admission())
        }
        Err(Refusal { retry_after, forced_at }) => {
            shared.tally.count(Call::Rejected);
            shared.tell(&changes);
            let name = Arc::clone(&shared.name);
            Err(BreakerOpen { name, retry_after, built_at: shared.built_at, forced_at })
        }
    }
}

impl<'a> Permit<'a> {
    #[inline]
    pub(super) fn new(shared: &'a Shared, admission: Admission) -> Self {
        let started = shared.slow_after.map(|_| shared.clock.now());
        Permit { shared, admission, started, is_recorded: false }
    }

    /// Reports to the breaker that the call succeeded.
    #[inline]
    pub fn success(self) {
        self.record(Outcome::Success);
    }

    /// Reports to the breaker that the call failed because of the called service.
    pub fn failure(self) {
        self.record(Outcome::Failure);
    }

    /// Reports the outcome of the call to the breaker. A call with the outcome [`Outcome::Neutral`] counts as canceled, and
    /// neither opens nor closes the breaker.
    #[inline]
    pub fn record(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Restarts the measurement of the call's duration. If the call waits in a queue after the permit was acquired, call
    /// this method when the call is sent.
    ///
    /// The breaker then measures from this moment whether the call is [slow](super::CircuitBreakerBuilder::slow_call). If
    /// the call is a probe of a half-open breaker, the [timeout](super::CircuitBreakerBuilder::half_open_timeout) of the
    /// probe starts again too, unless this timeout has expired already.
    pub fn restart_clock(&mut self) {
        self.shared.restart(self.admission);
        self.started = self.shared.slow_after.map(|_| self.shared.clock.now());
    }

    /// Returns the admission, from which another permit can be created.
    fn into_admission(mut self) -> Admission {
        self.is_recorded = true;
        self.admission
    }

    #[inline]
    pub(super) fn end(&mut self, outcome: Outcome) {
        self.is_recorded = true;
        self.shared.tally.count(outcome.into());
        let slow = outcome != Outcome::Neutral && self.is_slow();
        if slow {
            self.shared.tally.bump(Count::Slow as usize);
        }
        self.shared.record(self.admission, outcome, slow);
    }

    #[inline]
    fn is_slow(&self) -> bool {
        let (Some(started), Some(limit)) = (self.started, self.shared.slow_after) else { return false };
        self.shared.clock.now().saturating_duration_since(started) >= limit
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.is_recorded {
            // The end of the permit may run a hook, if a probe has timed out meanwhile. It may also happen while a panic unwinds. A
            // second panic would then abort the process.
            shielded(|| self.end(Outcome::Neutral));
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("breaker", &self.shared.name).field("probe", &self.admission.probe).finish()
    }
}
