//! Knows whether a call is already inside an attempt of a retry.
//!
//! Three layers of four attempts each would make 64 calls out of one. So the outermost retry retries, and those inside
//! of its attempts have one attempt each.
//!
//! # Invariants
//!
//! 1. While an attempt is polled or called, its thread says so. That covers what runs in the attempt's own task, and
//!    costs no allocation, which a first attempt, nearly always the only one, should not pay for.
//! 2. The context of every attempt after the first carries a value that says so, for the tasks and services it reaches.

use std::cell::Cell;

use ripcord::{Context, Value};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// In the context of attempts after the first.
pub(super) struct InsideRetry;

impl Value for InsideRetry {}

/// Whether code that runs here with `ctx` is inside of an attempt of a [`Retry`](super::Retry).
///
/// True in the task of the attempt itself, and everywhere the context of an attempt after the first is passed on to.
pub fn is_inside(ctx: &Context) -> bool {
    INSIDE.get() || ctx.value::<InsideRetry>().is_some()
}

/// Runs `poll` as part of an attempt.
#[inline]
pub(super) fn inside<R>(poll: impl FnOnce() -> R) -> R {
    let _restore = Restore(INSIDE.replace(true));
    poll()
}

struct Restore(bool);

impl Drop for Restore {
    #[inline]
    fn drop(&mut self) {
        INSIDE.set(self.0);
    }
}
