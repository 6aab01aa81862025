//! The state that all clones of a [`SharedBreaker`](super::SharedBreaker) share, and the breakers of this process.

use std::collections::HashMap;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::Random;
use ripcord_policy::breaker::{Announcement, BreakerHandle, Followed};

use super::message::{self, Change};
use super::stats::Counters;
use crate::Client;
use crate::client::{Request, Subscriber};
use crate::error::Error;

pub(super) struct Inner {
    /// This value, for its tasks.
    pub(super) this: Weak<Inner>,
    pub(super) client: Client,
    /// The breakers of this process by their names.
    pub(super) members: Mutex<HashMap<Arc<str>, Vec<Arc<Member>>>>,
    pub(super) counters: Counters,
}

/// A breaker of this process.
pub(super) struct Member {
    /// A random number, by which the member recognizes its own changes.
    id: u64,
    pub(super) breaker: BreakerHandle,
    state: Mutex<MemberState>,
}

#[derive(Default)]
struct MemberState {
    /// The highest epoch that the member knows.
    seen: u64,
    /// The last change of its own could not be published.
    has_failed: bool,
    /// The publication failed, and meanwhile another process published a change, so it is unknown which of the two came last.
    is_contested: bool,
    /// The last change in Redis must be read.
    is_unread: bool,
    /// A task reads.
    is_reading: bool,
    /// A task publishes.
    is_publishing: bool,
    /// The newest change that was received before the last change of its own was published.
    kept: Option<Change>,
}

impl MemberState {
    fn keep(&mut self, change: Change) {
        if self.kept.is_none_or(|kept| kept.epoch < change.epoch) {
            self.kept = Some(change);
        }
    }
}

impl Member {
    pub(super) fn new(breaker: BreakerHandle) -> Self {
        Member { id: Random::new().next_u64(), breaker, state: Mutex::default() }
    }
}

impl Inner {
    /// Adds a member, and forgets the breakers that no longer exist.
    pub(super) fn add(&self, name: Arc<str>, member: Arc<Member>) {
        let mut members = lock(&self.members);
        // The map is searched only when it is about to grow.
        if members.len() == members.capacity() {
            members.retain(|_, list| list.iter().any(|member| member.breaker.is_alive()));
        }
        let list = members.entry(name).or_default();
        list.retain(|member| member.breaker.is_alive());
        list.push(member);
    }

    fn members(&self, name: &str) -> Vec<Arc<Member>> {
        lock(&self.members).get(name).cloned().unwrap_or_default()
    }

    /// Publishes a change of the breaker that no other process has caused.
    pub(super) fn changed(self: &Arc<Self>, member: &Arc<Member>) {
        let (inner, member) = (Arc::clone(self), Arc::clone(member));
        self.client.shared().runtime().spawn(async move {
            if inner.publish(&member, None).await.is_err() {
                // It is published when Redis is available again.
                inner.synchronize(&member);
            }
        });
    }

    /// Publishes `announcement`, and then the changes of a member until there are none. Fails with the time until the next attempt.
    async fn publish(&self, member: &Member, mut announcement: Option<Announcement>) -> Result<(), Duration> {
        if std::mem::replace(&mut lock(&member.state).is_publishing, true) {
            return Ok(());
        }
        let published = loop {
            let Some(next) = announcement.take().or_else(|| member.breaker.take_announcement()) else { break Ok(()) };
            match self.send(member, next).await {
                Ok(epoch) => {
                    self.counters.published.fetch_add(1, Ordering::Relaxed);
                    let mut state = lock(&member.state);
                    state.seen = state.seen.max(epoch);
                    (state.has_failed, state.is_contested) = (false, false);
                }
                Err(error) => {
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    lock(&member.state).has_failed = true;
                    break Err(pause(&error));
                }
            }
        };
        // Invariant 2.
        let kept = {
            let mut state = lock(&member.state);
            state.is_publishing = false;
            let kept = state.kept.take();
            state.is_contested |= kept.is_some() && published.is_err();
            kept
        };
        // Without an answer, it is unknown which of the two changes came last. `try_synchronize` reads it in Redis.
        if let (Some(change), Ok(())) = (kept, published) {
            self.apply(member, change);
        }
        published
    }

    async fn send(&self, member: &Member, announcement: Announcement) -> Result<u64, Error> {
        let (shared, name) = (self.client.shared(), member.breaker.name());
        let key = shared.key(&["breaker", name]);
        let script = message::publish(key, shared.channel(), name, member.id, announcement);
        let (ctx, request) = (Context::background(), Request::Script(&script));
        shared.send(&ctx, Location::caller(), "publish", request).await
    }

    /// Publishes a change that could not be published before, or reads the last change in Redis. Tries until Redis answers.
    pub(super) fn synchronize(self: &Arc<Self>, member: &Arc<Member>) {
        {
            let mut state = lock(&member.state);
            state.is_unread = true;
            if std::mem::replace(&mut state.is_reading, true) {
                return;
            }
        }
        let (inner, member) = (Arc::clone(self), Arc::clone(member));
        self.client.shared().runtime().spawn(async move {
            loop {
                {
                    let mut state = lock(&member.state);
                    if !std::mem::take(&mut state.is_unread) || !member.breaker.is_alive() {
                        state.is_reading = false;
                        return;
                    }
                }
                if let Err(pause) = inner.try_synchronize(&member).await {
                    lock(&member.state).is_unread = true;
                    tokio::time::sleep(pause).await;
                }
            }
        });
    }

    async fn try_synchronize(&self, member: &Member) -> Result<(), Duration> {
        if lock(&member.state).is_contested {
            let change = self.read(member).await?;
            let is_newer = {
                let mut state = lock(&member.state);
                state.is_contested = false;
                let is_newer = change.by != member.id && change.epoch > state.seen;
                state.has_failed &= !is_newer;
                is_newer
            };
            // The other change came last, so the failed one is not published again. A later change of its own is published.
            if is_newer {
                self.apply(member, change);
                return self.publish(member, None).await;
            }
        }
        let has_failed = {
            let mut state = lock(&member.state);
            !state.is_publishing && std::mem::take(&mut state.has_failed)
        };
        if has_failed {
            // A breaker that closed during an outage knows less than the other breakers, so it publishes nothing.
            let is_open = |last: &Announcement| matches!(last, Announcement::Open(_));
            let (news, last) = (member.breaker.take_announcement(), member.breaker.announcement());
            if let Some(next) = news.or(last.filter(is_open)) {
                return self.publish(member, Some(next)).await;
            }
        }
        let change = self.read(member).await?;
        self.apply(member, change);
        Ok(())
    }

    /// Reads the last change in Redis.
    async fn read(&self, member: &Member) -> Result<Change, Duration> {
        let shared = self.client.shared();
        let script = message::read(shared.key(&["breaker", member.breaker.name()]));
        let (ctx, request) = (Context::background(), Request::Script(&script));
        let read = shared.send(&ctx, Location::caller(), "read", request).await;
        Ok(Change::new(read.map_err(|error| pause(&error))?))
    }

    /// Applies a change of another process. (Invariants 1 to 3.)
    fn apply(&self, member: &Member, change: Change) {
        {
            let mut state = lock(&member.state);
            if change.epoch <= state.seen {
                return;
            }
            if state.is_publishing {
                return state.keep(change);
            }
        }
        // Invariant 4.
        let followed = match change.open_for() {
            // The member's own change may arrive late, after the breaker has changed again.
            _ if change.by == member.id => Followed::Unchanged,
            // A tenth longer, so that the process that opened first also probes first.
            Some(left) => member.breaker.open_for(left.saturating_add(left / 10)),
            None => member.breaker.close(),
        };
        let mut state = lock(&member.state);
        if followed == Followed::Unannounced {
            return state.keep(change);
        }
        state.seen = change.epoch;
        drop(state);
        if followed == Followed::Changed {
            let counter = if change.open_for().is_some() { &self.counters.opened } else { &self.counters.closed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Subscriber for Inner {
    fn connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // The synchronization runs in tasks, because the listening must not wait for it.
        if let Some(inner) = self.this.upgrade() {
            let members: Vec<_> = lock(&self.members).values().flatten().cloned().collect();
            members.iter().for_each(|member| inner.synchronize(member));
        }
        Box::pin(std::future::ready(()))
    }

    fn message(&self, message: &[u8]) {
        let Some((name, change)) = message::from_json(message) else { return };
        self.counters.received.fetch_add(1, Ordering::Relaxed);
        for member in self.members(&name) {
            self.apply(&member, change);
        }
    }
}

/// Returns the time until the next attempt.
fn pause(error: &Error) -> Duration {
    error.retry_after().unwrap_or_default().max(Duration::from_millis(10))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
