//! The reports that the processes of a fleet publish about themselves.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ripcord::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{LONGEST, Request, Script, Shared};
use crate::error::{Error, Kind};
use crate::{Client, json};

/// Maximum size of a report in bytes.
const MAX_REPORT: usize = 1 << 20;

/// Stores a report, and removes the reports whose lifetimes are over by the server's clock.
///
/// KEYS: the members by the end of their reports, the names, the reports. ARGV: the member, its name, the report, its lifetime in
/// milliseconds.
static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
         for _, member in ipairs(over) do
             redis.call('ZREM', KEYS[1], member)
             redis.call('HDEL', KEYS[2], member)
             redis.call('HDEL', KEYS[3], member)
         end
         redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
         redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
         redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
         local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
         for _, key in ipairs(KEYS) do
             redis.call('PEXPIREAT', key, last)
         end",
    )
});

/// Returns the members whose reports are still stored. For each member: its ID, its name and its report.
static MEMBERS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         local found = {}
         for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
             found[#found + 1] = member
             found[#found + 1] = redis.call('HGET', KEYS[2], member) or ''
             found[#found + 1] = redis.call('HGET', KEYS[3], member) or 'null'
         end
         return found",
    )
});

/// Removes a member.
static LEAVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "redis.call('ZREM', KEYS[1], ARGV[1])
         redis.call('HDEL', KEYS[2], ARGV[1])
         redis.call('HDEL', KEYS[3], ARGV[1])",
    )
});

/// The processes that share a Redis and a [prefix](crate::ClientBuilder::prefix). Each process can publish a report about itself,
/// and read the reports of all processes, for example for a page that shows all of them.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_redis::{Client, Fleet};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().url("redis://127.0.0.1").name("shop").build()?;
/// let fleet = Fleet::new(&client);
/// let ctx = Context::background().with_timeout(Duration::from_secs(1));
///
/// // Publish every second or two: Redis forgets this report after 5 seconds.
/// fleet.publish(&ctx, &"12 requests in flight", Duration::from_secs(5)).await?;
///
/// for member in fleet.members::<String>(&ctx).await? {
///     println!("{}: {}", member.name, member.report);
/// }
/// # Ok(())
/// # }
/// ```
///
/// If Redis is unavailable, [`publish`](Fleet::publish), [`members`](Fleet::members) and [`leave`](Fleet::leave) fail with
/// [`Error::is_unavailable`].
///
/// Clones share the client.
#[derive(Clone)]
pub struct Fleet {
    client: Client,
}

/// A process of a [`Fleet`], and its last report of type `R`. Returned by [`Fleet::members`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member<R> {
    /// A random ID of the client with which the process published the report.
    pub id: String,
    /// The [name](Client::name) of the process. Several processes may have the same name.
    pub name: String,
    /// The report.
    pub report: R,
}

impl Fleet {
    /// Creates a handle to the fleet of all processes with the client's Redis and [prefix](Client::prefix). Does not publish a
    /// report.
    pub fn new(client: &Client) -> Fleet {
        Fleet { client: client.clone() }
    }

    /// Stores the report of this process as JSON, in place of its previous report. Redis deletes the report after `lifetime`, so
    /// publish the next one before then. A `lifetime` of less than 1 ms counts as 1 ms.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    /// * The report is longer than 1 MiB as JSON ([`Error::config_error`]).
    /// * The report cannot be serialized as JSON.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the report may have been stored.
    #[track_caller]
    pub fn publish<R: Serialize>(
        &self,
        ctx: &Context,
        report: &R,
        lifetime: Duration,
    ) -> impl Future<Output = Result<(), Error>> + use<R> {
        let location = Location::caller();
        let report = json::write("report", MAX_REPORT, report).map_err(|kind| Error::new("publish", location, kind));
        let (ctx, shared) = (ctx.clone(), Arc::clone(self.client.shared()));
        async move {
            let report = report?;
            let lifetime = u64::try_from(lifetime.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1);
            let mut script = PUBLISH.call(&keys(&shared));
            script.arg(shared.id()).arg(shared.name()).arg(report).arg(lifetime);
            shared.send(&ctx, location, "publish", Request::Script(&script)).await
        }
    }

    /// Returns the processes whose reports Redis still has, including this process if it has published a report. The process whose
    /// report Redis forgets first comes first.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    /// * The JSON of a report cannot be read as an `R`.
    #[track_caller]
    pub fn members<R: DeserializeOwned>(
        &self,
        ctx: &Context,
    ) -> impl Future<Output = Result<Vec<Member<R>>, Error>> + use<R> {
        let location = Location::caller();
        let (ctx, shared) = (ctx.clone(), Arc::clone(self.client.shared()));
        async move {
            let script = MEMBERS.call(&keys(&shared));
            let found: Vec<(String, String, String)> =
                shared.send(&ctx, location, "members", Request::Script(&script)).await?;
            let read = |(id, name, report): (String, String, String)| {
                let report = serde_json::from_str(&report).map_err(Kind::Json)?;
                Ok(Member { id, name, report })
            };
            found.into_iter().map(read).collect::<Result<_, _>>().map_err(|kind| Error::new("members", location, kind))
        }
    }

    /// Removes the report of this process. Call this before the process ends, so that other processes no longer see it.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed ([`Error::context_error`]).
    /// * Redis is unavailable ([`Error::is_unavailable`]), or answered with an error ([`Error::code`]).
    #[track_caller]
    pub fn leave(&self, ctx: &Context) -> impl Future<Output = Result<(), Error>> + use<> {
        let location = Location::caller();
        let (ctx, shared) = (ctx.clone(), Arc::clone(self.client.shared()));
        async move {
            let mut script = LEAVE.call(&keys(&shared));
            script.arg(shared.id());
            shared.send(&ctx, location, "leave", Request::Script(&script)).await
        }
    }
}

fn keys(shared: &Shared) -> [String; 3] {
    ["ends", "names", "reports"].map(|name| shared.key(&["{fleet}", name]))
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("client", &self.client).finish()
    }
}
