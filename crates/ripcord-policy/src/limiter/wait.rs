//! Waiting for tokens, in order.
//!
//! Each waiter sleeps until its promise is due and then serves itself. No other code hands out tokens, so a waiter that is not
//! polled does not delay other waiters. A new rate wakes all waiters. They then sleep until their new times.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::panic::Location;
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use ripcord::Context;

use super::bucket::{Bucket, Claim, Claimed, Progress};
use super::queue::PromiseId;
use super::stats::Count;
use crate::Refused;

/// Waits for `tokens`, and returns the duration of the wait. `built_at` is the line that built the limiter.
pub(super) async fn wait(
    bucket: &Bucket,
    ctx: &Context,
    tokens: u32,
    built_at: &'static Location<'static>,
) -> Result<Duration, Refused> {
    if let Err(end) = ctx.check() {
        bucket.numbers.bump(Count::OtherRefused);
        return Err(Refused::ended(end));
    }
    let Some((mut waiter, mut due)) = Waiter::join(bucket, ctx, tokens, built_at)? else {
        bucket.numbers.bump(Count::Waited);
        return Ok(Duration::ZERO);
    };
    loop {
        let mut sleep = pin!(ctx.sleep(waiter.until(due)));
        let step = poll_fn(|cx| match waiter.progress(cx.waker()) {
            // Tokens that are due win over the end of the context.
            Progress::Served(waited) => Poll::Ready(Ok(ControlFlow::Break(waited))),
            Progress::Due(now) if now != due => Poll::Ready(Ok(ControlFlow::Continue(now))),
            Progress::Due(_) => sleep.as_mut().poll(cx).map_ok(|()| ControlFlow::Continue(due)),
        });
        match step.await? {
            ControlFlow::Break(waited) => return Ok(waited),
            ControlFlow::Continue(now) => due = now,
        }
        waiter.check_deadline(ctx, due)?;
    }
}

/// A waiter with a promise. If it is dropped while it waits, it gives the promise up.
struct Waiter<'a> {
    bucket: &'a Bucket,
    built_at: &'static Location<'static>,
    id: PromiseId,
    since: u64,
    /// The counter for a drop. `None` once the promise is kept or given up.
    counts_as: Option<Count>,
}

impl<'a> Waiter<'a> {
    /// Takes a promise of `tokens`, and returns when they are due. Takes the tokens and returns `None` if the bucket has them now.
    fn join(
        bucket: &'a Bucket,
        ctx: &Context,
        tokens: u32,
        built_at: &'static Location<'static>,
    ) -> Result<Option<(Self, Option<u64>)>, Refused> {
        if bucket.take(tokens) {
            return Ok(None);
        }
        let remaining = ctx.remaining();
        let refused = match bucket.claim(tokens, Claim::Wait { remaining }) {
            Claimed::Now(_) => return Ok(None),
            Claimed::Later { id, since, act_at } => {
                bucket.numbers.waiter_joins();
                let counts_as = Some(Count::Canceled);
                return Ok(Some((Waiter { bucket, built_at, id, since, counts_as }, act_at)));
            }
            Claimed::TooLate { needed } => {
                bucket.numbers.bump(Count::DeadlineRefused);
                return Err(Refused::too_near(ctx, needed, remaining.unwrap_or_default(), Some(built_at)));
            }
            Claimed::ExceedsBurst { burst } => Refused::exceeds_burst(tokens, burst, built_at),
            Claimed::Never => Refused::limited(built_at),
        };
        bucket.numbers.bump(Count::OtherRefused);
        Err(refused)
    }

    fn progress(&mut self, waker: &Waker) -> Progress {
        let progress = self.bucket.progress(self.id, self.since, waker.clone());
        if let Progress::Served(waited) = progress {
            self.counts_as = None;
            self.bucket.numbers.waiter_is_served(waited);
        }
        progress
    }

    fn until(&self, due: Option<u64>) -> Duration {
        due.map_or(Duration::MAX, |due| Duration::from_nanos(due.saturating_sub(self.bucket.time.now())))
    }

    /// Fails if the promise is not due before the deadline. `due` is the time of the promise.
    fn check_deadline(&mut self, ctx: &Context, due: Option<u64>) -> Result<(), Refused> {
        let Some(remaining) = ctx.remaining() else { return Ok(()) };
        let needed = self.until(due);
        // At the deadline itself, the context reports its own end.
        if needed < remaining || remaining.is_zero() {
            return Ok(());
        }
        self.counts_as = Some(Count::DeadlineRefused);
        Err(Refused::too_near(ctx, needed, remaining, Some(self.built_at)))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.counts_as {
            self.bucket.give_up(self.id);
            self.bucket.numbers.waiter_leaves(count);
        }
    }
}
