//! A live web page that shows all requests and other work of a server.
//!
//! For each request, the page shows the time left, the calls and tasks of the request, and who canceled it and why. The page also
//! shows work that continues after its context has ended. A button cancels a request. The same data is available as JSON.
//!
//! Create an [`Inspector`]. Pass it to [`ContextLayer::inspector`](crate::server::ContextLayer::inspector) to show the requests of
//! a layer. To show other work, such as a job or a worker pool, use [`Inspector::watch`]. [`Inspector::router`] returns the page as
//! an axum router.
//!
//! # Access
//!
//! By default, only this machine has access. The address of the client and the host in the `Host` header must be loopback. A page
//! whose host name was rebound to this machine (DNS rebinding) therefore has no access.
//!
//! If you set a [`Token`], every client that sends the token has access, from any machine. Use TLS in this case. Web pages of
//! another origin have no access, with or without a token.
//!
//! **Behind a proxy on this machine, set a token or do not serve the inspector.** A proxy that adds no header such as
//! `X-Forwarded-For` cannot be told apart from a user of this machine. For example, nginx with only
//! `proxy_pass http://127.0.0.1:8080;` gives everybody access to the page and its cancel button.
//!
//! A context value is shown as its [`Value::show`](ripcord::Value::show) writes it. By default, that is only the name of the type.
//!
//! # Cost
//!
//! Each request is inserted into a table and removed again. The root span of a request is created with its first call, and the
//! number of spans is limited. A snapshot is taken for each HTTP request for the JSON. Open pages share snapshots: for all pages
//! together, a snapshot is taken at most twice per [`interval`](InspectorBuilder::interval).
//!
//! Memory is limited. Finished requests are grouped by latency, and [`max_kept`](InspectorBuilder::max_kept) sets how many requests
//! each group keeps. [`max_calls`](InspectorBuilder::max_calls) sets how many calls of a request are kept. The other requests and
//! calls are only counted. A kept request does not hold its context, but it holds the causes of its errors.

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
mod status;
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
pub use builder::{BuildError, InspectorBuilder};
use entry::Kind;
use entry_guard::EntryGuard;
use events::{Latest, Watchers};
use registry::Registry;
pub use routes::CanceledHere;
use snapshot::{Scope, Snapshot};
use status::Status;
use tasks::{TaskList, TasksByEntry};
pub use token::{InvalidToken, Token};

/// Records requests and other work, and serves them live as a web page and as JSON.
///
/// Create an inspector with [`Inspector::new`] or [`Inspector::builder`]. Pass it to a layer, and add its router outside of the
/// layer:
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
/// Without a [token](InspectorBuilder::token), only this machine has access. The router then needs the address of the client.
/// `ripcord_http::serve` provides the address. With `axum::serve`, call `into_make_service_with_connect_info::<SocketAddr>()`. The
/// [module documentation](self) describes access and cost.
///
/// Clones share their data.
#[derive(Clone)]
pub struct Inspector {
    shared: Arc<Shared>,
}

impl Inspector {
    /// Creates an inspector with the default settings of [`InspectorBuilder`]. Only this machine has access to the page.
    ///
    /// If a user of the page cancels a request, the error of the request's context reports the source line that called `new`.
    #[track_caller]
    pub fn new() -> Self {
        Inspector::from_settings(InspectorBuilder::default(), Access::loopback(), Location::caller())
    }

    /// Creates a builder with the default settings. The methods of [`InspectorBuilder`] describe the settings and their default
    /// values.
    pub fn builder() -> InspectorBuilder {
        InspectorBuilder::default()
    }

    fn from_settings(settings: InspectorBuilder, access: Access, location: &'static Location<'static>) -> Self {
        Inspector { shared: Arc::new(Shared::new(settings, access, location)) }
    }

    /// Adds an entry for a piece of work, such as a job, to the page. Returns a child of `ctx`. Run the work with this child.
    ///
    /// The entry has the name of `ctx`, or `unnamed` if it has no name. If `ctx` belongs to a request or to other watched work, the
    /// entry is shown below the entry of that request or work. A user of the page can cancel the returned context. The context then
    /// ends with the cause [`CanceledHere`].
    ///
    /// The entry is shown as running until the returned context and all contexts derived from it have been dropped. Then it becomes
    /// a finished entry. Spans from [`start_span`](Context::start_span) are shown as calls of the work, up to
    /// [`max_calls`](InspectorBuilder::max_calls).
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let inspector = Inspector::new();
    /// let job = inspector.watch(&Context::background().with_name("nightly import"));
    /// let (_ctx, _span) = job.start_span("read the file"); // shown below "nightly import"
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

    /// Shows the state of a part of the program on the page, for example the mode of a limiter. `name` is the name of the part, and
    /// `read` returns its state.
    ///
    /// `read` is called for each snapshot, so it must not block. If you call this method again with the same name, the new `read`
    /// replaces the old one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let (inspector, queued) = (Inspector::new(), Arc::new(AtomicUsize::new(3)));
    /// let shown = Arc::clone(&queued);
    /// inspector.show_status("import", move || format!("{} files wait", shown.load(Ordering::Relaxed)));
    /// assert!(inspector.json().contains(r#"{"name":"import","text":"3 files wait"}"#));
    /// ```
    pub fn show_status<S: fmt::Display>(&self, name: &str, read: impl Fn() -> S + Send + Sync + 'static) {
        let status = Status::new(name, read);
        let mut statuses = self.shared.statuses();
        let replaced = match statuses.iter_mut().find(|other| other.name() == name) {
            Some(other) => Some(std::mem::replace(other, status)),
            None => {
                statuses.push(status);
                None
            }
        };
        drop(statuses);
        // This may drop user code.
        drop(replaced);
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
    /// The line that built the inspector. A cancel from the page reports this line.
    location: &'static Location<'static>,
    interval: Duration,
    max_shown: usize,
    max_calls: usize,
    /// The number of entries (requests and watched work) canceled from the page.
    canceled_here: AtomicU64,
    watchers: Arc<Watchers>,
    latest: LatestLock,
    /// The counters of the layers whose requests the inspector shows.
    counters: Mutex<Vec<Arc<Counters>>>,
    /// The tasks below the servers of these layers.
    tasks: Mutex<Vec<TaskList>>,
    statuses: Mutex<Vec<Status>>,
}

impl Shared {
    fn new(settings: InspectorBuilder, access: Access, location: &'static Location<'static>) -> Self {
        let InspectorBuilder { ctx, interval, max_shown, max_kept, max_calls, .. } = settings;
        Shared {
            registry: Registry::new(max_kept),
            access,
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
            statuses: Mutex::default(),
        }
    }

    fn snapshot(&self, with_spans: bool) -> Snapshot {
        let scope = Scope { max_live: self.max_shown, with_spans };
        let servers: Vec<_> = self.counters().iter().map(|counters| counters.snapshot()).collect();
        let statuses: Vec<_> = self.statuses().clone();
        let statuses = statuses.iter().map(Status::read).collect();
        let canceled_here = self.canceled_here.load(Ordering::Relaxed);
        Snapshot::take(&self.registry, &self.tasks(), scope, &servers, statuses, canceled_here)
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

    fn statuses(&self) -> MutexGuard<'_, Vec<Status>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
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
