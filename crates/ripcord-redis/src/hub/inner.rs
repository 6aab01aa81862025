//! The state that all clones of a hub share, and the registration of a bound context.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ripcord::{AfterFunc, Cause, Context, Value};
use ripcord_policy::ConfigError;

use super::marker::Marker;
use super::reader::Wakers;
use super::registry::Registry;
use super::remote_cancel::RemoteCancel;
use super::stats::Counters;
use crate::Client;
use crate::client::{Request, Script, Subscriber};
use crate::error::{Error, Kind};

/// Writes a marker and publishes it, if the ID has no marker yet. Otherwise returns the existing marker.
///
/// KEYS: the marker. ARGV: the marker's text, its lifetime in milliseconds, the channel.
static CANCEL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local first = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[2])
         if not first then
             redis.call('PUBLISH', ARGV[3], ARGV[1])
         end
         return first",
    )
});

pub(super) struct Inner {
    pub(super) client: Client,
    pub(super) ttl: Duration,
    pub(super) registry: Registry,
    pub(super) wakers: Arc<Wakers>,
    pub(super) counters: Counters,
}

/// Maximum length of an ID in bytes.
const MAX_ID: usize = 256;

impl Inner {
    pub(super) async fn cancel(
        &self,
        ctx: &Context,
        id: &str,
        cause: String,
        location: &'static Location<'static>,
    ) -> Result<bool, Error> {
        let failed = |kind| Error::new("cancel", location, kind);
        if !is_valid(id) {
            return Err(failed(Kind::Config(ConfigError::new("id", format!("from 1 to {MAX_ID} bytes"), id.len()))));
        }
        let shared = self.client.shared();
        let marker = Marker::new(id, &cause, shared.name(), location);
        let text = marker.to_json().map_err(|error| failed(Kind::Json(error)))?;
        let mut script = CANCEL.call(&[shared.key(&["cancel", id])]);
        script.arg(&text).arg(milliseconds(self.ttl)).arg(shared.channel());
        self.counters.sent.fetch_add(1, Ordering::Relaxed);
        let first: Option<String> = shared.send(ctx, location, "cancel", Request::Script(&script)).await?;
        // The script may have run twice, because the connection was lost before the first answer.
        let first = first.filter(|first| *first != text);
        let (is_first, counter) = match &first {
            None => (true, &self.counters.won),
            Some(_) => (false, &self.counters.lost),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // Invariant 3.
        self.end(first.as_deref().unwrap_or(&text).as_bytes());
        Ok(is_first)
    }

    /// Ends the contexts that are bound to the marker's ID.
    pub(super) fn end(&self, marker: &[u8]) {
        let Some(marker) = Marker::from_json(marker) else { return };
        let entries = self.registry.take(marker.id());
        if entries.is_empty() {
            return;
        }
        let cause = Cause::from(RemoteCancel::new(marker));
        // Invariant 4: the registry is unlocked.
        for entry in entries {
            entry.cancel(&cause);
            self.counters.canceled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subscriber for Inner {
    fn connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Invariant 1. The reading runs beside the listening, which must not wait for it.
        self.registry.forget_reads();
        self.wakers.connected.notify_one();
        self.wakers.work.notify_one();
        Box::pin(std::future::ready(()))
    }

    fn message(&self, message: &[u8]) {
        if Marker::from_json(message).is_some() {
            self.counters.received.fetch_add(1, Ordering::Relaxed);
            self.end(message);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The reader finds no hub, and ends.
        self.wakers.connected.notify_one();
        self.wakers.work.notify_one();
    }
}

/// The registration of a bound context, which holds it as a value. (Invariant 2.)
pub(super) struct Registration {
    pub(super) hub: Arc<Inner>,
    pub(super) id: Arc<str>,
    pub(super) number: u64,
    pub(super) after: AfterFunc,
}

impl Value for Registration {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bound to {:?}", self.id)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.after.stop();
        self.hub.registry.remove(&self.id, self.number);
    }
}

pub(super) fn is_valid(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
}

/// Returns a duration for Redis, at least 1 ms.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, MAX_MILLISECONDS)
}

/// Longest time to live that Redis accepts when it is added to the current time.
const MAX_MILLISECONDS: u64 = 1 << 53;
