//! What ends a request's Context, and what keeps it alive.
//!
//! 1. A request has one [`Lifetime`], however many layers it passes. Nothing else cancels its Context from within this crate.
//! 2. Strong references are held by the request in flight ([`InFlight`](super::request::InFlight)) and by every
//!    [`Detached`]. The Context has a weak one, so the two do not keep each other alive.
//! 3. The end of the response and a disconnect end the Context at once, or when the last `Detached` is dropped. One atomic
//!    number decides whether a `Detached` came first.
//! 4. The outcome is set once: the first layer or event that knows it decides.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{self, Poll},
    time::Instant,
};

use pin_project_lite::pin_project;
use ripcord::{CancelHandle, Cause, Context, Value};

use super::{ClientDisconnected, DeadlineSource, Outcome, RequestAnswered, layer::Settings, observer::EntryKey};

/// Set in [`Lifetime::state`] when the client has disconnected.
const GONE: usize = 1;
/// Set in [`Lifetime::state`] when the response has been sent.
const ANSWERED: usize = 2;
/// Set in [`Lifetime::state`] when an unwatched connection was upgraded, so that its end is never seen.
const UPGRADED: usize = 4;
/// One [`Detached`] in [`Lifetime::state`].
const DETACHED: usize = 8;

pub(super) struct Lifetime {
    cancel: CancelHandle,
    settings: Arc<Settings>,
    /// The flags above, and how many are detached. Relaxed: the number is all there is to agree on.
    state: AtomicUsize,
    /// What ends the request whether or not its client is there. Inner layers shorten it.
    deadline: Mutex<Option<Instant>>,
    outcome: OnceLock<Outcome>,
    /// The end that the request was answered with, or cut short by.
    error: OnceLock<ripcord::Error>,
    pub(super) is_grpc: bool,
}

impl Lifetime {
    pub(super) fn new(
        cancel: CancelHandle,
        settings: &Arc<Settings>,
        deadline: Option<Instant>,
        is_grpc: bool,
    ) -> Arc<Self> {
        Arc::new(Lifetime {
            cancel,
            settings: Arc::clone(settings),
            state: AtomicUsize::new(0),
            deadline: Mutex::new(deadline),
            outcome: OnceLock::new(),
            error: OnceLock::new(),
            is_grpc,
        })
    }

    /// The client has gone: ends the Context, unless something is detached.
    pub(super) fn client_gone(&self, cause: impl Into<Cause>) {
        let before = self.state.fetch_or(GONE, Ordering::Relaxed);
        if before < DETACHED && before & GONE == 0 {
            self.cancel_with(cause);
        }
    }

    /// The response has been sent: ends the Context, unless something is detached.
    pub(super) fn answered(&self) {
        let before = self.state.fetch_or(ANSWERED, Ordering::Relaxed);
        if before < UPGRADED {
            self.cancel_with(self.settings.answered.clone());
        }
    }

    /// Leaves the Context to the server's end from now on: it is answered, and goes on as another protocol.
    pub(super) fn outlives_the_answer(&self) {
        self.state.fetch_or(UPGRADED, Ordering::Relaxed);
    }

    /// Ends the Context, unless it has ended.
    pub(super) fn cancel_with(&self, cause: impl Into<Cause>) {
        self.cancel.cancel_at(cause, self.settings.location);
    }

    pub(super) fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    fn detach(&self) {
        self.state.fetch_add(DETACHED, Ordering::Relaxed);
        self.settings.counters.detached.up();
    }

    fn attach(&self) {
        self.settings.counters.detached.down();
        let left = self.state.fetch_sub(DETACHED, Ordering::Relaxed) - DETACHED;
        if left >= DETACHED {
            return;
        }
        if left & GONE != 0 {
            self.cancel_with(ClientDisconnected);
        } else if left & ANSWERED != 0 {
            self.answered();
        }
    }

    /// Records the outcome of the request, unless one is recorded already.
    pub(super) fn settle(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
    }

    /// Notes the end that the request was answered with, or cut short by.
    pub(super) fn ended(&self, error: ripcord::Error) {
        self.settle(Outcome::from_error(&error));
        let _ = self.error.set(error);
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    pub(super) fn error(&self) -> Option<ripcord::Error> {
        self.error.get().cloned()
    }

    /// Makes the request end at `deadline` at the latest.
    pub(super) fn shorten(&self, deadline: Instant) {
        let mut current = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(current.map_or(deadline, |current| current.min(deadline)));
    }

    /// Removes the deadline: it was for the answer, and there is one.
    pub(super) fn remove_deadline(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns a context that ends when the request must, whether or not its client is there.
    pub(super) fn limit(&self) -> Context {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        let Settings { server, location, .. } = &*self.settings;
        deadline.map_or_else(|| server.clone(), |deadline| server.with_deadline_at(deadline, location))
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifetime").field("state", &self.state).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

// ===== From the Context to its lifetime =====

/// A request's [`Lifetime`] and the source of its deadline, as a value of its Context. It is there as long as anybody holds the
/// Context or one derived from it.
pub(super) struct Handle {
    lifetime: Weak<Lifetime>,
    source: DeadlineSource,
    settings: Arc<Settings>,
    place: Option<EntryKey>,
}

impl Handle {
    pub(super) fn new(
        lifetime: &Arc<Lifetime>,
        source: DeadlineSource,
        settings: &Arc<Settings>,
        place: Option<EntryKey>,
    ) -> Self {
        settings.counters.held.up();
        Handle { lifetime: Arc::downgrade(lifetime), source, settings: Arc::clone(settings), place }
    }

    /// Returns the lifetime of the request in flight that `ctx` belongs to, if any.
    pub(super) fn in_flight(ctx: &Context) -> Option<Arc<Lifetime>> {
        let lifetime = ctx.value::<Handle>()?.lifetime.upgrade()?;
        (lifetime.state.load(Ordering::Relaxed) & ANSWERED == 0).then_some(lifetime)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.settings.counters.held.down();
        if let (Some(observer), Some(place)) = (&self.settings.observer, self.place) {
            observer.leave(place);
        }
    }
}

impl Value for Handle {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({})", self.source)
    }
}

/// The source of a deadline that an inner layer set.
struct InnerSource(DeadlineSource);

impl Value for InnerSource {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({})", self.0)
    }
}

/// Returns `ctx`, whose deadline is an inner layer's, with that as the source of its deadline.
pub(super) fn with_inner_source(ctx: &Context) -> Context {
    let source = match source_of(ctx) {
        DeadlineSource::Header(header) | DeadlineSource::Clamped(header) => DeadlineSource::Clamped(header),
        DeadlineSource::Local | DeadlineSource::None => DeadlineSource::Local,
    };
    ctx.with_value(InnerSource(source))
}

pub(super) fn source_of(ctx: &Context) -> DeadlineSource {
    let inner = ctx.value::<InnerSource>().map(|inner| inner.0);
    inner.or_else(|| Some(ctx.value::<Handle>()?.source)).unwrap_or(DeadlineSource::None)
}

/// Returns the place with the observer of the request that `ctx` belongs to.
#[cfg(feature = "inspector")]
pub(crate) fn entry_key_for(ctx: &Context) -> Option<EntryKey> {
    ctx.value::<Handle>()?.place
}

// ===== Detaching =====

/// Lets work of a request continue after its response, or after its client has disconnected.
///
/// While the returned [`Detached`] is held, neither the end of the response nor a disconnect ends `ctx`, or any other Context of
/// the same request. Its deadline still does, and so does the end of the server's Context. Use
/// [`without_cancel`](Context::without_cancel) to outlive those too.
///
/// A server drops a handler whose client has disconnected, and everything the handler was about to do. So work that must finish
/// needs a task of its own:
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::server::{Ctx, Ended, detach};
///
/// async fn pay(Ctx(ctx): Ctx) -> Result<String, Ended> {
///     // A payment that has started finishes, whether or not the client still waits for the receipt.
///     let payment = detach(&ctx).run(async move { charge(&ctx).await });
///     tokio::spawn(payment).await.expect("no panic")
/// }
///
/// async fn charge(ctx: &Context) -> Result<String, Ended> {
///     ctx.check()?;
///     Ok("receipt".to_owned())
/// }
/// # let _: axum::Router = axum::Router::new().route("/pay", axum::routing::post(pay));
/// ```
///
/// If `ctx` has already ended, it stays ended. A Context that belongs to no request of a
/// [`ContextLayer`](super::ContextLayer) is unchanged.
///
/// A server that has closed its connections may still have detached work:
/// [`ServerStats::detached`](super::ServerStats::detached) counts it.
pub fn detach(ctx: &Context) -> Detached {
    let lifetime = ctx.value::<Handle>().and_then(|handle| handle.lifetime.upgrade());
    if let Some(lifetime) = &lifetime {
        lifetime.detach();
    }
    Detached { lifetime }
}

/// Keeps a request's Context from ending with its response or its client, until this is dropped. Returned by [`detach`].
#[must_use = "dropping this ends the Context of a request that is over"]
#[derive(Debug)]
pub struct Detached {
    lifetime: Option<Arc<Lifetime>>,
}

impl Detached {
    /// Returns a future that runs `future` and holds this until it is dropped. A task drops its future when the future is ready.
    pub fn run<F: Future>(self, future: F) -> RunDetached<F> {
        RunDetached { future, detached: self }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(lifetime) = &self.lifetime {
            lifetime.attach();
        }
    }
}

pin_project! {
    /// A future that runs with its request detached. Returned by [`Detached::run`]. Dropping it drops the work.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct RunDetached<F> {
        // Before `detached`, because fields are dropped in order: the work's Context is still alive when the work is dropped.
        #[pin]
        future: F,
        detached: Detached,
    }
}

impl<F: Future> Future for RunDetached<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(task)
    }
}

/// The cause that ends a Context whose request was answered, made once for each layer.
pub(super) fn answered_cause() -> Cause {
    Cause::from(RequestAnswered)
}
