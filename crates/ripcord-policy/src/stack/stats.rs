//! What a stack has done so far.

use ripcord::Context;

use crate::caller::end_of;
use crate::stats::Counters;
use crate::{Error, Outcome};

/// Numbers of a [`Stack`](super::Stack); see [`stats`](crate::stats) for the shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackStats {
    /// Calls begun.
    pub started: u64,
    /// Calls that ended well, a fallback's answer included.
    pub succeeded: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls given up by the caller, and calls that a layer refused in the end.
    pub canceled: u64,
    /// Calls not begun, because the caller's context had ended.
    pub rejected: u64,
    /// Attempts that reached the call itself.
    pub attempts: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Started,
    Succeeded,
    Failed,
    Canceled,
    Rejected,
    Attempts,
}

#[derive(Debug)]
pub(super) struct Tally(Counters<6>);

impl Tally {
    pub(super) fn new() -> Self {
        Self(Counters::new())
    }

    pub(super) fn add(&self, count: Count) {
        self.0.bump(count as usize);
    }

    pub(super) fn stats(&self) -> StackStats {
        let [started, succeeded, failed, canceled, rejected, attempts] = self.0.read();
        StackStats { started, succeeded, failed, canceled, rejected, attempts }
    }
}

/// A call under way. Dropped without an end, it counts as canceled.
pub(super) struct Running<'a> {
    tally: &'a Tally,
    count: Count,
}

impl<'a> Running<'a> {
    pub(super) fn begin<E>(tally: &'a Tally, ctx: &Context) -> Result<Self, Error<E>> {
        if let Some(error) = end_of(ctx) {
            tally.add(Count::Rejected);
            return Err(Error::Context(error));
        }
        tally.add(Count::Started);
        Ok(Self { tally, count: Count::Canceled })
    }

    pub(super) fn end<T, E>(mut self, ctx: &Context, result: Result<T, Error<E>>) -> Result<T, Error<E>> {
        self.count = match Outcome::of(&result, Error::outcome) {
            Outcome::Success => Count::Succeeded,
            Outcome::Failure if !ctx.is_done() => Count::Failed,
            Outcome::Failure | Outcome::Neutral => Count::Canceled,
        };
        result
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.tally.add(self.count);
    }
}
