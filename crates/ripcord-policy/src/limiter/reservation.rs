//! Tokens taken ahead of time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ledger::Take;
use super::schedule::units;
use super::tokens::{Count, Tokens};
use crate::Refused;

/// Tokens that are the holder's from [`act_at`](Reservation::act_at) on.
///
/// Dropping it changes nothing: the tokens are taken, and whoever holds one is expected to wait and then act.
/// [`cancel`](Reservation::cancel) gives them back.
#[derive(Debug)]
#[must_use = "the tokens are taken; wait until `act_at`, or `cancel`"]
pub struct Reservation {
    limiter: Arc<Tokens>,
    tokens: u32,
    /// None if never.
    act_at: Option<u64>,
    /// None if there is nothing to give back.
    promise: Option<u64>,
}

/// More tokens were asked for than the limiter ever holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExceedsBurst {
    /// Tokens asked for.
    pub requested: u32,
    /// The most there can be.
    pub burst: u32,
}

impl Reservation {
    /// How long until the tokens may be used: zero if they may be now, `Duration::MAX` if they never will be, as the
    /// rate is zero or nearly so; nothing has been taken then.
    pub fn delay(&self) -> Duration {
        match self.act_at {
            Some(at) => Duration::from_nanos(at.saturating_sub(self.limiter.ledger.time.now())),
            None => Duration::MAX,
        }
    }

    /// When the tokens may be used, by the limiter's clock. None if never.
    pub fn act_at(&self) -> Option<Instant> {
        self.limiter.ledger.time.instant(self.act_at?)
    }

    /// Tokens reserved.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Gives the tokens back, if their time is yet to come, but for what has been promised to later reservations.
    ///
    /// Returns whether anything came back.
    pub fn cancel(self) -> bool {
        self.limiter.counters.bump(Count::Canceled as usize);
        match self.promise {
            Some(id) if !self.delay().is_zero() => self.limiter.call_off(id) > 0,
            _ => false,
        }
    }
}

impl fmt::Display for ExceedsBurst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Refused::from(*self).fmt(f)
    }
}

impl std::error::Error for ExceedsBurst {}

impl From<ExceedsBurst> for Refused {
    fn from(ExceedsBurst { requested, burst }: ExceedsBurst) -> Self {
        Refused::exceeds_burst(requested, burst)
    }
}

pub(super) fn reserve(limiter: &Arc<Tokens>, tokens: u32) -> Result<Reservation, ExceedsBurst> {
    let ledger = &limiter.ledger;
    let reservation = |act_at, promise| {
        limiter.counters.bump(Count::Reserved as usize);
        Reservation { limiter: Arc::clone(limiter), tokens, act_at, promise }
    };
    let mut book = ledger.book();
    match ledger.take_or_tell(&mut book, tokens) {
        Some(Take::Granted(now)) => return Ok(reservation(Some(now), None)),
        Some(Take::Later(_)) => {}
        None => {
            limiter.counters.bump(Count::Exceeded as usize);
            return Err(ExceedsBurst { requested: tokens, burst: book.burst });
        }
    }
    let now = ledger.settle(&mut book);
    book.queue.prune(now);
    match ledger.take_ahead(&book, tokens, now, |ahead| ahead.act_at.is_some()) {
        Some(ahead) => {
            let act_at = ahead.act_at.unwrap_or(u64::MAX);
            let id = book.queue.push_fixed(ahead.start, units(tokens), act_at);
            Ok(reservation(Some(act_at), Some(id)))
        }
        None => Ok(reservation(None, None)),
    }
}
