//! Waiting for tokens, in order.
//!
//! Each waiter sleeps until its own time and then finds its place due; nobody hands out anything, so a waiter that is not
//! polled holds up nobody. Who leaves wakes the first of the others, which looks at its place again and, once served,
//! wakes the next.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ripcord::Context;

use super::WaitError;
use super::ledger::Take;
use super::schedule::units;
use super::tokens::{Count, Tokens};
use crate::Refused;
use crate::cache::time_left;
use crate::caller::end_of;
use crate::panics::{shielded, wake};

/// Waits of more than a century are slept in pieces.
const LONGEST_SLEEP: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

pub(super) async fn wait(limiter: &Arc<Tokens>, ctx: &Context, tokens: u32) -> Result<Duration, WaitError> {
    if let Some(end) = end_of(ctx) {
        limiter.counters.bump(Count::Canceled as usize);
        return Err(end.into());
    }
    let mut place = match enqueue(limiter, ctx, tokens)? {
        Some(place) => place,
        None => {
            limiter.counters.bump(Count::Waited as usize);
            return Ok(Duration::ZERO);
        }
    };
    loop {
        if let Some(waited) = place.try_serve() {
            return Ok(waited);
        }
        let due = place.due(None);
        place.check_deadline(ctx, due)?;
        let mut sleep = pin!(ctx.sleep(due.map_or(LONGEST_SLEEP, |due| place.until(due).min(LONGEST_SLEEP))));
        let end = poll_fn(|cx| {
            // First the tokens, then the end: what is due by now is had.
            if let Some(waited) = place.try_serve() {
                return Poll::Ready(Err(Ok(waited)));
            }
            match sleep.as_mut().poll(cx) {
                Poll::Ready(slept) => Poll::Ready(slept.map_err(|end| Err(end.into()))),
                // Somebody may have left, or set the rate, since the sleep began.
                Poll::Pending if place.due(Some(cx.waker().clone())) != due => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Err(result) = end.await {
            return result;
        }
    }
}

/// Takes tokens, or a place in the queue for them.
fn enqueue<'a>(limiter: &'a Arc<Tokens>, ctx: &Context, tokens: u32) -> Result<Option<Place<'a>>, WaitError> {
    let ledger = &limiter.ledger;
    if ledger.take(tokens) {
        return Ok(None);
    }
    let remaining = time_left(ctx);
    let mut book = ledger.book();
    match ledger.take_or_tell(&mut book, tokens) {
        Some(Take::Granted(_)) => return Ok(None),
        Some(Take::Later(needed)) => {
            let needed = needed.unwrap_or(Duration::MAX);
            if let Some(remaining) = remaining.filter(|remaining| needed >= *remaining) {
                limiter.counters.bump(Count::DeadlineRefused as usize);
                return Err(Refused::too_near(ctx, needed, remaining));
            }
        }
        None => {
            limiter.counters.bump(Count::Exceeded as usize);
            return Err(Refused::exceeds_burst(tokens, book.burst));
        }
    }
    let now = ledger.settle(&mut book);
    book.queue.prune(now);
    match ledger.take_ahead(&book, tokens, now, |_| true) {
        Some(ahead) => {
            let id = book.queue.push_waiter(ahead.start, units(tokens));
            Ok(Some(Place { limiter, id, since: now, waiting: true }))
        }
        // Promised for longer than anybody can count.
        None => {
            limiter.counters.bump(Count::DeadlineRefused as usize);
            Err(Refused::limited(None))
        }
    }
}

/// A place in the queue. Dropped while waiting, it is given up.
struct Place<'a> {
    limiter: &'a Arc<Tokens>,
    id: u64,
    since: u64,
    waiting: bool,
}

impl Place<'_> {
    /// Takes the tokens if they are due, and tells how long that took.
    fn try_serve(&mut self) -> Option<Duration> {
        let ledger = &self.limiter.ledger;
        let mut book = ledger.book();
        let now = ledger.settle(&mut book);
        let earned = book.schedule.earned(now);
        if book.queue.nobody_due(earned) {
            return None;
        }
        // Not there any more: forgotten because the rate was infinite meanwhile, which made it due.
        if book.queue.end_of(self.id).is_some_and(|end| end > earned) {
            return None;
        }
        let waker = book.queue.keep(self.id);
        let next = book.queue.first_waker();
        let waited = Duration::from_nanos(now.saturating_sub(self.since));
        book.total_wait += waited;
        book.longest_wait = book.longest_wait.max(waited);
        drop(book);
        self.waiting = false;
        self.limiter.counters.bump(Count::Waited as usize);
        shielded(|| drop(waker));
        if let Some(next) = next {
            wake(next);
        }
        Some(waited)
    }

    /// When the tokens will be due, none if never; keeps `waker` to be woken when that may have changed.
    fn due(&self, waker: Option<Waker>) -> Option<u64> {
        let mut book = self.limiter.ledger.book();
        let due = match book.queue.end_of(self.id) {
            Some(end) => book.schedule.time_of(end),
            None => Some(0),
        };
        let replaced = waker.and_then(|waker| book.queue.set_waker(self.id, waker));
        drop(book);
        // A waker's drop may run anything; not under the lock.
        drop(replaced);
        due
    }

    fn until(&self, due: u64) -> Duration {
        Duration::from_nanos(due.saturating_sub(self.limiter.ledger.time.now()))
    }

    /// Fails if `due` is not before the deadline.
    fn check_deadline(&mut self, ctx: &Context, due: Option<u64>) -> Result<(), WaitError> {
        let Some(remaining) = time_left(ctx) else { return Ok(()) };
        let needed = due.map_or(Duration::MAX, |due| self.until(due));
        // At the deadline itself the context tells its own story.
        if needed < remaining || remaining.is_zero() {
            return Ok(());
        }
        self.waiting = false;
        self.limiter.counters.bump(Count::DeadlineRefused as usize);
        self.limiter.call_off(self.id);
        Err(Refused::too_near(ctx, needed, remaining))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.limiter.counters.bump(Count::Canceled as usize);
            self.limiter.call_off(self.id);
        }
    }
}
