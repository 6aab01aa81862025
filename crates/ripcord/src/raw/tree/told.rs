//! Telling those who wait, with no lock held.

use std::task::Waker;

use crate::background;
use crate::cause::Cause;
use crate::raw::node::{Callback, More};

/// What to tell once no lock is held: users' code, all of it (invariant 5).
#[derive(Default)]
pub(super) struct Told {
    pub(super) wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
    /// Causes that were replaced.
    pub(super) garbage: Vec<Cause>,
}

impl Told {
    pub(super) fn take(&mut self, more: &mut More) {
        while let Some(waker) = more.waiters.pop() {
            self.wakers.push(waker);
        }
        while let Some(callback) = more.callbacks.pop() {
            self.callbacks.push(callback);
        }
    }

    pub(super) fn tell(&mut self) {
        self.wakers.drain(..).for_each(wake);
        for callback in self.callbacks.drain(..) {
            let Callback { run, inline, _keep: keep } = callback;
            if inline {
                background::shielded(run);
            } else {
                background::spawn(run);
            }
            background::shielded(|| drop(keep));
        }
        // A cause is the user's, and so is its drop.
        self.garbage.drain(..).for_each(|cause| background::shielded(|| drop(cause)));
    }
}

/// Wakes; a waker that panics is the panic hook's to report, and keeps nobody else from being woken.
pub(super) fn wake(waker: Waker) {
    background::shielded(|| waker.wake());
}
