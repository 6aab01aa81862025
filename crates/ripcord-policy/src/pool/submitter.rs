//! A context that tasks are submitted under, and what all of them share.
//!
//! Tasks come in numbers under one context: that of a request, or of the program. So the context that ends with it and with
//! the pool is made once for those that follow each other, and asks to be told of its end once, when the first of its tasks
//! has to wait for a worker.
//!
//! # Invariants
//!
//! 1. A job is listed from when it has to wait until its work is taken, by whomever: who takes the work takes it off the
//!    list. So the list is as long as the submitter's jobs that wait.
//! 2. The context's end takes every listed job out of the queue. A job that is listed later finds the context done, which is
//!    looked at after the listing.
//! 3. Lock order: the list is locked alone. Nothing foreign runs under it.

use std::sync::{Arc, OnceLock, PoisonError};

use ripcord::{AfterFunc, Context};

use super::job::AnyJob;
use crate::sync::{Mutex, MutexGuard, after_func};

pub(super) struct Submitter {
    /// As it was given.
    own: Context,
    /// Ends with that and with the pool's.
    pub(super) ctx: Context,
    notice: OnceLock<Option<AfterFunc>>,
    waiting: Mutex<Waiting>,
}

/// Jobs that wait for a worker, in places that are used again.
#[derive(Default)]
struct Waiting {
    places: Vec<Option<Arc<dyn AnyJob>>>,
    free: Vec<usize>,
}

/// The submitter of the last task, in case the next one is under the same context.
#[derive(Default)]
pub(super) struct LastSubmitter(Mutex<Option<Arc<Submitter>>>);

impl Submitter {
    fn new(own: &Context, pool: &Context) -> Arc<Self> {
        let ctx = own.merge(pool);
        Arc::new(Self { own: own.clone(), ctx, notice: OnceLock::new(), waiting: Mutex::default() })
    }

    /// Has a job leave the queue when the context ends. Returns its place on the list.
    pub(super) fn list(self: &Arc<Self>, job: Arc<dyn AnyJob>) -> usize {
        self.notice.get_or_init(|| {
            let weak = Arc::downgrade(self);
            after_func(&self.ctx, move || {
                if let Some(submitter) = weak.upgrade() {
                    submitter.call_all_off();
                }
            })
        });
        let mut waiting = self.lock();
        match waiting.free.pop() {
            Some(place) => {
                waiting.places[place] = Some(job);
                place
            }
            None => {
                waiting.places.push(Some(job));
                waiting.places.len() - 1
            }
        }
    }

    /// Takes a job off the list. (Invariant 1.)
    pub(super) fn unlist(&self, place: usize) {
        let mut waiting = self.lock();
        let job = waiting.places.get_mut(place).and_then(Option::take);
        if job.is_some() {
            waiting.free.push(place);
        }
        drop(waiting);
        drop(job);
    }

    /// The context has ended.
    fn call_all_off(&self) {
        // Left in their places: who takes a job's work takes it off.
        let jobs: Vec<_> = self.lock().places.iter().flatten().cloned().collect();
        for job in jobs {
            let shared = Arc::clone(&job.core().shared);
            shared.call_off(job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        if let Some(Some(notice)) = self.notice.get() {
            notice.stop();
        }
    }
}

impl LastSubmitter {
    /// The submitter with the context `own` in the pool with the context `pool`.
    pub(super) fn of(&self, own: &Context, pool: &Context) -> Arc<Submitter> {
        if let Some(last) = &*self.lock()
            && last.own.ptr_eq(own)
        {
            return Arc::clone(last);
        }
        let submitter = Submitter::new(own, pool);
        let replaced = self.lock().replace(Arc::clone(&submitter));
        // Invariant 3: the last handle of a context drops its values.
        drop(replaced);
        submitter
    }

    /// Forgets it.
    pub(super) fn forget(&self) {
        let last = self.lock().take();
        drop(last);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Submitter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
