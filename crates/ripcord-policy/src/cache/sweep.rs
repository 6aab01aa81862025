//! Removal of expired entries.

use std::sync::Arc;

use ripcord::Context;

use super::entry::Entry;
use super::shared::Shared;
use super::{CacheValue, Eviction, Key};
use crate::panics::shielded;

/// The number of entries examined between two checks of the context, and between two yields to other tasks.
const STRIDE: usize = 128;

impl<K: Key, V: CacheValue> Shared<K, V> {
    /// Starts the sweeper's task. The task ends with the cache's context and does not keep the cache alive.
    pub(super) fn start_sweeper(shared: &Arc<Self>) {
        let ctx = shared.ctx.clone();
        let interval = shared.settings.sweep_every;
        let weak = Arc::downgrade(shared);
        shared.runtime.spawn(async move {
            while ctx.sleep(interval).await.is_ok() {
                if let Some(shared) = weak.upgrade() {
                    shared.sweep().await;
                }
            }
            // The cache is closed and must hold no entries.
            if let Some(shared) = weak.upgrade() {
                shared.clear();
            }
        });
    }

    /// Sweeps once on the calling thread, until `ctx` ends. Returns the number of removed entries.
    pub(super) fn clean_up(&self, ctx: &Context) -> usize {
        let mut removed = 0;
        for (seen, (key, entry)) in self.store.iter().enumerate() {
            if seen % STRIDE == 0 && ctx.is_done() {
                break;
            }
            removed += usize::from(self.remove_if_gone(key, entry));
        }
        removed
    }

    /// Sweeps once, until the cache is closed. Yields to other tasks in between.
    async fn sweep(&self) {
        for (seen, (key, entry)) in self.store.iter().enumerate() {
            self.remove_if_gone(key, entry);
            if seen % STRIDE == STRIDE - 1 {
                tokio::task::yield_now().await;
                if self.ctx.is_done() {
                    return;
                }
            }
        }
    }

    /// Removes the entry of `key` if it has expired. The entry may be newer than `seen`, or may have been read since.
    fn remove_if_gone(&self, key: K, seen: Arc<Entry<V>>) -> bool {
        let is_gone = |entry: &Entry<V>| entry.is_gone(&self.clock);
        let removed = is_gone(&seen).then(|| self.store.remove_if(&key, is_gone)).flatten();
        // A panic of a value's drop must not end the sweep.
        shielded(|| drop((key, seen)));
        let is_removed = removed.is_some();
        if let Some((key, entry)) = removed {
            self.release(key, entry, Eviction::Expired);
        }
        is_removed
    }
}
