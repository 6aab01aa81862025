//! A live page of all that is under way: what runs, how much time it has left, who canceled it, and what runs on all the same.
//!
//! An [`Inspector`] is given to the server's layer, which puts every request under it, and its [`router`](Inspector::router) is
//! nested under a path. [`watch`](Inspector::watch) puts other work under it: the server itself, jobs, pools.
//!
//! # Who may look
//!
//! Without a token only this machine: the peer's address has to be loopback, and so has the host that was asked for, so that a
//! web page elsewhere whose name was rebound sees nothing. A proxy on this machine that adds no header of its own looks like a
//! person at it: behind any, set a token. With a [`Token`] whoever has it, from anywhere; put TLS in front.
//! Nobody else's page can cancel anything. Values are shown as [`Value::show`](ripcord::Value::show) has it: by default the type's
//! name and never the content.
//!
//! # What it costs
//!
//! Each request is put into a table and taken out again; a trace is begun with the first call below it, and recorded up to a limit.
//! All else is done for whoever looks, at most once every [`interval`](Builder::interval), outside of all locks. What is kept is
//! bounded: the last few of each bucket of latency, with so many calls each. They hold no context. Of those that took less than a
//! millisecond and ended well, the first few of each tenth of a second are kept, and the others only counted.
//!
//! What is kept holds the causes of its errors, the user's values among them, until as many others have come after it.

mod access;
mod builder;
mod entry;
mod events;
mod finished;
mod held;
mod observer;
mod page;
mod registry;
mod routes;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;
mod token;

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{Context, Trace};

use crate::server::{Counters, Observer as _, Place};
use access::Access;
pub use builder::{Builder, InvalidInterval};
use entry::Kind;
use events::{Latest, Watchers};
use held::Held;
use registry::Registry;
pub use routes::CanceledHere;
use snapshot::{Scope, Snapshot};
pub use token::{InvalidToken, Token};

/// Shows what is under way, to people in a browser and to programs as JSON. A clone is the same inspector.
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use ripcord::Context;
/// use ripcord_http::inspector::Inspector;
/// use ripcord_http::server::ContextLayer;
///
/// let (server, _shutdown) = Context::background().with_name("server").with_cancel();
/// let inspector = Inspector::new();
/// let layer = ContextLayer::new(&server).timeout(Duration::from_secs(5)).inspector(&inspector);
/// let app: Router = Router::new()
///     .route("/", get(async || "hello"))
///     .layer(layer)
///     .nest("/debug/contexts", inspector.router());
/// ```
#[derive(Clone)]
pub struct Inspector {
    shared: Arc<Shared>,
}

impl Inspector {
    /// One with the defaults of [`builder`](Inspector::builder): it answers this machine only.
    #[track_caller]
    pub fn new() -> Self {
        Inspector::builder().build()
    }

    /// One with settings of your own.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Puts work under the inspector, for as long as the context returned, or one derived from it, is held.
    ///
    /// It is shown under the context's name, below the nearest work above, and can be canceled from the page. It begins a
    /// trace of its own: [`start_trace`](Context::start_trace) below records calls of the work, up to
    /// [`max_calls`](Builder::max_calls).
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let inspector = Inspector::new();
    /// let job = inspector.watch(&Context::background().with_name("nightly import"));
    /// let (_ctx, _trace) = job.start_trace("read the file"); // shown below it
    /// ```
    #[must_use = "work is shown as long as the context returned is held"]
    #[track_caller]
    pub fn watch(&self, ctx: &Context) -> Context {
        let name = ctx.name().unwrap_or("unnamed").to_owned();
        let (ctx, cancel) = ctx.with_cancel();
        let handle = cancel.handle();
        cancel.detach();
        let (ctx, guard) = ctx.start_root_trace(name, self.shared.max_calls);
        let trace = guard.trace().clone();
        let place = self.shared.registry.insert(Kind::Watched, trace.start(), ctx.clone(), handle);
        self.shared.registry.begin_trace(place, trace, Some(guard));
        let held = Held::new(self.clone(), place, &ctx);
        ctx.with_value(held)
    }

    fn end_watched(&self, place: Place) {
        let registry = &self.shared.registry;
        drop(registry.take_guard(place));
        if let Some(trace) = registry.get(place).and_then(|entry| entry.trace) {
            let span = trace.span();
            self.end(place, span.duration(), span.err().cloned(), span.is_panicked());
        }
    }

    fn root_trace(&self, place: Place, location: &'static Location<'static>) -> Option<Trace> {
        let registry = &self.shared.registry;
        let entry = registry.get(place)?;
        if entry.trace.is_some() {
            return entry.trace;
        }
        let name = entry.name().to_owned();
        let (_, guard) = entry.ctx.start_root_trace_at(name, self.shared.max_calls, entry.begun, location);
        let (trace, _dropped_here) = registry.begin_trace(place, guard.trace().clone(), Some(guard));
        Some(trace)
    }
}

impl Default for Inspector {
    #[track_caller]
    fn default() -> Self {
        Inspector::new()
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

// ===== Shared =====

struct Shared {
    registry: Registry,
    access: Access,
    ctx: Context,
    /// The line that built the inspector: a cancel from the page reports it.
    location: &'static Location<'static>,
    interval: Duration,
    max_shown: usize,
    max_calls: usize,
    canceled_here: AtomicU64,
    watchers: Arc<Watchers>,
    latest: LatestLock,
    /// Of the layers whose requests it shows.
    counters: Mutex<Vec<Arc<Counters>>>,
}

impl Shared {
    fn new(settings: Builder, location: &'static Location<'static>) -> Self {
        let Builder { ctx, token, interval, max_shown, max_kept, max_calls } = settings;
        Shared {
            registry: Registry::new(max_kept),
            access: Access::new(token),
            ctx,
            location,
            interval,
            max_shown,
            max_calls,
            canceled_here: AtomicU64::new(0),
            watchers: Arc::default(),
            latest: LatestLock::default(),
            counters: Mutex::default(),
        }
    }

    fn snapshot(&self, with_spans: bool) -> Snapshot {
        let scope = Scope { max_live: self.max_shown, with_spans };
        let servers: Vec<_> = self.counters().iter().map(|counters| counters.snapshot()).collect();
        Snapshot::take(&self.registry, scope, &servers, self.canceled_here.load(Ordering::Relaxed))
    }

    fn counters(&self) -> MutexGuard<'_, Vec<Arc<Counters>>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_canceled(&self) {
        self.canceled_here.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct LatestLock(Mutex<Latest>);

impl LatestLock {
    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
