//! Running users' functions where nobody waits for them.

#[cfg(not(ripcord_loom))]
mod pool;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(not(ripcord_loom))]
pub(crate) use pool::spawn;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs a user's function so that its panic, which the panic hook has reported, stops nothing else.
pub(crate) fn shielded(run: impl FnOnce()) {
    // A model's failure is a panic, which must reach loom.
    if cfg!(ripcord_loom) {
        return run();
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // A payload may panic when it is dropped; what that panic carries is leaked rather than given a third chance.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(payload);
        }
    }
}

/// A thread that loom knows.
#[cfg(ripcord_loom)]
pub(crate) fn spawn(job: Job) {
    loom::thread::spawn(move || shielded(job));
}
