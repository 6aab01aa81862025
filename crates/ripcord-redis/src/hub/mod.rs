//! Cancels contexts on other machines.
//!
//! A cancel is one script. It writes a marker, unless the ID already has a marker, and publishes the marker to all clients. A
//! bound context is registered, and its marker is read in the background.
//!
//! # Invariants
//!
//! 1. A context is registered before its marker is read, and every marker is read again after the server has confirmed a
//!    subscription. So a cancel after the subscription is heard, and the marker of an earlier cancel is read.
//! 2. A registration ends with its context: when the context ends, or when its last clone is dropped.
//! 3. The cause of a canceled context is the marker's, also on the machine that canceled it. So all machines see one cause.
//! 4. No context is canceled or dropped while the registry is locked, because both run the user's code.

mod builder;
mod inner;
pub(crate) mod marker;
mod reader;
mod registry;
mod remote_cancel;
mod stats;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ripcord::{Cause, Context};

pub use builder::HubBuilder;
pub use registry::BoundContext;
pub use remote_cancel::RemoteCancel;
pub use stats::HubStats;

use crate::Client;
use crate::error::Error;
use inner::{Inner, Registration, is_valid};
use reader::Wakers;
use registry::{Entry, Registry};
use stats::Counters;

/// Cancels contexts by an ID, on all machines that share a Redis and a [prefix](crate::ClientBuilder::prefix).
///
/// [`ContextExt::bind`] binds a context to an ID. [`cancel`](Hub::cancel) cancels all contexts with that ID.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_redis::{Client, ContextExt, Hub};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().url("redis://127.0.0.1").name("shop-1").build()?;
/// let hub = Hub::new(&client);
///
/// // One machine works on an order.
/// let ctx = Context::background().with_timeout(Duration::from_secs(60)).bind(&hub, "order:4711");
///
/// // Another machine cancels the work.
/// let request = Context::background().with_timeout(Duration::from_secs(1));
/// let is_first = hub.cancel(&request, "order:4711", "order withdrawn").await?;
/// assert!(is_first);
///
/// // context canceled: order withdrawn (canceled by shop-1 at src/main.rs:15:20) (canceled at src/main.rs:11:71, just now)
/// println!("{:#}", ctx.done().await);
/// # Ok(())
/// # }
/// ```
///
/// # Which cancel counts
///
/// The first cancel of an ID wins, and all machines see its cause. Redis keeps the cancel for the [`ttl`](HubBuilder::ttl), 1 hour
/// by default. A context that is bound to the ID during this time ends after about one round trip. After this time, Redis forgets
/// the cancel, and the ID is like a new ID. Use an ID for one piece of work only.
///
/// # When Redis is unavailable
///
/// Bound contexts continue. When Redis is available again, the hub reads the cancels that it has missed, and ends the contexts
/// with these IDs. [`cancel`](Hub::cancel) fails.
///
/// Redis stores a cancel and sends it to all machines as a message. The master of Redis answers `cancel` before its replicas have a
/// copy of the cancel. If the master fails before a replica has the copy, the stored cancel is lost, and contexts on machines that
/// have not received the message continue.
///
/// # Clones
///
/// Clones share all state. A bound context keeps the hub and its client alive, even after its end, until its last clone and all
/// contexts derived from it are dropped.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

/// Binds a context to an ID by which other machines can cancel it.
pub trait ContextExt {
    /// Returns a child context that ends when `id` is [canceled](Hub::cancel) on any machine, before or after this call. Many
    /// contexts may have the same ID.
    ///
    /// The [cause](ripcord::Error::cause) of the child's end is then a [`RemoteCancel`]. It contains the cause that was passed to
    /// `cancel`, the name of the client that called `cancel`, and the line of code of that call.
    ///
    /// This method neither waits for Redis nor fails. If the ID was canceled earlier, the child ends about one round trip after
    /// this call, or after the outage if Redis is unavailable.
    ///
    /// An ID has 1 to 256 bytes. If `id` is empty or longer, the child ends only with its parent, and
    /// [`HubStats::invalid_ids`] counts the ID. [`cancel`](Hub::cancel) refuses such IDs.
    #[must_use]
    #[track_caller]
    fn bind(&self, hub: &Hub, id: impl AsRef<str>) -> Context;
}

impl Hub {
    /// Creates a hub with the default settings. Use [`builder`](Hub::builder) to change them. Does not wait for Redis.
    pub fn new(client: &Client) -> Hub {
        Hub::start(client, builder::DEFAULT_TTL)
    }

    /// Creates a builder of a hub that uses `client`.
    pub fn builder(client: &Client) -> HubBuilder {
        HubBuilder::new(client.clone())
    }

    fn start(client: &Client, ttl: Duration) -> Hub {
        let wakers = Arc::new(Wakers::default());
        let inner = Arc::new(Inner {
            client: client.clone(),
            ttl,
            registry: Registry::default(),
            wakers: Arc::clone(&wakers),
            counters: Counters::default(),
        });
        let hub: Weak<Inner> = Arc::downgrade(&inner);
        client.shared().runtime().spawn(reader::run(hub.clone(), wakers));
        client.shared().subscribe(hub);
        Hub { inner }
    }

    /// Cancels all contexts that are [bound](ContextExt::bind) to `id`, on all machines. Returns `true` if this is the first cancel
    /// of the ID. Returns `false` if the ID was canceled before; the contexts end with the cause of the first cancel.
    ///
    /// The contexts end with a [`RemoteCancel`], which contains the text of `cause`, the [name](crate::ClientBuilder::name) of this
    /// client and the line of this call. Longer texts are truncated to 1024 bytes.
    ///
    /// When this method returns `Ok`, the contexts bound through this hub and its clones have ended. The contexts of other hubs and
    /// machines end within about one round trip. If `ctx` ends, only this call ends.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]). The cancel may have happened.
    /// * Redis is unavailable ([`Error::is_unavailable`]). The cancel may have happened.
    /// * Redis answered with an error ([`Error::code`]).
    /// * The ID is empty or longer than 256 bytes ([`Error::config_error`]).
    ///
    /// It is safe to cancel again after an error.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the cancel may have happened.
    #[track_caller]
    pub fn cancel<'a, C: Into<Cause>>(
        &'a self,
        ctx: &'a Context,
        id: &'a str,
        cause: C,
    ) -> impl Future<Output = Result<bool, Error>> + Send + use<'a, C> {
        let (location, cause) = (Location::caller(), cause.into().to_string());
        self.inner.cancel(ctx, id, cause, location)
    }

    /// Returns the contexts that are bound through this hub and its clones and have not ended, in the order of their IDs.
    pub fn bound(&self) -> Vec<BoundContext> {
        self.inner.registry.list()
    }

    /// Returns the statistics of this hub and its clones.
    pub fn stats(&self) -> HubStats {
        self.inner.counters.read(&self.inner.registry)
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn prefix(&self) -> &str {
        self.inner.client.prefix()
    }

    fn bind(&self, ctx: &Context, id: &str, location: &'static Location<'static>) -> Context {
        let (child, canceler) = ctx.with_cancel();
        let handle = canceler.handle();
        canceler.detach();
        if !is_valid(id) {
            self.inner.counters.invalid_ids.fetch_add(1, Ordering::Relaxed);
            return child;
        }
        if child.is_done() {
            return child;
        }
        let id: Arc<str> = id.into();
        // Invariant 1: the registration comes first.
        let number = self.inner.registry.add(&id, Entry::new(child.clone(), handle, location));
        self.inner.wakers.work.notify_one();
        // Invariant 2.
        let (hub, ended) = (Arc::downgrade(&self.inner), Arc::clone(&id));
        let after = child.after_func(move || {
            if let Some(hub) = hub.upgrade() {
                hub.registry.remove(&ended, number);
            }
        });
        child.with_value(Registration { hub: Arc::clone(&self.inner), id, number, after })
    }
}

impl ContextExt for Context {
    #[track_caller]
    fn bind(&self, hub: &Hub, id: impl AsRef<str>) -> Context {
        hub.bind(self, id.as_ref(), Location::caller())
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("client", &self.inner.client).field("stats", &self.stats()).finish_non_exhaustive()
    }
}
