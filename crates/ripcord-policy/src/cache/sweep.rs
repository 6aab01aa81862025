//! Removal of expired entries.

use std::sync::{Arc, Weak};

use ripcord::Context;

use super::shared::Shared;
use super::{CacheValue, Eviction, Key};
use crate::panics::shielded;

/// Entries examined between two checks of the context, and between two yields to other tasks.
const STRIDE: usize = 128;

impl<K: Key, V: CacheValue> Shared<K, V> {
    /// Starts the sweeper's task. It ends with the cache's context and does not keep the cache alive.
    pub(super) fn start_sweeper(shared: &Arc<Self>) {
        let ctx = shared.ctx.clone();
        let interval = shared.settings.sweep_every;
        let weak = Arc::downgrade(shared);
        shared.runtime.spawn(async move {
            while ctx.sleep(interval).await.is_ok() {
                sweep(&weak).await;
            }
            // The cache is closed, and must keep nothing.
            if let Some(shared) = weak.upgrade() {
                shared.clear();
            }
        });
    }

    /// Sweeps once, on the calling thread, until `ctx` ends. Returns the number of entries removed.
    pub(super) fn clean_up(&self, ctx: &Context) -> usize {
        let mut removed = 0;
        for (seen, (key, entry)) in self.store.iter().enumerate() {
            if seen % STRIDE == 0 && ctx.is_done() {
                break;
            }
            removed += usize::from(entry.is_gone(&self.clock) && self.remove_gone(&key));
            // A panic of a value's drop does not end the sweep.
            shielded(|| drop((key, entry)));
        }
        removed
    }

    /// Removes the entry of `key` if it has expired. It may be younger than the entry that was seen, or read since.
    fn remove_gone(&self, key: &K) -> bool {
        let Some((key, entry)) = self.store.remove_if(key, |entry| entry.is_gone(&self.clock)) else {
            return false;
        };
        self.release(key, entry, Eviction::Expired);
        true
    }
}

async fn sweep<K: Key, V: CacheValue>(weak: &Weak<Shared<K, V>>) {
    let Some(shared) = weak.upgrade() else {
        return;
    };
    for (seen, (key, entry)) in shared.store.iter().enumerate() {
        if entry.is_gone(&shared.clock) {
            shared.remove_gone(&key);
        }
        shielded(|| drop((key, entry)));
        if seen % STRIDE == STRIDE - 1 {
            tokio::task::yield_now().await;
            if shared.ctx.is_done() {
                return;
            }
        }
    }
}
