//! The last change of a breaker in Redis, and the message about it.

use std::sync::LazyLock;
use std::time::Duration;

use ripcord_policy::breaker::Announcement;
use serde::Deserialize;

use crate::client::{Call, Script};

/// The kind of the message on the channel.
const KIND: &str = "breaker";

/// Time for which Redis keeps the epoch of a name after its breaker could be half-open, in milliseconds.
const KEEP: u64 = 24 * 3600 * 1000;
/// Longest time that a breaker stays open, in milliseconds, so that the server's numbers are exact.
const MAX_OPEN: u64 = 1 << 50;

/// Stores and publishes a change. Returns its epoch: the server's time in microseconds, or one more than the last epoch.
///
/// KEYS: the last change. ARGV: the milliseconds for which the breaker stays open, 0 if it is closed; the milliseconds for which
/// the epoch is kept; the channel; the name; the kind of the message; the member.
static PUBLISH: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local last = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
         local epoch = string.format('%.0f', math.max(time[1] * 1000000 + time[2], last + 1))
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         redis.call('HSET', KEYS[1], 'epoch', epoch, 'by', ARGV[6], 'until', string.format('%.0f', now + ARGV[1]))
         redis.call('PEXPIRE', KEYS[1], ARGV[2])
         local message = { kind = ARGV[5], name = ARGV[4], epoch = epoch, open_for = ARGV[1], by = ARGV[6] }
         redis.call('PUBLISH', ARGV[3], cjson.encode(message))
         return epoch",
    )
});

/// Returns the epoch of the last change, the milliseconds for which the breaker stays open, and the member that published it. All
/// are 0 if there is none.
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local last = redis.call('HMGET', KEYS[1], 'epoch', 'until', 'by')
         local time = redis.call('TIME')
         local now = time[1] * 1000 + math.floor(time[2] / 1000)
         local left = math.max(0, tonumber(last[2] or '0') - now)
         return { last[1] or '0', string.format('%.0f', left), last[3] or '0' }",
    )
});

/// A change of the breaker of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) epoch: u64,
    /// In milliseconds. 0 if the breaker is closed.
    open_for: u64,
    /// The member that published it.
    pub(super) by: u64,
}

#[derive(Deserialize)]
struct Message {
    kind: String,
    name: String,
    /// A text, because the server writes numbers with 14 digits.
    epoch: String,
    open_for: String,
    by: String,
}

impl Change {
    pub(super) fn new((epoch, open_for, by): (u64, u64, u64)) -> Self {
        Change { epoch, open_for, by }
    }

    /// Returns the time for which the breaker stays open, or `None` if it is closed.
    pub(super) fn open_for(self) -> Option<Duration> {
        (self.open_for > 0).then(|| Duration::from_millis(self.open_for))
    }
}

/// Returns the script that publishes a change of the member `by`.
pub(super) fn publish(key: String, channel: String, name: &str, by: u64, change: Announcement) -> Call<'static> {
    let open_for = match change {
        Announcement::Closed => 0,
        Announcement::Open(left) => u64::try_from(left.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_OPEN),
    };
    let mut script = PUBLISH.call(&[key]);
    script.arg(open_for).arg(open_for + KEEP).arg(channel).arg(name).arg(KIND).arg(by);
    script
}

/// Returns the script that reads the last change.
pub(super) fn read(key: String) -> Call<'static> {
    READ.call(&[key])
}

/// Reads a message: the name of the breaker and the change. Returns `None` if the text is another message.
pub(super) fn from_json(text: &[u8]) -> Option<(String, Change)> {
    let Message { kind, name, epoch, open_for, by } = serde_json::from_slice(text).ok()?;
    let change = Change { epoch: epoch.parse().ok()?, open_for: open_for.parse().ok()?, by: by.parse().ok()? };
    (kind == KIND).then_some((name, change))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_about_breakers_are_read() {
        let text = |kind: &str, epoch: &str| {
            format!("{{\"kind\":\"{kind}\",\"name\":\"users\",\"epoch\":\"{epoch}\",\"open_for\":\"30\",\"by\":\"1\"}}")
        };
        let (name, change) = from_json(text("breaker", "7").as_bytes()).expect("a message");
        assert_eq!((name.as_str(), change), ("users", Change::new((7, 30, 1))));
        for text in [text("cancel", "7"), text("breaker", "x"), text("breaker", "-1"), String::new(), "{}".to_owned()] {
            assert_eq!(from_json(text.as_bytes()), None, "{text}");
        }
    }
}
