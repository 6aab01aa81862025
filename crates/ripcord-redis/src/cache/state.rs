//! The state that a cache's operations, its background task and the reports of the server share.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Random;
use ripcord_policy::cache::{Answer, FirstLevel, Key};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::commands::{self, Found, Operation, Token};
use super::lease::{Held, MaybeLease};
use super::names::Names;
use super::waiters::Waiters;
use super::writes::{Next, Refused, Writes};
use crate::client::{Client, Shared};

/// The time after which a load that waits for another process asks Redis again, while changes are not reported.
const POLL: Duration = Duration::from_millis(200);

/// The shortest wait for another process.
const MIN_WAIT: Duration = Duration::from_millis(10);

/// The shortest pause between two attempts to send writes.
const RESEND_AFTER: Duration = Duration::from_millis(100);

pub(super) struct State<K> {
    pub(super) client: Client,
    pub(super) name: String,
    /// A random text that identifies this cache among the caches of the same name.
    pub(super) id: Token,
    pub(super) names: Names,
    pub(super) lease_for: Duration,
    pub(super) ttl_while_disconnected: Duration,
    pub(super) random: Random,
    pub(super) first: OnceLock<FirstLevel<K>>,
    pub(super) waiters: Waiters,
    pub(super) writes: Writes,
    /// Whether the cache was dropped.
    pub(super) is_closed: AtomicBool,
    /// Whether Redis did not answer the last batch of writes, or refused one of its writes.
    pub(super) is_failing: AtomicBool,
    /// This state.
    pub(super) this: Weak<State<K>>,
}

impl<K: Key> State<K> {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.client.shared()
    }

    /// Adds a write. Invariant 1 of the [writes](super::writes): the caller holds the lock of the first level's shard.
    pub(super) fn put(&self, name: String, token: Token, operation: Operation) {
        let is_outage = !self.shared().is_available() || self.is_failing.load(Ordering::SeqCst);
        self.writes.put(name, token, operation, is_outage);
    }

    pub(super) fn stale_for(&self) -> Duration {
        self.first.get().map_or(Duration::ZERO, FirstLevel::stale_for)
    }

    pub(super) fn count_failed_write(&self) {
        if let Some(first) = self.first.get() {
            first.count_failed_write();
        }
    }
}

impl<K: Key + Serialize + DeserializeOwned> State<K> {
    pub(super) async fn find<V: Serialize + DeserializeOwned + 'static>(
        self: &Arc<Self>,
        ctx: &Context,
        key: &K,
        reload: bool,
    ) -> Answer<V> {
        let Ok(name) = self.names.value(key) else { return Answer::Unavailable };
        let name: Arc<str> = name.into();
        if !self.own_write_answered(&name).await {
            self.writes.distrust(&name);
            return Answer::Unavailable;
        }
        // The token of a value that is no answer.
        let mut known = if reload { "*".to_owned() } else { String::new() };
        let mut has_waited = false;
        let waiter = self.waiters.register(&name);
        loop {
            // The question would not be sent, so there would be no lease to release.
            if ctx.is_done() {
                return Answer::Unavailable;
            }
            // Registered before the question, so that no change after the answer is missed.
            let mut changed = pin!(waiter.changed.notified());
            changed.as_mut().enable();
            // If this future is dropped before the answer, the lease may have been taken.
            let lease = MaybeLease::new(self, &name);
            match commands::find(self.shared(), ctx, &name, &lease.token, self.lease_for, &known).await {
                Ok(Found::Value { json, ttl }) => {
                    lease.disarm();
                    match serde_json::from_str(&json) {
                        Ok(value) => return Answer::Value { value, ttl },
                        // Another version of the program wrote the value. It is loaded again.
                        Err(_) => known = "*".to_owned(),
                    }
                }
                Ok(Found::Lease) => return Answer::Load(Box::new(Held::new(lease))),
                Ok(Found::Wait { token, left }) => {
                    lease.disarm();
                    if !std::mem::replace(&mut has_waited, true)
                        && let Some(first) = self.first.get()
                    {
                        first.count_wait();
                    }
                    if known == "*" {
                        known = token;
                    }
                    let limit =
                        if self.shared().is_listening() { left.max(MIN_WAIT) } else { left.clamp(MIN_WAIT, POLL) };
                    tokio::select! {
                        () = changed => {}
                        _ended_or_over = ctx.sleep(limit) => {}
                    }
                }
                Err(error) => {
                    if error.is_unsent() {
                        lease.disarm();
                    }
                    return Answer::Unavailable;
                }
            }
        }
    }

    /// Waits until Redis has answered the writes of `name`. Returns `false` if Redis is unavailable or refuses writes.
    async fn own_write_answered(&self, name: &str) -> bool {
        loop {
            let mut answered = pin!(self.writes.answered.notified());
            answered.as_mut().enable();
            if !self.writes.is_pending(name) {
                return true;
            }
            if !self.shared().is_available() || self.is_failing.load(Ordering::SeqCst) {
                return false;
            }
            answered.await;
        }
    }

    /// Waits until Redis has answered all writes.
    pub(super) async fn all_writes_answered(&self) {
        loop {
            let mut answered = pin!(self.writes.answered.notified());
            answered.as_mut().enable();
            if !self.writes.are_pending() {
                return;
            }
            answered.await;
        }
    }

    /// Sends writes on the client's thread. Ends after the cache was dropped, when all writes are sent or Redis is unavailable.
    pub(super) async fn send_writes(self: Arc<Self>) {
        loop {
            let sent = self.send_batch().await;
            if sent != Sent::All && self.is_closed.load(Ordering::SeqCst) {
                return;
            }
            match sent {
                Sent::All => {}
                Sent::Nothing => self.writes.added.notified().await,
                Sent::NotAll => {
                    let retry_after = self.client.stats().retry_after.unwrap_or_default();
                    tokio::time::sleep(retry_after.max(RESEND_AFTER)).await;
                }
            }
        }
    }

    /// Sends one batch of writes. (Invariant 2 of the [writes](super::writes).)
    async fn send_batch(self: &Arc<Self>) -> Sent {
        let sent = match self.writes.next() {
            Next::Nothing => return Sent::Nothing,
            Next::Clear(number) => match commands::clear(self.shared(), &self.names, &self.cleared_event()).await {
                Ok(()) => {
                    self.writes.cleared(number);
                    Sent::All
                }
                Err(_) => Sent::NotAll,
            },
            Next::Batch(batch) => {
                let mut sending = JoinSet::new();
                for (name, token, operation) in batch {
                    let state = Arc::clone(self);
                    sending.spawn(async move { state.send_write(&name, &token, &operation).await });
                }
                let all = sending.join_all().await;
                if all.into_iter().all(|is_answered| is_answered) { Sent::All } else { Sent::NotAll }
            }
        };
        self.is_failing.store(sent == Sent::NotAll, Ordering::SeqCst);
        self.writes.answered.notify_waiters();
        sent
    }

    /// Sends one write. Returns `false` if it must be sent again.
    async fn send_write(self: &Arc<Self>, name: &str, token: &Token, operation: &Operation) -> bool {
        match commands::write(self.shared(), name, token, operation).await {
            Ok(is_done) => {
                let action = self.writes.answered(name, token, is_done, self.shared().is_listening());
                self.act(name, action);
                true
            }
            Err(error) if error.is_unavailable() => false,
            Err(_) => match self.writes.refused(name, token) {
                Refused::Load { lease, action } => {
                    self.count_failed_write();
                    self.act(name, action);
                    // Otherwise, other processes would wait for the value until the lease ends.
                    let _released = commands::release(self.shared(), name, &lease).await;
                    true
                }
                Refused::Insert => {
                    self.count_failed_write();
                    false
                }
                Refused::Removal => false,
            },
        }
    }
}

/// How much of a batch was answered.
#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    All,
    NotAll,
}
