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
//! Each request is put into a table and taken out again, and its trace is recorded, up to a limit. All else is done for whoever
//! looks, at most once every [`interval`](Builder::interval), outside of all locks. What is kept is bounded: the last few of each
//! bucket of latency, with so many calls each. They hold no context.
//!
//! | file | holds |
//! |---|---|
//! | `builder.rs` | its settings |
//! | `registry.rs`, `entry.rs` | what is under way, from its start until its last context is dropped |
//! | `finished.rs` | the last few that are over, by latency |
//! | `snapshot/` | both as JSON |
//! | `access.rs`, `token.rs` | who may look, and who may cancel |
//! | `routes.rs`, `events.rs`, `page.rs` | how it is served |

mod access;
mod builder;
mod entry;
mod events;
mod finished;
mod page;
mod registry;
mod routes;
mod snapshot;
#[cfg(test)]
mod tests;
mod text;
mod token;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{CancelHandle, Context, Trace};

use crate::server::Counters;
use access::Access;
pub use builder::{Builder, InvalidInterval};
use entry::{Entry, Held, Kind, OwnTrace};
pub(crate) use entry::{Facts, Tracked};
use events::{Latest, Watchers};
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
    pub fn watch(&self, ctx: &Context) -> Context {
        let name = ctx.name().unwrap_or("unnamed").to_owned();
        let (ctx, cancel) = ctx.with_cancel();
        let handle = cancel.handle();
        cancel.detach();
        let (ctx, trace) = ctx.start_root_trace(name, self.shared.max_calls);
        let entry = self.entry(&ctx, Kind::Watched, handle, OwnTrace::Held(trace));
        let shard = Arc::clone(self.shared.registry.shard());
        ctx.with_value(Held::new(entry, shard))
    }

    /// Puts a request under the inspector: what is returned is what the handler is to be given. `cancel` cancels `ctx`, and `trace`
    /// is the request's own in `ctx`, which somebody else ends; without one it is given one.
    pub(crate) fn track(
        &self,
        ctx: &Context,
        cancel: CancelHandle,
        facts: Facts,
        trace: Option<Trace>,
    ) -> (Context, Tracked) {
        let Facts { name, request_id, deadline, traceparent } = facts;
        let (ctx, trace) = match trace {
            Some(trace) => (ctx.clone(), OwnTrace::Seen(trace)),
            None => {
                let (ctx, trace) = ctx.start_root_trace(name, self.shared.max_calls);
                (ctx, OwnTrace::Held(trace))
            }
        };
        let kind = Kind::Request { request_id, deadline, traceparent };
        let entry = self.entry(&ctx, kind, cancel, trace);
        let shard = Arc::clone(self.shared.registry.shard());
        let ctx = ctx.with_value(Held::new(Arc::clone(&entry), shard));
        (ctx.clone(), Tracked::new(entry, ctx))
    }

    /// See [`Builder::max_calls`].
    #[cfg(feature = "tracing")]
    pub(crate) fn max_calls(&self) -> usize {
        self.shared.max_calls
    }

    /// What it shows the sum of.
    pub(crate) fn count(&self, counters: &Arc<Counters>) {
        let mut all = self.shared.counters();
        if !all.iter().any(|counted| Arc::ptr_eq(counted, counters)) {
            all.push(Arc::clone(counters));
        }
    }

    fn entry(&self, ctx: &Context, kind: Kind, cancel: CancelHandle, trace: OwnTrace) -> Arc<Entry> {
        let parent = ctx.value::<Held>().map(Held::id);
        let id = self.shared.registry.shard().next_id();
        Arc::new(Entry::new(id, parent, kind, ctx.clone(), cancel, trace))
    }
}

impl Default for Inspector {
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
    fn new(settings: Builder) -> Self {
        let Builder { ctx, token, interval, max_shown, max_kept, max_calls } = settings;
        Shared {
            registry: Registry::new(max_kept),
            access: Access::new(token),
            ctx,
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
        let scope = Scope { most_live: self.max_shown, with_spans };
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
