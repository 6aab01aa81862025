//! Running the functions of `after_func`, and containing the panics of user code.

#[cfg(not(ripcord_loom))]
mod pool;

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(not(ripcord_loom))]
pub(crate) use pool::spawn;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs user code and contains its panic, which the panic hook has reported.
pub(crate) fn shielded(run: impl FnOnce()) {
    // A model's failure is a panic, which must reach loom.
    if cfg!(ripcord_loom) {
        return run();
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // Dropping a payload may panic too. The payload of that second panic is leaked.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(payload);
        }
    }
}

/// Runs a job on a thread of the model.
#[cfg(ripcord_loom)]
pub(crate) fn spawn(job: Job) {
    loom::thread::spawn(move || shielded(job));
}
