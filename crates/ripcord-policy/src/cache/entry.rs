//! The entries of the cache.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord::Clock;

use crate::SharedError;

/// One entry. A read copies its pointer out of the store. No value is cloned under a lock, because cloning is user code.
///
/// An instant of `None` means never.
#[derive(Debug)]
pub(super) struct Entry<V> {
    /// The value, or the error of a failed load. The error is kept for `negative_ttl`.
    pub(super) result: Result<V, SharedError>,
    /// The instant from which the value is stale.
    pub(super) fresh_until: Option<Instant>,
    /// The instant from which the entry no longer exists: the end of the stale window.
    pub(super) gone_at: Option<Instant>,
    pub(super) weight: u32,
    /// The instant until which a stale value is not reloaded in the background.
    pub(super) no_reload_until: Mutex<Option<Instant>>,
    /// The idle limit and the time of the last read. `None` if the cache has no idle limit.
    pub(super) idle: Option<(Duration, Mutex<Instant>)>,
}

/// The state of an entry at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Fresh,
    /// Past its TTL and inside the stale window. `may_reload` says whether the next value may be loaded now.
    Stale {
        may_reload: bool,
    },
    Gone,
}

/// The result of a look-up.
#[derive(Debug)]
pub(super) enum Lookup<V> {
    Fresh(V),
    Stale {
        value: V,
        /// The end of the stale window.
        gone_at: Option<Instant>,
        may_reload: bool,
    },
    Failure(SharedError),
    Absent,
}

impl<V> Entry<V> {
    pub(super) fn status(&self, clock: &Clock) -> Status {
        let has_passed = |instant: Option<Instant>| instant.is_some_and(|instant| clock.has_passed(instant));
        if self.idle.as_ref().is_some_and(|(limit, last_read)| has_passed(lock(last_read).checked_add(*limit))) {
            Status::Gone
        } else if !has_passed(self.fresh_until) {
            Status::Fresh
        } else if self.result.is_err() || has_passed(self.gone_at) {
            Status::Gone
        } else {
            Status::Stale { may_reload: lock(&self.no_reload_until).is_none_or(|until| clock.has_passed(until)) }
        }
    }

    pub(super) fn is_gone(&self, clock: &Clock) -> bool {
        self.status(clock) == Status::Gone
    }

    /// Returns whether the entry has a value that may still be served, fresh or stale.
    pub(super) fn is_servable(&self, clock: &Clock) -> bool {
        self.result.is_ok() && !self.is_gone(clock)
    }

    /// Prevents background loads of a stale value until `instant`.
    pub(super) fn pause_reload(&self, instant: Option<Instant>) {
        *lock(&self.no_reload_until) = instant;
    }
}

impl<V: Clone> Entry<V> {
    pub(super) fn found(&self, clock: &Clock) -> Lookup<V> {
        let status = self.status(clock);
        if let Some((_, last_read)) = &self.idle
            && status != Status::Gone
        {
            let now = clock.now();
            let mut last_read = lock(last_read);
            *last_read = now.max(*last_read);
        }
        match (status, &self.result) {
            (Status::Gone, _) => Lookup::Absent,
            (_, Err(failure)) => Lookup::Failure(failure.clone()),
            (Status::Fresh, Ok(value)) => Lookup::Fresh(value.clone()),
            (Status::Stale { may_reload }, Ok(value)) => {
                Lookup::Stale { value: value.clone(), gone_at: self.gone_at, may_reload }
            }
        }
    }

    /// Returns the value of an entry that was removed from the store. The value is cloned if another thread is reading the entry.
    pub(super) fn into_value(entry: Arc<Self>) -> Option<V> {
        match Arc::try_unwrap(entry) {
            Ok(entry) => entry.result.ok(),
            Err(shared) => shared.result.as_ref().ok().cloned(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
