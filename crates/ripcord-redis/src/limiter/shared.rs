//! The state that the clones of a limiter share, its decisions and its commands.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::FromRedisValue;
use ripcord::Context;
use ripcord_policy::limiter::backend::{BucketId, Claimed};
use ripcord_policy::{Quota, Rate};

use super::denied::Denied;
use super::local::Local;
use super::promise::RedisPromise;
use super::settings::{Event, FIELDS, Known, Settings};
use super::stats::{Counts, bump};
use super::{OnOutage, scripts};
use crate::Client;
use crate::client::{Call, Request, Script, Subscriber};
use crate::error::Error;

pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) name: String,
    /// The start of all keys.
    pub(super) prefix: String,
    /// The key of the settings of all buckets.
    settings_key: String,
    pub(super) on_outage: OnOutage,
    /// The line that created the limiter.
    pub(super) location: &'static Location<'static>,
    pub(super) settings: Settings,
    pub(super) denied: Denied,
    pub(super) local: Local,
    pub(super) counts: Counts,
    /// The number of the last promise.
    pub(super) promises: AtomicU64,
}

/// A bucket: its key, and the quota that its builder has set.
#[derive(Clone)]
pub(super) struct Bucket {
    pub(super) key: String,
    pub(super) quota: Quota,
    pub(super) has_own_quota: bool,
}

impl Shared {
    pub(super) fn new(client: Client, name: String, on_outage: OnOutage, location: &'static Location<'static>) -> Self {
        // Invariant 2 of the limiter.
        let prefix = client.shared().key(&[&format!("{{limiter:{name}}}")]);
        Shared {
            client,
            name,
            settings_key: format!("{prefix}:settings"),
            prefix,
            on_outage,
            location,
            settings: Settings::default(),
            denied: Denied::default(),
            local: Local::new(),
            counts: Counts::default(),
            promises: AtomicU64::new(0),
        }
    }

    /// Claims tokens: from Redis, or as [`OnOutage`] says.
    pub(super) async fn claim(self: Arc<Self>, bucket: Bucket, tokens: u32, longest: Option<Duration>) -> Claimed {
        // During an outage, `Open` and `Closed` send no command that could be saved.
        let is_decided = self.client.is_available() || self.on_outage == OnOutage::Local;
        if is_decided && let Some(left) = self.denied.check(&bucket.key, bucket.quota, tokens, longest) {
            bump(&self.counts.saved);
            return Claimed::Late(Some(left));
        }
        let number = self.promises.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number:x}", self.client.shared().id());
        // Invariants 4 and 5 of the limiter.
        let (changes, denials) = (self.settings.changes.subscribe(), self.denied.changes());
        let mut claim = self.script(&scripts::CLAIM, &bucket);
        claim.arg(tokens).arg(longest.map_or(-1, micros)).arg(&id);
        match self.send::<(u8, Option<i64>)>("claim", Request::Script(&claim)).await {
            Ok((answer, number)) => {
                bump(&self.counts.connected);
                self.counts.is_refused.store(false, Ordering::Relaxed);
                let delay = || u64::try_from(number?).ok().map(Duration::from_micros);
                match answer {
                    0 => {
                        if let Some(delay) = delay() {
                            self.denied.insert(denials, &bucket.key, bucket.quota, tokens, delay);
                        }
                        Claimed::Late(delay())
                    }
                    1 => {
                        let (delay, shared) = (delay(), Arc::clone(&self));
                        let promise = Box::new(RedisPromise { shared, bucket, tokens, id, changes });
                        Claimed::Granted { delay, promise: Some(promise) }
                    }
                    2 => Claimed::ExceedsBurst { burst: number.and_then(|burst| burst.try_into().ok()).unwrap_or(0) },
                    _ => Claimed::Full,
                }
            }
            Err(error) => self.decide(&error, &bucket, tokens, longest),
        }
    }

    /// Decides without Redis.
    fn decide(&self, error: &Error, bucket: &Bucket, tokens: u32, longest: Option<Duration>) -> Claimed {
        self.counts.is_refused.store(!error.is_unavailable(), Ordering::Relaxed);
        let retry_after = error.retry_after().unwrap_or(Duration::ZERO);
        match self.on_outage {
            OnOutage::Open => {
                bump(&self.counts.open);
                Claimed::Granted { delay: Some(Duration::ZERO), promise: None }
            }
            OnOutage::Closed => {
                bump(&self.counts.closed);
                Claimed::Unavailable { retry_after }
            }
            OnOutage::Local => {
                bump(&self.counts.local);
                let (quota, peers) = (self.known_quota(bucket), self.client.shared().peers());
                self.local.claim(&bucket.key, quota, peers, tokens, longest, retry_after)
            }
        }
    }

    /// Returns tokens of a promise. (Invariant 3 of the limiter.)
    pub(super) async fn refund(&self, bucket: &Bucket, tokens: u32, id: &str) -> Result<u32, Error> {
        let mut refund = self.script(&scripts::REFUND, bucket);
        refund.arg(tokens).arg(id);
        self.send("refund", Request::Once(&refund)).await
    }

    /// Returns the time until a promise is due, or `None` for never.
    pub(super) async fn delay(&self, bucket: &Bucket, id: &str) -> Result<Option<Duration>, Error> {
        let mut delay = self.script(&scripts::DELAY, bucket);
        delay.arg(id);
        let micros: i64 = self.send("delay", Request::Script(&delay)).await?;
        Ok(u64::try_from(micros).ok().map(Duration::from_micros))
    }

    /// Reads the settings in Redis.
    pub(super) async fn read_settings(&self) -> Result<(), Error> {
        let mut read = redis::cmd("HMGET");
        read.arg(&self.settings_key).arg(&FIELDS);
        let heard = self.settings.heard();
        let known: Known = self.send("settings", Request::Command(&read)).await?;
        if self.settings.read(known, heard) {
            self.denied.clear();
        }
        Ok(())
    }

    /// Stores settings, and publishes them to all processes.
    pub(super) async fn set(&self, values: &[(&str, String)]) -> Result<(), Error> {
        // The bucket of a limiter without keys changes at once. The script does not need its quota.
        let quota = Quota::new(Rate::ZERO, 1).expect("a valid quota");
        let bucket = Bucket { key: String::new(), quota, has_own_quota: false };
        let mut set = self.script(&scripts::SET, &bucket);
        set.arg(self.client.shared().channel()).arg(&self.name);
        for (field, value) in values {
            set.arg(*field).arg(value);
        }
        let known = self.send("set", Request::Script(&set)).await?;
        self.settings.hear(known);
        self.denied.clear();
        Ok(())
    }

    /// Returns the last quota of a bucket that this process knows.
    pub(super) fn known_quota(&self, bucket: &Bucket) -> Quota {
        if bucket.has_own_quota { bucket.quota } else { self.settings.apply(bucket.quota) }
    }

    /// Returns a script with the keys and arguments with which all scripts begin.
    pub(super) fn script<'a>(&self, script: &'a Script, bucket: &Bucket) -> Call<'a> {
        let (tokens, period, burst) = scripts::write_quota(bucket.quota);
        let key = |kind: &str| [&self.prefix, kind, &bucket.key].concat();
        let mut call = script.call(&[&key(":bucket:"), &key(":promises:"), &self.settings_key]);
        call.arg(tokens).arg(period).arg(burst).arg(u8::from(bucket.has_own_quota));
        call
    }

    pub(super) async fn send<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, Error> {
        let is_sent = self.client.is_available();
        // The context of the caller does not end the command: see invariant 3 of the limiter. The client's timeout does.
        let answer = self.client.shared().send(&Context::background(), self.location, operation, request).await;
        if answer.is_err() && is_sent {
            bump(&self.counts.failures);
        }
        answer
    }
}

impl Subscriber for Shared {
    fn connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let _unavailable = self.read_settings().await;
            // A waiter that got no answer to its question asks again.
            self.settings.changes.send_replace(());
        })
    }

    fn message(&self, message: &[u8]) {
        if let Some(known) = Event::read(message, &self.name)
            && self.settings.hear(known)
        {
            self.denied.clear();
        }
    }
}

impl From<BucketId<'_>> for Bucket {
    fn from(id: BucketId<'_>) -> Self {
        Bucket { key: id.key.to_owned(), quota: id.quota, has_own_quota: id.has_own_quota }
    }
}

/// Returns a duration in microseconds, rounded up.
fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1000)).unwrap_or(i64::MAX)
}
