//! Knows whether a call is already inside an attempt of a retry.
//!
//! Three layers of four attempts each would make 64 calls out of one. So the outermost retry retries, and those inside
//! of its attempts have one attempt each.
//!
//! # Invariants
//!
//! 1. While an attempt is polled or called, its thread says so. That covers what runs in the attempt's own task, and
//!    costs no allocation, which a first attempt, nearly always the only one, should not pay for.
//! 2. The context of every attempt after the first carries a value that says so, for the tasks and services it reaches. That
//!    of a first attempt is given it where this crate takes it to another task: by [`carried`], for a load of the cache and
//!    a task of the worker pool.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};

use ripcord::{Context, Value};

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// In the context of attempts after the first.
pub(super) struct InsideRetry;

impl Value for InsideRetry {}

/// Whether code that runs here with `ctx` is inside of an attempt of a [`Retry`](super::Retry).
///
/// True in the task of the attempt itself, and everywhere the context of an attempt after the first is passed on to. A load of the
/// cache that an attempt begins, and a task that it hands in to a worker pool, are inside of it too.
pub fn is_inside(ctx: &Context) -> bool {
    INSIDE.get() || ctx.value::<InsideRetry>().is_some()
}

/// `ctx` for another task, which is to know as well if this code is inside of an attempt.
pub(crate) fn carried(ctx: Context) -> Context {
    if INSIDE.get() { ctx.with_value(InsideRetry) } else { ctx }
}

/// An attempt, which its thread knows of while it is polled.
pub(super) struct Inside<'a, F>(pub(super) Pin<&'a mut F>);

impl<F: Future> Future for Inside<'_, F> {
    type Output = F::Output;

    // Inlined, as an attempt's result is mostly small, and to pass it through memory costs more than to make it.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        inside(|| self.0.as_mut().poll(cx))
    }
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
