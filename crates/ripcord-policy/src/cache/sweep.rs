//! Removal of what has expired.

use std::hash::Hash;
use std::sync::{Arc, Weak};

use ripcord::Context;

use super::Eviction;
use super::entry::Entry;
use super::hashed::Hashed;
use super::shared::Shared;
use crate::panics::shielded;

/// Entries looked at between two looks at the context, or two yields to other tasks.
const STRIDE: usize = 128;

impl<K, V> Shared<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Starts the task that sweeps. It belongs to the cache's context and ends with it; it keeps no cache alive.
    pub(super) fn start_sweeper(shared: &Arc<Self>) {
        let ctx = shared.ctx.clone();
        let interval = shared.settings.sweep_every;
        let weak = Arc::downgrade(shared);
        shared.runtime.spawn(async move {
            while ctx.sleep(interval).await.is_ok() {
                sweep(&weak).await;
            }
            // The context ended by itself or by `close`; in both cases nothing is to be left.
            if let Some(shared) = weak.upgrade() {
                shared.clear();
            }
        });
    }

    /// One sweep in the calling thread, until `ctx` ends. Returns how many entries were removed.
    pub(super) fn clean_up(&self, ctx: &Context) -> usize {
        let mut removed = 0;
        for (seen, (key, entry)) in self.store.iter().enumerate() {
            if seen % STRIDE == 0 && ctx.is_done() {
                break;
            }
            if entry.is_gone(self.time.now()) && self.remove_gone(&key) {
                removed += 1;
            }
            drop_copy(key, entry);
        }
        removed
    }

    /// Removes the entry of `key` if it is over. What is found now may be younger than what was seen, or was read since.
    fn remove_gone(&self, key: &Hashed<K>) -> bool {
        let now = self.time.now();
        let Some((key, entry)) = self.store.remove_if(key, |entry| entry.is_gone(now)) else {
            return false;
        };
        self.let_one_go(key, entry, Eviction::Expired);
        true
    }
}

/// Lets go of what was looked at. The panic of a user's drop does not end the sweep.
fn drop_copy<K, V>(key: Hashed<K>, entry: Arc<Entry<V>>) {
    shielded(|| drop(key));
    shielded(|| drop(entry));
}

async fn sweep<K, V>(weak: &Weak<Shared<K, V>>)
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let Some(shared) = weak.upgrade() else {
        return;
    };
    let mut now = shared.time.now();
    for (seen, (key, entry)) in shared.store.iter().enumerate() {
        if entry.is_gone(now) {
            shared.remove_gone(&key);
        }
        drop_copy(key, entry);
        if seen % STRIDE == STRIDE - 1 {
            tokio::task::yield_now().await;
            if shared.ctx.is_done() {
                return;
            }
            now = shared.time.now();
        }
    }
}
