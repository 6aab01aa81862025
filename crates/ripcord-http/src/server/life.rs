//! What keeps a request's Context from ending, and what ends it.
//!
//! 1. A request has one [`Life`], which owns its canceler: with the last reference to it the Context ends.
//! 2. Strong references are held by the request on its way ([`InFlight`](super::request::InFlight)) and by every
//!    [`Detached`](super::Detached); the Context itself has a weak one, so that the two do not keep each other alive.
//! 3. The client's going ends the Context at once, or when the last `Detached` is dropped. Of a client that went and a
//!    `Detached` made at that moment, one comes first: that is decided by one atomic number.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use ripcord::{Canceler, Value};

use super::{ClientDisconnected, DeadlineSource, inspection::Inspection, layer::Settings};

/// Set in [`Life::state`] when the client has gone.
const GONE: usize = 1;
/// One [`Detached`](super::Detached) in [`Life::state`].
const DETACHED: usize = 2;

#[derive(Debug)]
pub(super) struct Life {
    cancel: Canceler,
    /// How many are detached, and whether the client has gone. Relaxed: the number is all there is to agree on.
    state: AtomicUsize,
}

impl Life {
    pub(super) fn new(cancel: Canceler) -> Arc<Self> {
        Arc::new(Life { cancel, state: AtomicUsize::new(0) })
    }

    /// The client has gone: ends the Context, unless something is detached. No effect on one that is done: a request given
    /// up after its deadline was not abandoned.
    pub(super) fn client_gone(&self) {
        if self.state.fetch_or(GONE, Ordering::Relaxed) == 0 {
            self.cancel.cancel_with(ClientDisconnected);
        }
    }

    pub(super) fn cancel_with(&self, cause: String) {
        self.cancel.cancel_with(cause);
    }

    #[cfg(feature = "inspector")]
    pub(super) fn cancel_handle(&self) -> ripcord::CancelHandle {
        self.cancel.handle()
    }

    pub(super) fn detach(&self) {
        self.state.fetch_add(DETACHED, Ordering::Relaxed);
    }

    pub(super) fn attach(&self) {
        if self.state.fetch_sub(DETACHED, Ordering::Relaxed) == DETACHED | GONE {
            self.cancel.cancel_with(ClientDisconnected);
        }
    }
}

/// The way from a request's Context to its life, and where its deadline came from. A value of that Context, so it is there as
/// long as anybody holds that or one derived from it.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) life: Weak<Life>,
    pub(super) source: DeadlineSource,
    pub(super) settings: Arc<Settings>,
    pub(super) inspection: Inspection,
}

impl Handle {
    pub(super) fn new(
        life: &Arc<Life>,
        source: DeadlineSource,
        settings: &Arc<Settings>,
        inspection: Inspection,
    ) -> Self {
        settings.counters.held.up();
        Handle { life: Arc::downgrade(life), source, settings: Arc::clone(settings), inspection }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.settings.counters.held.down();
        self.inspection.leave(&self.settings);
    }
}

impl Value for Handle {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({})", self.source)
    }
}
