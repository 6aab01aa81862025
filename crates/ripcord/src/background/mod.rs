//! Running the functions of `after_func`, and containing the panics of user code.

#[cfg(not(ripcord_loom))]
mod pool;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(not(ripcord_loom))]
pub(crate) use pool::spawn;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs user code and contains its panic. The panic hook has already reported the panic.
pub(crate) fn shielded(run: impl FnOnce()) {
    // A model's failure is a panic, which must reach loom.
    if cfg!(ripcord_loom) {
        return run();
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        // The drop of a payload may also panic. The payload of that second panic is leaked.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(payload);
        }
    }
}

/// Returns the message of a panic from its payload, which [`catch_unwind`] returned. Returns `None` if the payload is not a
/// string.
///
/// ```
/// let payload = std::panic::catch_unwind(|| panic!("out of {}", "range")).unwrap_err();
/// assert_eq!(ripcord::panic_message(&*payload), Some("out of range"));
/// ```
pub fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    match payload.downcast_ref::<&'static str>() {
        Some(text) => Some(text),
        None => payload.downcast_ref::<String>().map(String::as_str),
    }
}

/// Runs a job on a thread of the model.
#[cfg(ripcord_loom)]
pub(crate) fn spawn(job: Job) {
    loom::thread::spawn(move || shielded(job));
}
