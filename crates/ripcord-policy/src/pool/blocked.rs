//! Workers that are blocked: their task waits for another one of the same pool.
//!
//! Nobody else may be left to run that other one, so the pool lets a further worker run for as long as the wait lasts, as
//! Java's `ForkJoinPool` does. (Invariant 5 of the queue.) A worker is blocked once, however many tasks its task waits for
//! at a time.
//!
//! # Invariants
//!
//! 1. A worker is blocked exactly while its present task has waits: the first blocks it, the last to go or the task's end
//!    frees it.
//! 2. A wait belongs to the task that began it, by the number of its turn. One that outlives that task changes nothing.
//! 3. The pool learns of it under none of the worker's locks. It hears of the block before of its end, since nobody but who
//!    is the first, or comes after it, can be the last.

use std::sync::Arc;

use super::shared::Shared;
use super::worker::{Worker, current};

/// One wait of a worker's task for another task of its pool.
pub(super) struct Wait {
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    turn: u64,
}

impl Wait {
    /// Has `wait` say that the calling code waits, if it runs on a worker of the pool.
    pub(super) fn renew(wait: &mut Option<Self>, shared: &Arc<Shared>) {
        let Some(worker) = current(shared.id) else {
            *wait = None;
            return;
        };
        if wait.as_ref().is_some_and(|wait| wait.is_of(&worker)) {
            return;
        }
        let (turn, is_first) = worker.begin_wait();
        if is_first {
            shared.block();
        }
        // What it said before ends after this has begun.
        *wait = Some(Self { shared: Arc::clone(shared), worker, turn });
    }

    /// Whether it was begun by the present task of `worker`.
    fn is_of(&self, worker: &Arc<Worker>) -> bool {
        Arc::ptr_eq(&self.worker, worker) && self.turn == worker.turn()
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if self.worker.end_wait(self.turn) {
            self.shared.queue.unblock();
        }
    }
}
