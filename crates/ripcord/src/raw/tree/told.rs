//! Telling those who wait, with no lock held.

use std::task::Waker;

use crate::background;
use crate::cause::Cause;
use crate::raw::node::{Callback, More};
#[cfg(feature = "tokio-util")]
use crate::raw::tree::token::Tokens;

/// What to tell once no lock is held: users' code, all of it (invariant 5).
#[derive(Default)]
pub(super) struct Told {
    pub(super) wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
    /// The tokens of nodes, and when those ended.
    #[cfg(feature = "tokio-util")]
    tokens: Vec<(Tokens, i64)>,
    /// Causes that were replaced.
    pub(super) garbage: Vec<Cause>,
    /// The nearest names of contexts whose own deadlines ended them.
    #[cfg(feature = "metrics")]
    pub(super) expired: Vec<Option<std::sync::Arc<std::borrow::Cow<'static, str>>>>,
}

impl Told {
    /// Takes what waits for the end of a node that ended `at`.
    #[cfg_attr(not(feature = "tokio-util"), expect(unused_variables, reason = "for the grace of tokens"))]
    pub(super) fn take(&mut self, more: &mut More, at: i64) {
        while let Some(waker) = more.waiters.pop() {
            self.wakers.push(waker);
        }
        while let Some(callback) = more.callbacks.pop() {
            self.callbacks.push(callback);
        }
        #[cfg(feature = "tokio-util")]
        self.tokens.extend(more.tokens.take().map(|tokens| (tokens, at)));
    }

    pub(super) fn tell(&mut self) {
        self.wakers.drain(..).for_each(wake);
        for callback in self.callbacks.drain(..) {
            let Callback { run, context } = callback;
            background::spawn(run);
            background::shielded(|| drop(context));
        }
        #[cfg(feature = "tokio-util")]
        self.tokens.drain(..).for_each(|(tokens, at)| tokens.cancel(at));
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
