//! The commands and scripts of a cache.
//!
//! A value is stored as `token:extra:json`. The token is random and identifies the write. Redis keeps the value for `extra`
//! milliseconds after its TTL, and such a value is never returned. So the expiry in Redis, which looks like a change to the
//! processes, does not disturb the load that replaces the value, and does not remove a stale value from the first level.

use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use redis::{RedisError, Value};
use ripcord::Context;
use ripcord_policy::Random;

use super::names::Names;
use crate::client::{Request, Script, Shared};
use crate::error::{Error, Kind};

/// How long Redis keeps a value after its TTL and its stale window.
const GRACE: Duration = Duration::from_secs(10);

/// The pause after a command failed on a connection that [`clear`] has opened.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A random text that identifies a write or a lease.
pub(super) type Token = Arc<str>;

/// The length of a token in bytes.
pub(super) const TOKEN_LENGTH: isize = 16;

/// Finds a value, or takes the lease of its key.
///
/// KEYS: value, lease. ARGV: the token of the lease, its duration in milliseconds, the token of a value that is no answer (`*`: no
/// value is an answer).
static FIND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local value = redis.call('GET', KEYS[1])
         local token, extra
         if value then
             token, extra = string.match(value, '^(%x+):(%d+):')
             if token and ARGV[3] ~= '*' and ARGV[3] ~= token then
                 local left = redis.call('PTTL', KEYS[1])
                 if left < 0 then return {'value', value, -1} end
                 if left > tonumber(extra) then return {'value', value, left - tonumber(extra)} end
             end
         end
         -- A command that is sent again finds its own lease.
         if redis.call('GET', KEYS[2]) == ARGV[1] or redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'NX') then
             return {'lease', '', 0}
         end
         return {'wait', token or '', redis.call('PTTL', KEYS[2])}",
    )
});

/// Stores a value. KEYS: value, lease. ARGV: the stored text, its lifetime in milliseconds (0: no end), the token of the lease
/// that must still hold (empty: no lease is needed).
static STORE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if ARGV[3] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[3] then return 0 end
         if ARGV[2] == '0' then redis.call('SET', KEYS[1], ARGV[1])
         else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
         redis.call('DEL', KEYS[2])
         return 1",
    )
});

/// Removes a value. KEYS: value, lease. If there is no value, the script writes and deletes an empty value. So the server reports
/// the key to the processes that have a value in memory.
static REMOVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.call('DEL', KEYS[1])
         redis.call('DEL', KEYS[2])
         if found == 0 then
             redis.pcall('SET', KEYS[1], '', 'PX', 1)
             redis.pcall('DEL', KEYS[1])
         end
         return 1",
    )
});

/// Releases a lease. KEYS: lease. ARGV: its token.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
});

/// Extends a lease. KEYS: lease. ARGV: its token, its duration in milliseconds.
static EXTEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0",
    )
});

/// The answer to [`find`].
pub(super) enum Found {
    /// The value as JSON, and the time until it expires.
    Value { json: String, ttl: Option<Duration> },
    /// The lease was taken.
    Lease,
    /// Another process holds the lease, for at most `left`. `token` identifies the present value.
    Wait { token: String, left: Duration },
}

/// A write of one key.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// Stores a value, if `lease` still holds.
    Store {
        json: Arc<str>,
        expires_at: Option<Instant>,
        stale_for: Duration,
        lease: Option<Token>,
    },
    Remove,
}

pub(super) fn token(random: &Random) -> Token {
    format!("{:016x}", random.next_u64()).into()
}

pub(super) async fn find(
    shared: &Shared,
    ctx: &Context,
    name: &str,
    lease: &Token,
    lease_for: Duration,
    known: &str,
) -> Result<Found, Error> {
    let start = Instant::now();
    let mut script = FIND.call(&[name, &Names::lease(name)]);
    script.arg(&**lease).arg(milliseconds(lease_for)).arg(known);
    let answer: (String, String, i64) = send(shared, ctx, Request::Script(&script)).await?;
    let duration = |left: i64| Duration::from_millis(u64::try_from(left).unwrap_or(0));
    Ok(match answer {
        (kind, value, left) if kind == "value" => {
            // The duration of the round trip is subtracted.
            let ttl = (left >= 0).then(|| duration(left).saturating_sub(start.elapsed()));
            let json = value.splitn(3, ':').nth(2).unwrap_or_default().to_owned();
            Found::Value { json, ttl }
        }
        (kind, ..) if kind == "lease" => Found::Lease,
        (_, token, left) => Found::Wait { token, left: duration(left) },
    })
}

/// Sends a write. Returns `false` if its lease no longer holds.
pub(super) async fn write(shared: &Shared, name: &str, token: &Token, operation: &Operation) -> Result<bool, Error> {
    let background = Context::background();
    let (script, arguments) = match operation {
        Operation::Store { json, expires_at, stale_for, lease } => {
            let left = expires_at.map(|instant| instant.saturating_duration_since(Instant::now()));
            let extra = if left.is_some() { milliseconds(stale_for.saturating_add(GRACE)) } else { 0 };
            let lifetime = left.map_or(0, |left| milliseconds(left).saturating_add(extra));
            let lease = lease.as_deref().unwrap_or_default().to_owned();
            (&STORE, vec![format!("{token}:{extra}:{json}"), lifetime.to_string(), lease])
        }
        Operation::Remove => (&REMOVE, Vec::new()),
    };
    let mut script = script.call(&[name, &Names::lease(name)]);
    script.arg(arguments);
    send(shared, &background, Request::Script(&script)).await
}

pub(super) async fn release(shared: &Shared, name: &str, lease: &Token) -> Result<bool, Error> {
    let mut script = RELEASE.call(&[Names::lease(name)]);
    script.arg(&**lease);
    send(shared, &Context::background(), Request::Script(&script)).await
}

/// Extends a lease. Returns `false` if it no longer holds.
pub(super) async fn extend(shared: &Shared, name: &str, lease: &Token, lease_for: Duration) -> Result<bool, Error> {
    let mut script = EXTEND.call(&[Names::lease(name)]);
    script.arg(&**lease).arg(milliseconds(lease_for));
    send(shared, &Context::background(), Request::Script(&script)).await
}

/// Returns the token of the present value. It is empty if there is none.
pub(super) async fn current_token(shared: &Shared, name: &str) -> Result<String, Error> {
    let mut command = redis::cmd("GETRANGE");
    command.arg(name).arg(0).arg(TOKEN_LENGTH - 1);
    send(shared, &Context::background(), Request::Command(&command)).await
}

/// Removes all keys of the cache, then tells the other processes.
///
/// The leases are removed first, so a load that began before the removal cannot store its value after the values were removed.
pub(super) async fn clear(shared: &Shared, names: &Names, event: &str) -> Result<(), Error> {
    let mut masters = limited(shared, shared.connect_to_masters()).await?;
    for pattern in names.patterns() {
        for master in &mut masters {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
                let (next, keys): (u64, Vec<String>) = limited(shared, scan.query_async(master)).await?;
                let mut unlink = redis::pipe();
                for key in &keys {
                    unlink.cmd("UNLINK").arg(key).ignore();
                }
                if !keys.is_empty() {
                    let _: Value = limited(shared, unlink.query_async(master)).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
    }
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(shared.channel()).arg(event);
    let _receivers: u64 = send(shared, &Context::background(), Request::Command(&publish)).await?;
    Ok(())
}

/// Waits for the answer of a connection that has no time limit.
async fn limited<T>(shared: &Shared, answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
    let error = match tokio::time::timeout(shared.timeout(), answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    Err(Error::new("cache", Location::caller(), Kind::Unavailable { error, retry_after: RETRY_AFTER }))
}

async fn send<T: redis::FromRedisValue>(shared: &Shared, ctx: &Context, request: Request<'_>) -> Result<T, Error> {
    shared.send(ctx, Location::caller(), "cache", request).await
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 52)
}
