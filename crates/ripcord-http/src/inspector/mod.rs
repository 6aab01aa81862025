//! A live page of all requests and other work: what is running, the time it has left, who canceled it, and what continues after
//! its context has ended.
//!
//! Pass an [`Inspector`] to [`ContextLayer::inspector`](crate::server::ContextLayer::inspector) to show the layer's requests. Nest its
//! [`router`](Inspector::router) under a path. Use [`watch`](Inspector::watch) to show other work: jobs, pools, the server itself.
//!
//! # Access
//!
//! Without a token, only this machine has access. The peer's address and the `Host` must be loopback, so a page whose host name was
//! rebound to this machine has no access. With a [`Token`], everybody who sends it has access, from any machine. Use TLS then. No page
//! of another origin can read or cancel anything.
//!
//! A proxy on this machine that adds no header looks like a person at this machine. nginx with a bare
//! `proxy_pass http://127.0.0.1:8080;` is such a proxy: it exposes the page and its cancel button to everybody. Behind a proxy, set a
//! token or do not serve the inspector.
//!
//! A value is shown as its [`Value::show`](ripcord::Value::show) writes it. The default shows the name of the type.
//!
//! # Cost
//!
//! Each request is inserted into a table and removed again. Its root span is created with the first call below it, and the number of
//! spans is bounded. Snapshots are taken only while somebody watches, at most once per [`interval`](Builder::interval), and outside
//! all locks.
//!
//! Memory is bounded: each bucket of latency keeps its last few entries, with a maximum number of calls each. Of successful entries
//! that took less than a millisecond, only the first few of each tenth of a second are kept. The others are counted. A kept entry
//! holds no context, but it holds the causes of its errors.

mod access;
mod builder;
mod entry;
mod entry_guard;
mod events;
mod finished;
mod observer;
mod page;
mod registry;
mod routes;
mod snapshot;
mod tasks;
#[cfg(test)]
mod tests;
mod text;
mod token;

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ripcord::{Context, Span};

use crate::server::{Counters, EntryKey, Observer as _};
use access::Access;
pub use builder::{Builder, InvalidInterval};
use entry::Kind;
use entry_guard::EntryGuard;
use events::{Latest, Watchers};
use registry::Registry;
pub use routes::CanceledHere;
use snapshot::{Scope, Snapshot};
use tasks::{TaskList, TasksByEntry};
pub use token::{InvalidToken, Token};

/// Shows requests and other work live, to browsers as a page and to programs as JSON.
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
///
/// [`ContextLayer::inspector`](crate::server::ContextLayer::inspector) shows a layer's requests, and [`watch`](Inspector::watch) shows
/// other work. [`router`](Inspector::router) serves the page: nest it outside of the layer. It needs the peer's address, which
/// `ripcord_http::serve` provides; with `axum::serve`, use `into_make_service_with_connect_info::<SocketAddr>()`. Without a
/// [token](Builder::token), only this machine has access. The [module](self) describes access and cost.
///
/// Clones show the same entries.
#[derive(Clone)]
pub struct Inspector {
    shared: Arc<Shared>,
}

impl Inspector {
    /// Creates an inspector with the default settings. Only this machine has access.
    #[track_caller]
    pub fn new() -> Self {
        Inspector::builder().build()
    }

    /// Returns a builder with the default settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Shows work until the returned context and all contexts derived from it have been dropped.
    ///
    /// The page shows it under the name of `ctx`, below the nearest entry above, and can cancel it. The returned context starts a
    /// root span: [`start_span`](Context::start_span) below it records calls of the work, up to [`max_calls`](Builder::max_calls).
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let inspector = Inspector::new();
    /// let job = inspector.watch(&Context::background().with_name("nightly import"));
    /// let (_ctx, _span) = job.start_span("read the file"); // shown below it
    /// ```
    #[must_use = "work is shown only while the returned context is held"]
    #[track_caller]
    pub fn watch(&self, ctx: &Context) -> Context {
        let name = ctx.name().unwrap_or("unnamed").to_owned();
        let (ctx, cancel) = ctx.with_cancel();
        let handle = cancel.handle();
        cancel.detach();
        let (ctx, tasks) = TaskList::new(&ctx);
        let (ctx, guard) = Span::builder(name).root().limit(self.shared.max_calls).start(&ctx);
        let root = guard.span().clone();
        let place = self.shared.registry.insert(Kind::Watched, root.start(), ctx.clone(), handle, Some(tasks));
        self.shared.registry.set_root(place, root, Some(guard));
        let held = EntryGuard::new(self.clone(), place, &ctx);
        ctx.with_value(held)
    }

    fn end_watched(&self, place: EntryKey) {
        let registry = &self.shared.registry;
        drop(registry.take_guard(place));
        if let Some(root) = registry.get(place).and_then(|entry| entry.root) {
            let span = root.snapshot();
            self.end(place, span.duration(), span.err().cloned(), span.is_panicked());
        }
    }

    fn root_span(&self, place: EntryKey, location: &'static Location<'static>) -> Option<Span> {
        let registry = &self.shared.registry;
        let entry = registry.get(place)?;
        if entry.root.is_some() {
            return entry.root;
        }
        let root = Span::builder(entry.name().to_owned()).root().limit(self.shared.max_calls);
        let (_, guard) = root.start_time(entry.started).location(location).start(&entry.ctx);
        let (root, _dropped_here) = registry.set_root(place, guard.span().clone(), Some(guard));
        Some(root)
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
    /// How many entries, requests and watched work alike, were canceled from the page.
    canceled_here: AtomicU64,
    watchers: Arc<Watchers>,
    latest: LatestLock,
    /// The counters of the layers whose requests it shows.
    counters: Mutex<Vec<Arc<Counters>>>,
    /// The tasks below those layers' servers.
    tasks: Mutex<Vec<TaskList>>,
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
            tasks: Mutex::default(),
        }
    }

    fn snapshot(&self, with_spans: bool) -> Snapshot {
        let scope = Scope { max_live: self.max_shown, with_spans };
        let servers: Vec<_> = self.counters().iter().map(|counters| counters.snapshot()).collect();
        Snapshot::take(&self.registry, &self.tasks(), scope, &servers, self.canceled_here.load(Ordering::Relaxed))
    }

    /// Returns the tasks below all live entries.
    fn tasks(&self) -> TasksByEntry {
        let mut tasks = TasksByEntry::default();
        self.task_lists().clone().iter().for_each(|list| tasks.add(list));
        self.registry.for_each(|entry| entry.tasks.iter().for_each(|list| tasks.add(list)));
        tasks
    }

    fn task_lists(&self) -> MutexGuard<'_, Vec<TaskList>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
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
