//! Tasks that run in place: where they are awaited, on a worker that is busy with the task that waits for them.
//!
//! # Invariants
//!
//! 1. A task is listed from before its work is taken until it is resolved. So whoever finds it neither in the queue nor
//!    here nor with a worker finds it resolved.
//! 2. The pool stops only when the list is empty and no worker is left; each that goes looks for the others after it has
//!    gone itself, and so the last one finds nobody.
//! 3. The list is locked alone, and nothing foreign runs under its lock.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use super::TaskId;
use super::job::AnyJob;
use super::shared::Shared;
use super::worker::{drive, spawn_inline};
use crate::panics::{BoxFuture, run_hook};

/// A task that runs in place. It may move to the runtime when nobody awaits it any more.
pub(super) struct Inline {
    running: BoxFuture<()>,
    // Below the future, and so dropped after it. (Invariant 1.)
    listed: Listed,
}

/// The tasks of a pool that run in place.
#[derive(Default)]
pub(super) struct InlineJobs(Mutex<HashMap<TaskId, Arc<dyn AnyJob>>>);

/// A task's place on the list.
struct Listed {
    shared: Arc<Shared>,
    id: TaskId,
}

impl Inline {
    /// Takes a task's work over, unless somebody has it already. To be called on a worker of the pool.
    pub(super) fn begin(job: Arc<dyn AnyJob>) -> Option<Self> {
        if !job.core().is_pending() {
            return None;
        }
        let shared = Arc::clone(&job.core().shared);
        let listed = Listed::new(Arc::clone(&shared), Arc::clone(&job));
        let pending = shared.queue.steal(&*job)?;
        Some(Self { running: Box::pin(drive(job, pending)), listed })
    }

    /// Lets it run on when nobody awaits it any more.
    pub(super) fn detach(self) {
        spawn_inline(&Arc::clone(&self.listed.shared), self);
    }
}

impl Future for Inline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.running.as_mut().poll(cx)
    }
}

impl InlineJobs {
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn jobs(&self) -> Vec<Arc<dyn AnyJob>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<dyn AnyJob>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    fn new(shared: Arc<Shared>, job: Arc<dyn AnyJob>) -> Self {
        let id = job.core().id;
        shared.inline.lock().insert(id, job);
        Self { shared, id }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let job = self.shared.inline.lock().remove(&self.id);
        // May be the last owner of the task's output, whose drop is foreign code.
        run_hook(|| drop(job));
        self.shared.one_left();
    }
}
