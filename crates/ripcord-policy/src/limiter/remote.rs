//! A limiter whose bucket is in a backend.
//!
//! The backend measures the time of the bucket. The limiter only sleeps for the delays that the backend returns.

use std::future::{Future, poll_fn};
use std::panic::Location;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use ripcord::{Context, block_on};

use super::backend::{Backend, BoxFuture, BucketId, Claimed, Promise, Refunded};
use super::rate::{Quota, Rate};
use super::stats::{Count, Numbers};
use super::time::Time;
use crate::{ConfigError, Refused};

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) key: String,
    pub(super) quota: Quota,
    pub(super) has_own_quota: bool,
    /// The limiter's clock. It only measures durations for statistics and reservations.
    pub(super) time: Time,
    pub(super) numbers: Arc<Numbers>,
}

/// The answer to a reservation.
pub(super) enum Reserved {
    /// Reserved. `act_at` is `None` if the tokens may never be used.
    At {
        act_at: Option<u64>,
        promise: Option<Box<dyn Promise>>,
    },
    ExceedsBurst {
        burst: u32,
    },
}

impl Remote {
    fn id(&self) -> BucketId<'_> {
        BucketId { key: &self.key, quota: self.quota, has_own_quota: self.has_own_quota }
    }

    /// Claims tokens. The tokens of a claim that is dropped in flight are counted when they return.
    fn claim(&self, tokens: u32, longest_wait: Option<Duration>) -> BoxFuture<'_, Claimed> {
        self.backend.claim(self.id(), tokens, longest_wait, counting(&self.numbers, |_| {}))
    }

    pub(super) fn allow(&self, tokens: u32) -> bool {
        let count = match block_on(self.claim(tokens, Some(Duration::ZERO))) {
            Claimed::Granted { delay: Some(Duration::ZERO), .. } => Count::Allowed,
            Claimed::Granted { promise, .. } => {
                promise.into_iter().for_each(|promise| self.refund(promise));
                Count::Denied
            }
            Claimed::Late(_) | Claimed::ExceedsBurst { .. } | Claimed::Full => Count::Denied,
            Claimed::Unavailable { .. } => Count::Unavailable,
        };
        self.numbers.bump(count);
        matches!(count, Count::Allowed)
    }

    pub(super) fn reserve(&self, tokens: u32) -> Reserved {
        let (count, reserved) = match block_on(self.claim(tokens, None)) {
            // Tokens that are never available are not reserved: their time would be forever.
            Claimed::Granted { delay: None, promise } => {
                promise.into_iter().for_each(|promise| self.refund(promise));
                (Count::Reserved, Reserved::At { act_at: None, promise: None })
            }
            Claimed::Granted { delay: Some(delay), promise } => {
                let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
                (Count::Reserved, Reserved::At { act_at: Some(self.time.now().saturating_add(delay)), promise })
            }
            Claimed::Late(_) | Claimed::Full => (Count::Reserved, Reserved::At { act_at: None, promise: None }),
            Claimed::ExceedsBurst { burst } => (Count::OtherRefused, Reserved::ExceedsBurst { burst }),
            Claimed::Unavailable { .. } => (Count::Unavailable, Reserved::At { act_at: None, promise: None }),
        };
        self.numbers.bump(count);
        reserved
    }

    pub(super) fn set_rate(&self, rate: Rate) -> Result<(), ConfigError> {
        block_on(self.backend.set_rate(rate))
    }

    pub(super) fn set_burst(&self, burst: u32) -> Result<(), ConfigError> {
        block_on(self.backend.set_burst(burst))
    }

    pub(super) fn quota(&self) -> Quota {
        block_on(self.backend.quota(self.id()))
    }

    pub(super) fn tokens(&self) -> f64 {
        block_on(self.backend.tokens(self.id()))
    }

    /// Starts a refund, without waiting for it.
    fn refund(&self, promise: Box<dyn Promise>) {
        start_refund(promise, &self.numbers, |_| {});
    }
}

/// Starts a refund. Counts the returned tokens, and passes their number to `then`.
pub(super) fn start_refund(promise: Box<dyn Promise>, numbers: &Arc<Numbers>, then: impl FnOnce(u32) + Send + 'static) {
    promise.refund(counting(numbers, then));
}

/// Returns a function that counts returned tokens, and passes their number to `then`.
fn counting(numbers: &Arc<Numbers>, then: impl FnOnce(u32) + Send + 'static) -> Refunded {
    let numbers = Arc::clone(numbers);
    Box::new(move |tokens| {
        numbers.add(Count::Refunded, u64::from(tokens));
        then(tokens);
    })
}

/// Makes a refund, and waits for it. Returns whether tokens returned.
pub(super) fn refund_blocking(promise: Box<dyn Promise>, numbers: &Arc<Numbers>) -> bool {
    let (sender, receiver) = mpsc::sync_channel(1);
    start_refund(promise, numbers, move |tokens| {
        // The receiver waits below.
        let _ = sender.send(tokens);
    });
    receiver.recv().is_ok_and(|tokens| tokens > 0)
}

/// Waits for `tokens`. Returns the duration of the wait, and the promise with which the tokens can be returned. `built_at` is the
/// line that built the limiter.
pub(super) async fn wait(
    remote: &Remote,
    ctx: &Context,
    tokens: u32,
    built_at: &'static Location<'static>,
) -> Result<(Duration, Option<Box<dyn Promise>>), Refused> {
    if let Err(end) = ctx.check() {
        remote.numbers.bump(Count::OtherRefused);
        return Err(Refused::ended(end));
    }
    let since = remote.time.now();
    let mut waiter = Waiter::new(remote, built_at);
    let remaining = ctx.remaining();
    // If this is dropped while the claim is in flight, the backend returns the tokens.
    let mut due = match ctx.run(remote.claim(tokens, remaining)).await? {
        Claimed::Granted { delay: Some(Duration::ZERO), promise } => {
            waiter.is_served(Duration::ZERO);
            return Ok((Duration::ZERO, promise));
        }
        Claimed::Granted { delay, promise } => {
            waiter.promise = promise;
            delay
        }
        refused => return Err(waiter.refused(ctx, tokens, remaining, refused)),
    };
    loop {
        waiter.check_deadline(ctx, due)?;
        let start = ctx.clock().now();
        let moved = {
            let mut sleep = pin!(ctx.sleep(due.unwrap_or(Duration::MAX)));
            let mut moved = waiter.promise.as_mut().map(|promise| promise.moved());
            poll_fn(|cx| {
                if let Poll::Ready(slept) = sleep.as_mut().poll(cx) {
                    return Poll::Ready(Err(slept));
                }
                match &mut moved {
                    Some(moved) => moved.as_mut().poll(cx).map(Ok),
                    None => Poll::Pending,
                }
            })
            .await
        };
        match moved {
            Ok(delay) => due = delay,
            // Tokens that are due win over the end of the context.
            Err(Err(end)) if due.is_none_or(|due| ctx.clock().now().saturating_duration_since(start) < due) => {
                return Err(Refused::ended(end));
            }
            Err(_) => {
                let waited = Duration::from_nanos(remote.time.now().saturating_sub(since));
                let promise = waiter.promise.take();
                waiter.is_served(waited);
                return Ok((waited, promise));
            }
        }
    }
}

/// A waiter. If it is dropped while it waits, its tokens return to the bucket.
struct Waiter<'a> {
    remote: &'a Remote,
    built_at: &'static Location<'static>,
    promise: Option<Box<dyn Promise>>,
    /// The counter for a drop. `None` once the waiter has its tokens.
    counts_as: Option<Count>,
}

impl<'a> Waiter<'a> {
    fn new(remote: &'a Remote, built_at: &'static Location<'static>) -> Self {
        remote.numbers.waiter_joins();
        Waiter { remote, built_at, promise: None, counts_as: Some(Count::Canceled) }
    }

    fn is_served(&mut self, waited: Duration) {
        self.counts_as = None;
        self.remote.numbers.waiter_is_served(waited);
    }

    /// Returns the error of a claim that the backend refused. `remaining` is the time until the deadline, as the backend got it.
    fn refused(&mut self, ctx: &Context, tokens: u32, remaining: Option<Duration>, claimed: Claimed) -> Refused {
        let built_at = self.built_at;
        let (count, refused) = match (claimed, remaining) {
            (Claimed::Late(delay), Some(remaining)) => {
                let needed = delay.unwrap_or(Duration::MAX);
                (Count::DeadlineRefused, Refused::too_near(ctx, needed, remaining, Some(built_at)))
            }
            (Claimed::ExceedsBurst { burst }, _) => {
                (Count::OtherRefused, Refused::exceeds_burst(tokens, burst, built_at))
            }
            (Claimed::Unavailable { retry_after }, _) => {
                (Count::Unavailable, Refused::unavailable(retry_after, built_at))
            }
            (Claimed::Late(_) | Claimed::Full | Claimed::Granted { .. }, _) => {
                (Count::OtherRefused, Refused::limited(built_at))
            }
        };
        self.counts_as = Some(count);
        refused
    }

    /// Fails if the tokens are not due before the deadline.
    fn check_deadline(&mut self, ctx: &Context, due: Option<Duration>) -> Result<(), Refused> {
        let Some(remaining) = ctx.remaining() else { return Ok(()) };
        let needed = due.unwrap_or(Duration::MAX);
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
        if let Some(promise) = self.promise.take() {
            self.remote.refund(promise);
        }
        if let Some(count) = self.counts_as {
            self.remote.numbers.waiter_leaves(count);
        }
    }
}
