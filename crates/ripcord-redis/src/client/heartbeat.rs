//! The heartbeat: it counts the peers, and finds out whether Redis is available again.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{LazyLock, Weak};
use std::time::Duration;

use ripcord::Context;

use super::{Request, Script, Shared};

/// The number of missed heartbeats after which a peer no longer counts.
const MISSED: u32 = 5;

/// Adds this client, removes the silent clients, and returns the number of clients. The server's clock decides.
///
/// KEYS: the clients by the time of their last heartbeat. ARGV: the client, and the time in milliseconds for which it counts.
static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
         redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
         redis.call('PEXPIRE', KEYS[1], ARGV[2])
         return redis.call('ZCARD', KEYS[1])",
    )
});

/// Sends heartbeats until the client is dropped.
pub(super) async fn run(client: Weak<Shared>) {
    // What the last heartbeats have counted. An outage silences the peers too, and they come back one after the other. So the largest
    // of these numbers counts.
    let mut counted = VecDeque::new();
    loop {
        let pause = {
            let Some(shared) = client.upgrade() else { return };
            if let Some(number) = beat(&shared).await {
                counted.truncate(MISSED as usize - 1);
                counted.push_front(number);
                shared.peers.store(counted.iter().copied().max().unwrap_or(1), Ordering::Relaxed);
            }
            // While Redis is unavailable, the breaker says when to try again.
            shared.breaker.remaining_delay().filter(|delay| !delay.is_zero()).unwrap_or(shared.retry_every)
        };
        tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
    }
}

/// Returns the number of clients, or `None` if Redis does not answer.
async fn beat(shared: &Shared) -> Option<usize> {
    let silent_after = shared.retry_every.saturating_mul(MISSED).as_millis();
    let mut script = BEAT.call(&[shared.key(&["{peers}"])]);
    script.arg(shared.id()).arg(u64::try_from(silent_after).unwrap_or(u64::MAX));
    shared.probe(&Context::background(), Location::caller(), "heartbeat", Request::Script(&script)).await.ok()
}
