//! What the cache keeps under a key.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use crate::SharedError;

/// One entry. Reads copy its pointer out of the store: no value is cloned under a lock, since cloning is user code.
///
/// Of its instants, `None` means never.
#[derive(Debug)]
pub(super) struct Entry<V> {
    pub(super) content: Content<V>,
    /// From this instant on the value is stale.
    pub(super) fresh_until: Option<Instant>,
    /// From this instant on the entry does not exist any more: `fresh_until` and the stale window.
    pub(super) gone_at: Option<Instant>,
    /// Distinguishes entries of one key, so that an insert knows its own entry among those that it pushed out.
    pub(super) id: u64,
    pub(super) weight: u32,
    /// Until this instant a stale value is not reloaded in the background.
    pub(super) no_reload_until: Mutex<Option<Instant>>,
    /// Only in idle mode.
    pub(super) idle: Option<Idle>,
}

#[derive(Debug, Clone)]
pub(super) enum Content<V> {
    Value(V),
    /// The error of a failed load, kept for `negative_ttl`.
    Failure(SharedError),
}

#[derive(Debug)]
pub(super) struct Idle {
    last_read: Mutex<Instant>,
    limit: Duration,
}

/// Whether an entry may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Fresh,
    /// Past its TTL, inside the stale window.
    Stale {
        may_reload: bool,
    },
    Gone,
}

/// What a look-up found.
#[derive(Debug)]
pub(super) enum Found<V> {
    Fresh(V),
    Stale {
        value: V,
        /// The end of the stale window.
        gone_at: Option<Instant>,
        /// Whether the next value may be loaded now.
        may_reload: bool,
    },
    Failure(SharedError),
    Absent,
}

impl<V> Entry<V> {
    pub(super) fn status(&self, clock: &Clock) -> Status {
        if self.idle.as_ref().is_some_and(|idle| idle.has_passed(clock)) {
            return Status::Gone;
        }
        if !has_passed(self.fresh_until, clock) {
            return Status::Fresh;
        }
        match &self.content {
            Content::Value(_) if !has_passed(self.gone_at, clock) => {
                let pause = *lock(&self.no_reload_until);
                Status::Stale { may_reload: pause.is_none_or(|until| clock.has_passed(until)) }
            }
            _ => Status::Gone,
        }
    }

    pub(super) fn is_gone(&self, clock: &Clock) -> bool {
        self.status(clock) == Status::Gone
    }

    /// Whether the entry holds a value that may still be served, fresh or stale.
    pub(super) fn is_servable(&self, clock: &Clock) -> bool {
        matches!(self.content, Content::Value(_)) && !self.is_gone(clock)
    }

    /// Keeps a stale value from being reloaded in the background until `instant`.
    pub(super) fn pause_reload(&self, instant: Option<Instant>) {
        *lock(&self.no_reload_until) = instant;
    }
}

impl<V: Clone> Entry<V> {
    pub(super) fn found(&self, clock: &Clock) -> Found<V> {
        let status = self.status(clock);
        if let Some(idle) = &self.idle
            && status != Status::Gone
        {
            idle.read(clock);
        }
        match (status, &self.content) {
            (Status::Fresh, Content::Value(value)) => Found::Fresh(value.clone()),
            (Status::Fresh, Content::Failure(error)) => Found::Failure(error.clone()),
            (Status::Stale { may_reload }, Content::Value(value)) => {
                Found::Stale { value: value.clone(), gone_at: self.gone_at, may_reload }
            }
            (Status::Stale { .. }, Content::Failure(_)) | (Status::Gone, _) => Found::Absent,
        }
    }

    /// The value of an entry that was removed from the store. Cloned if another thread is reading it.
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

impl Idle {
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Self { last_read: Mutex::new(now), limit }
    }

    fn has_passed(&self, clock: &Clock) -> bool {
        has_passed(lock(&self.last_read).checked_add(self.limit), clock)
    }

    fn read(&self, clock: &Clock) {
        let now = clock.now();
        let mut last_read = lock(&self.last_read);
        *last_read = now.max(*last_read);
    }
}

#[inline]
fn has_passed(instant: Option<Instant>, clock: &Clock) -> bool {
    instant.is_some_and(|instant| clock.has_passed(instant))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
