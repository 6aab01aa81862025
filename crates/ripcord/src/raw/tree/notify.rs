//! Notifies the waiters of ended nodes, with no lock held.

use std::task::Waker;

use crate::background;
use crate::cause::Cause;
use crate::raw::node::{Callback, More};
#[cfg(feature = "tokio-util")]
use crate::raw::tree::token::Tokens;

/// The items taken out of ended nodes under their locks, to be sent without a lock. All of them run user code (invariant 5).
#[derive(Default)]
pub(super) struct Notifications {
    pub(super) wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
    /// The tokens of each node, and the time at which the node ended.
    #[cfg(feature = "tokio-util")]
    tokens: Vec<(Tokens, i64)>,
    /// Causes that an end has replaced and that have to be dropped.
    pub(super) replaced: Vec<Cause>,
    /// The nearest names of contexts whose own deadlines ended them.
    #[cfg(feature = "metrics")]
    pub(super) expired: Vec<Option<std::sync::Arc<std::borrow::Cow<'static, str>>>>,
}

impl Notifications {
    /// Takes the waiters, functions and tokens of a node that ended `at`.
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

    pub(super) fn send(&mut self) {
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
        // Dropping a user's error runs user code.
        self.replaced.drain(..).for_each(|cause| background::shielded(|| drop(cause)));
    }
}

/// Wakes a waker. The panic hook reports its panic, which does not affect the other waiters.
pub(super) fn wake(waker: Waker) {
    background::shielded(|| waker.wake());
}
