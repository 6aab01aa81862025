//! The context of a submitter, shared by consecutive jobs under the same context.
//!
//! A job's context ends with its submitter's context and with the pool's. The merged context is created once for consecutive
//! jobs. It reports its end once: the report is set up when the first of its jobs has to wait for a worker.

use std::sync::{Arc, PoisonError};

use ripcord::{AfterFunc, Context};

use super::shared::Shared;
use crate::sync::{AtomicU64, Mutex, MutexGuard, OnceLock, Ordering, after_func};

pub(super) type SubmitterId = u64;

pub(super) struct Submitter {
    pub(super) id: SubmitterId,
    /// The context that the submitter passed.
    own: Context,
    /// The merged context, which ends with `own` and with the pool's context.
    pub(super) ctx: Context,
    notice: OnceLock<Option<AfterFunc>>,
}

impl Submitter {
    /// Registers a callback that removes the submitter's jobs from the queue when its context ends.
    pub(super) fn watch(&self, shared: &Arc<Shared>) {
        if self.notice.get().is_some() {
            return;
        }
        let (weak, id) = (Arc::downgrade(shared), self.id);
        let notice = after_func(&self.ctx, move || {
            if let Some(shared) = weak.upgrade() {
                shared.end_submitter(id);
            }
        });
        if let Err(Some(notice)) = self.notice.set(notice) {
            // Another thread has registered its callback first.
            notice.stop();
        }
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        if let Some(Some(notice)) = self.notice.get() {
            notice.stop();
        }
    }
}

/// The submitter of the last job. The next job uses it if it has the same context.
pub(super) struct LastSubmitter {
    last: Mutex<Option<Arc<Submitter>>>,
    next_id: AtomicU64,
}

impl LastSubmitter {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(None), next_id: AtomicU64::new(0) }
    }

    /// Returns the submitter with the context `own` in the pool whose context is `pool`.
    pub(super) fn get(&self, own: &Context, pool: &Context) -> Arc<Submitter> {
        if let Some(last) = &*self.lock()
            && last.own.ptr_eq(own)
        {
            return Arc::clone(last);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let submitter = Submitter { id, own: own.clone(), ctx: own.merge(pool), notice: OnceLock::new() };
        let submitter = Arc::new(submitter);
        let replaced = self.lock().replace(Arc::clone(&submitter));
        // Dropped without the lock, because the last handle of a context drops its values.
        drop(replaced);
        submitter
    }

    pub(super) fn forget(&self) {
        let last = self.lock().take();
        drop(last);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Submitter>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
