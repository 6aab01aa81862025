//! The loads of this process that wait for a load in another process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Wakes waiting loads, by the name of the value.
#[derive(Default)]
pub(super) struct Waiters {
    waiting: Mutex<HashMap<String, (Arc<Notify>, usize)>>,
}

/// A load that may wait. Dropping it removes the load from the waiters of the key.
pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    name: &'a str,
    /// Notified when the value or its lease has changed.
    pub(super) changed: Arc<Notify>,
}

impl Waiters {
    pub(super) fn register<'a>(&'a self, name: &'a str) -> Waiter<'a> {
        let mut waiting = self.lock();
        let (changed, count) = waiting.entry(name.to_owned()).or_default();
        *count += 1;
        let changed = Arc::clone(changed);
        drop(waiting);
        Waiter { waiters: self, name, changed }
    }

    pub(super) fn wake(&self, name: &str) {
        let changed = self.lock().get(name).map(|(changed, _)| Arc::clone(changed));
        if let Some(changed) = changed {
            changed.notify_waiters();
        }
    }

    pub(super) fn wake_all(&self) {
        let all: Vec<_> = self.lock().values().map(|(changed, _)| Arc::clone(changed)).collect();
        all.iter().for_each(|changed| changed.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (Arc<Notify>, usize)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        if let Some((_, count)) = waiting.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(self.name);
            }
        }
    }
}
