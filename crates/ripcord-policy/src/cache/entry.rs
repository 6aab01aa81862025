//! What the cache keeps under a key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::SharedError;
use crate::timeline::{Moment, NEVER, Timeline, after};

/// One entry. A read takes it out of the store by its pointer: under a lock no value is cloned, which is foreign code, and
/// what is moved fits a register.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) content: Content<V>,
    /// From this moment the value is stale.
    pub(super) fresh_until: Moment,
    /// From this moment the entry does not exist any more: `fresh_until` and the stale window.
    pub(super) gone_at: Moment,
    /// Tells entries of one key apart, so that a sweep never removes the successor of what it looked at.
    pub(super) id: u64,
    pub(super) weight: u32,
    /// Before this moment a stale value is not loaded anew in the background.
    pub(super) reload_at: AtomicU64,
    /// When the entry was last read; only in idle mode.
    pub(super) idle: Option<Idle>,
}

#[derive(Debug, Clone)]
pub(super) enum Content<V> {
    Value(V),
    /// A load that failed, kept for `negative_ttl`.
    Failure(SharedError),
}

#[derive(Debug)]
pub(super) struct Idle {
    read_at: AtomicU64,
    limit: Duration,
}

/// What an entry is worth at the moment of asking.
#[derive(Debug)]
pub(super) enum Found<V> {
    Fresh(V),
    /// Past its time, inside the stale window.
    Stale {
        value: V,
        /// The end of that window.
        gone_at: Moment,
        /// Whether the next value may be loaded now.
        may_reload: bool,
    },
    Failure(SharedError),
    Absent,
}

impl<V: Clone> Entry<V> {
    pub(super) fn found(&self, time: &Timeline) -> Found<V> {
        if let Some(idle) = &self.idle {
            let now = time.now();
            if now >= idle.expires_at() {
                return Found::Absent;
            }
            if now < self.gone_at {
                idle.read_at.fetch_max(now, Ordering::Relaxed);
            }
        }
        if !time.has_come(self.fresh_until) {
            return match &self.content {
                Content::Value(value) => Found::Fresh(value.clone()),
                Content::Failure(error) => Found::Failure(error.clone()),
            };
        }
        match &self.content {
            Content::Value(value) if self.gone_at > self.fresh_until && !time.has_come(self.gone_at) => {
                let may_reload = time.has_come(self.reload_at.load(Ordering::Relaxed));
                Found::Stale { value: value.clone(), gone_at: self.gone_at, may_reload }
            }
            _ => Found::Absent,
        }
    }

    /// The value, of what was taken out of the store. Cloned if somebody is just reading it.
    pub(super) fn into_value(entry: Arc<Self>) -> Option<V> {
        let content = match Arc::try_unwrap(entry) {
            Ok(entry) => entry.content,
            Err(shared) => shared.content.clone(),
        };
        match content {
            Content::Value(value) => Some(value),
            Content::Failure(_) => None,
        }
    }
}

impl<V> Entry<V> {
    /// Whether nobody may be given this entry any more at `now`.
    pub(super) fn is_gone(&self, now: Moment) -> bool {
        now >= self.gone_at || self.idle.as_ref().is_some_and(|idle| now >= idle.expires_at())
    }

    /// Has no stale value loaded anew in the background before `moment`.
    pub(super) fn put_off_reload(&self, moment: Moment) {
        self.reload_at.store(moment, Ordering::Relaxed);
    }

    /// Whether the entry holds a value that may still be served at `now`, fresh or stale.
    pub(super) fn is_servable(&self, now: Moment) -> bool {
        matches!(self.content, Content::Value(_)) && !self.is_gone(now)
    }
}

impl Idle {
    pub(super) fn new(now: Moment, limit: Duration) -> Self {
        Self { read_at: AtomicU64::new(now), limit }
    }

    fn expires_at(&self) -> Moment {
        after(self.read_at.load(Ordering::Relaxed), self.limit)
    }
}

/// The two ends of an entry's life that starts at `now`.
pub(super) fn lifetime(now: Moment, ttl: Option<Duration>, stale_for: Duration) -> (Moment, Moment) {
    let fresh_until = ttl.map_or(NEVER, |ttl| after(now, ttl));
    (fresh_until, after(fresh_until, stale_for))
}
