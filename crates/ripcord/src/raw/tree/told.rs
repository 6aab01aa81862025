//! Telling those who wait, with no lock held.

use std::task::Waker;

use crate::background;
use crate::cause::Cause;
#[cfg(feature = "tokio-util")]
use crate::raw::node::SharedToken;
use crate::raw::node::{Callback, More};

/// What to tell once no lock is held: users' code, all of it (invariant 5).
#[derive(Default)]
pub(super) struct Told {
    pub(super) wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
    #[cfg(feature = "tokio-util")]
    tokens: Vec<SharedToken>,
    /// Causes that were replaced.
    pub(super) garbage: Vec<Cause>,
    /// The nearest names of contexts whose own deadlines ended them.
    #[cfg(feature = "metrics")]
    pub(super) expired: Vec<Option<std::sync::Arc<std::borrow::Cow<'static, str>>>>,
}

impl Told {
    pub(super) fn take(&mut self, more: &mut More) {
        while let Some(waker) = more.waiters.pop() {
            self.wakers.push(waker);
        }
        while let Some(callback) = more.callbacks.pop() {
            self.callbacks.push(callback);
        }
        #[cfg(feature = "tokio-util")]
        self.tokens.extend(more.token.take());
    }

    pub(super) fn tell(&mut self) {
        self.wakers.drain(..).for_each(wake);
        for callback in self.callbacks.drain(..) {
            let Callback { run, context } = callback;
            background::spawn(run);
            background::shielded(|| drop(context));
        }
        #[cfg(feature = "tokio-util")]
        self.tokens.drain(..).for_each(super::token::cancel);
        #[cfg(feature = "metrics")]
        for name in self.expired.drain(..) {
            crate::metrics::context_ended(crate::metrics::Kind::DeadlineExceeded, name.as_ref());
        }
        // A cause is the user's, and so is its drop.
        self.garbage.drain(..).for_each(|cause| background::shielded(|| drop(cause)));
    }
}

/// Wakes; a waker that panics is the panic hook's to report, and keeps nobody else from being woken.
pub(super) fn wake(waker: Waker) {
    background::shielded(|| waker.wake());
}
