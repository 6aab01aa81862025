//! What the handles of a limiter share: its ledger and its numbers.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::ledger::{Book, Ledger};
use super::meter::TOKEN_BITS;
use super::queue::CalledOff;
use super::rate::Rate;
use crate::panics::{shielded, wake};
use crate::sync::MutexGuard;
use crate::tally::Tally;

/// The numbers of a limiter, of another shape than those of policies that run calls: see [`stats`](crate::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterStats {
    /// Calls of `allow` that got their tokens.
    pub allowed: u64,
    /// Calls of `allow` that did not.
    pub denied: u64,
    /// Reservations made.
    pub reserved: u64,
    /// Waits that got their tokens, those that did so at once included.
    pub waited: u64,
    /// Waits given up, by their context or by being dropped, and reservations canceled.
    pub canceled: u64,
    /// Waits refused because they could not have ended before the deadline.
    pub deadline_refused: u64,
    /// All that was refused: `denied`, `deadline_refused`, and waits and reservations above the burst.
    pub rejected: u64,
    /// Units given back by what was canceled or refused on the way, in whole tokens.
    pub refunded: u64,
    /// Who waits now.
    pub waiters: usize,
    /// The sum of all waits that got their tokens.
    pub total_wait: Duration,
    /// The longest of them.
    pub longest_wait: Duration,
}

#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) ledger: Ledger,
    pub(super) counters: Arc<Tally<8>>,
}

impl Tokens {
    pub(super) fn new(ledger: Ledger) -> Self {
        Tokens { ledger, counters: Arc::new(Tally::new()) }
    }

    #[inline]
    pub(super) fn allow(&self, n: u32) -> bool {
        let granted = self.ledger.take(n);
        // Two calls: to work out the index from the answer takes as long as half of the rest (row P1).
        if granted {
            self.counters.bump(Count::Allowed as usize);
        } else {
            self.counters.bump(Count::Denied as usize);
        }
        granted
    }

    /// Sets the rate; returns whom to wake, to be done without any lock.
    #[must_use]
    pub(super) fn set_rate(&self, rate: Rate) -> Vec<Waker> {
        let mut book = self.ledger.book();
        let wakers = book.queue.wakers();
        self.ledger.set_rate(&mut book, rate);
        wakers
    }

    pub(super) fn set_burst(&self, burst: u32) {
        self.ledger.set_burst(&mut self.ledger.book(), burst);
    }

    /// Calls a promise off and lets the next waiter look again.
    pub(super) fn call_off(&self, id: u64) -> u64 {
        let mut book = self.ledger.book();
        let CalledOff { free, waker } = self.ledger.call_off(&mut book, id);
        self.refunded(book, free);
        shielded(|| drop(waker));
        free
    }

    /// Takes back tokens that were granted and have not been used.
    pub(super) fn give_back(&self, tokens: u32) {
        let mut book = self.ledger.book();
        let free = self.ledger.give_back(&mut book, tokens);
        self.refunded(book, free);
    }

    /// Has the first of those who wait look at their place again: it may have moved up.
    fn refunded(&self, mut book: MutexGuard<'_, Book>, units: u64) {
        let next = book.queue.first_waker();
        drop(book);
        self.counters.add(Count::Refunded as usize, units >> TOKEN_BITS);
        if let Some(next) = next {
            wake(next);
        }
    }

    /// Whether this bucket is no different from a new one.
    pub(super) fn is_idle(&self) -> bool {
        let mut book = self.ledger.book();
        let now = self.ledger.settle(&mut book);
        book.queue.prune(now);
        let full = book.schedule.meter.is_infinite() || self.ledger.left(&mut book) == book.schedule.burst as i64;
        full && book.queue.is_empty()
    }

    pub(super) fn left(&self) -> f64 {
        let mut book = self.ledger.book();
        if book.schedule.meter.is_infinite() {
            return f64::from(book.burst);
        }
        self.ledger.left(&mut book) as f64 / f64::from(1 << TOKEN_BITS)
    }

    pub(super) fn stats(&self) -> LimiterStats {
        let book = self.ledger.book();
        let (waiters, total_wait, longest_wait) = (book.queue.waiters(), book.total_wait, book.longest_wait);
        drop(book);
        LimiterStats { waiters, total_wait, longest_wait, ..counted(&self.counters) }
    }
}

/// A token that has been granted. Dropped before it is spent, it is given back.
#[must_use = "dropping it gives the token back"]
pub(crate) struct Token<'a> {
    /// None once it is spent.
    limiter: Option<&'a Tokens>,
}

impl<'a> Token<'a> {
    pub(super) fn new(limiter: &'a Tokens) -> Self {
        Token { limiter: Some(limiter) }
    }

    /// What it was waited for is sent.
    pub(crate) fn spend(mut self) {
        self.limiter = None;
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        if let Some(limiter) = self.limiter {
            limiter.give_back(1);
        }
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Allowed,
    Denied,
    Reserved,
    Waited,
    Canceled,
    DeadlineRefused,
    Exceeded,
    Refunded,
}

/// The part of the numbers that is counted.
pub(super) fn counted(counters: &Tally<8>) -> LimiterStats {
    let [allowed, denied, reserved, waited, canceled, deadline_refused, exceeded, refunded] = counters.read();
    let rejected = denied + deadline_refused + exceeded;
    LimiterStats {
        allowed,
        denied,
        reserved,
        waited,
        canceled,
        deadline_refused,
        rejected,
        refunded,
        ..LimiterStats::default()
    }
}
