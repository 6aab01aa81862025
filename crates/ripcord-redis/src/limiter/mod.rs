//! The limiter: token buckets in Redis.
//!
//! # Invariants
//!
//! 1. Every decision is one script, which reads the server's clock. Only durations cross the wire.
//! 2. All keys of a limiter have one hash tag, so they are on one node of a cluster, and one script can use all of them.
//! 3. A claim whose caller has left is completed on the client's thread, and its tokens are returned. A refund is sent only once,
//!    so it returns no tokens twice.
//! 4. A promise subscribes to changes before its claim is sent, so it misses no change after the claim.
//! 5. A denial is recorded only if no setting was changed and no token was returned since the claim was sent. So a denied key is
//!    not denied any more when this process knows of a reason to ask again.

mod backend;
mod denied;
mod local;
mod promise;
mod scripts;
mod settings;
mod shared;
mod stats;

pub use stats::{LimiterStats, Mode};

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::Client;
use crate::client::Subscriber;
use shared::Shared;

/// Token buckets in Redis, for a [`RateLimiter`](ripcord_policy::RateLimiter) or
/// [`KeyedLimiter`](ripcord_policy::KeyedLimiter) that many machines share.
///
/// Pass a clone of it to [`RateLimiterBuilder::backend`](ripcord_policy::limiter::RateLimiterBuilder::backend) or
/// [`KeyedLimiterBuilder::backend`](ripcord_policy::limiter::KeyedLimiterBuilder::backend). Code that uses the limiter does not
/// change.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{KeyedLimiter, Rate, RateLimiter};
/// use ripcord_redis::{Client, Limiter, OnOutage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().url("redis://127.0.0.1").build()?;
///
/// // All machines together send at most 100 mails per second.
/// let mails = Limiter::new(&client, "mails", OnOutage::Local);
/// let limiter = RateLimiter::builder().rate(Rate::per_second(100.0)).burst(10).backend(mails.clone()).build()?;
/// let ctx = Context::background().with_timeout(Duration::from_secs(1));
/// limiter.wait(&ctx).await?;
/// println!("the mode is {}", mails.stats().mode); // connected
///
/// // Each user makes at most 5 calls per second, on all machines together.
/// let calls = Limiter::new(&client, "calls", OnOutage::Open);
/// let limiter = KeyedLimiter::builder()
///     .rate(Rate::per_second(5.0))
///     .burst(20)
///     .backend(calls, |user: &u64| user.to_string())
///     .build()?;
/// limiter.wait(&ctx, &42).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Accuracy
///
/// Each decision is one round trip. The server's clock measures the time, so the clocks of the machines do not matter. In any
/// period, all machines together get at most the burst plus rate × period.
///
/// The limit can be exceeded if Redis loses data. After a restart without persistence, all buckets are full. After a failover
/// before the last writes were copied to the replica, the last tokens may be granted a second time.
///
/// If Redis denies a request, this process remembers the number of tokens and the time at which they will be available, for up to
/// 10,000 keys. Before this time, a request for as many tokens or more is denied without a round trip if it cannot wait until this
/// time. This is so even if another machine has returned tokens in the meantime.
///
/// A wait that is dropped before it has its token wastes the token if others wait behind it, as
/// [in the process](ripcord_policy::RateLimiter#waiting). To limit the time of a wait, set a deadline on its context: then a wait
/// that would last too long takes no token.
///
/// # Memory
///
/// Redis removes a bucket when it is full, because a new bucket is full too. A bucket with a rate of zero is never removed.
///
/// All buckets of a limiter are on one node of a cluster. Limiters with different names may be on different nodes.
///
/// # Rate and burst
///
/// [`set_rate`](ripcord_policy::RateLimiter::set_rate) and [`set_burst`](ripcord_policy::RateLimiter::set_burst) store the new
/// value in Redis. The value applies to the next decision of every process. After a change of the rate, the waiters of every
/// process get their tokens earlier or later. Redis keeps the value forever, and it takes precedence over the values of the
/// builders. Processes that share a limiter should set the same values in their builders.
///
/// The buckets of a keyed limiter earn tokens at the new rate from the change on. There is one exception: if the rate was lowered,
/// and a bucket is not used before it would be full at the old rate, the bucket is full at that time.
///
/// # Outages
///
/// [`OnOutage`] says what the limiter does while Redis is unavailable. [`stats`](Limiter::stats) shows the [`Mode`]. When an outage
/// begins, the requests in flight wait for at most one [`timeout`](crate::ClientBuilder::timeout). Later requests do not wait for
/// Redis until the client has connected again.
///
/// Clones share all state.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

/// What a [`Limiter`] does while Redis is unavailable or answers with an error. Pass it to [`Limiter::new`]. There is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnOutage {
    /// Grants every request. The protected service has no limit during the outage.
    Open,
    /// Refuses every request. `wait` and `run` fail with
    /// [`Refused::is_unavailable`](ripcord_policy::Refused::is_unavailable), and `allow` returns `false`.
    Closed,
    /// Decides in this process, which has a share of the limit: the rate and the burst divided by the number of clients with the
    /// same prefix before the outage ([`LimiterStats::peers`]). The burst is at least 1.
    ///
    /// A request for more tokens than this burst is refused, as with [`Closed`](OnOutage::Closed). The buckets of this process are
    /// full at the first outage. They are not refilled at later outages, but earn tokens at the divided rate.
    Local,
}

impl Limiter {
    /// Creates a limiter. Limiters with the same `name` share their buckets, if their clients have the same
    /// [prefix](crate::ClientBuilder::prefix). `on_outage` says what the limiter does while Redis is unavailable. Does not wait for
    /// Redis.
    #[track_caller]
    pub fn new(client: &Client, name: impl Into<String>, on_outage: OnOutage) -> Limiter {
        let shared = Arc::new(Shared::new(client.clone(), name.into(), on_outage, Location::caller()));
        let weak = Arc::downgrade(&shared);
        client.shared().subscribe(weak.clone() as Weak<dyn Subscriber>);
        // If the client listens already, nothing else asks for the settings.
        client.shared().runtime().spawn(async move {
            if let Some(shared) = weak.upgrade() {
                let _unavailable = shared.read_settings().await;
            }
        });
        Limiter { shared }
    }

    /// Returns the name that was passed to [`new`](Limiter::new).
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns what the limiter does while Redis is unavailable.
    pub fn on_outage(&self) -> OnOutage {
        self.shared.on_outage
    }

    /// Returns the statistics of this limiter and its clones, including the [`Mode`].
    pub fn stats(&self) -> LimiterStats {
        let Shared { client, counts, denied, .. } = &*self.shared;
        let client = client.stats();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let is_connected = client.is_available && !counts.is_refused.load(Ordering::Relaxed);
        LimiterStats {
            mode: if is_connected { Mode::Connected } else { self.shared.on_outage.mode() },
            retry_after: client.retry_after,
            peers: client.peers,
            connected: count(&counts.connected),
            open: count(&counts.open),
            closed: count(&counts.closed),
            local: count(&counts.local),
            saved: count(&counts.saved),
            denied_keys: denied.len(),
            failures: count(&counts.failures),
        }
    }
}

impl OnOutage {
    fn mode(self) -> Mode {
        match self {
            OnOutage::Open => Mode::Open,
            OnOutage::Closed => Mode::Closed,
            OnOutage::Local => Mode::Local,
        }
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.shared.name)
            .field("on_outage", &self.shared.on_outage)
            .field("mode", &self.stats().mode)
            .finish_non_exhaustive()
    }
}
