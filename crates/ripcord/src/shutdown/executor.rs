//! The runtime or the threads on which the shutdown and its phases run.

use std::pin::Pin;
#[cfg(not(ripcord_loom))]
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};

#[cfg(not(ripcord_loom))]
use crate::blocking::block_on;
use crate::group::BoxFuture;

/// The runtime on which a `Shutdown` was built, or threads if it was built outside of a runtime.
pub(super) enum Executor {
    Threads,
    #[cfg(feature = "tokio")]
    Tokio(tokio::runtime::Handle),
}

impl Executor {
    pub(super) fn current() -> Executor {
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            return Executor::Tokio(runtime);
        }
        Executor::Threads
    }

    /// Runs the future to its end, on the runtime or on a thread. A runtime that is shutting down drops an unfinished future.
    pub(super) fn spawn(&self, future: BoxFuture) {
        match self {
            Executor::Threads => spawn_thread(future),
            #[cfg(feature = "tokio")]
            Executor::Tokio(runtime) => drop(runtime.spawn(future)),
        }
    }
}

/// The futures that a model has spawned and not yet run. loom runs every thread of a model on one system thread.
#[cfg(ripcord_loom)]
pub(crate) mod spawned {
    use std::cell::RefCell;

    use super::BoxFuture;

    thread_local! {
        static SPAWNED: RefCell<Vec<BoxFuture>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn push(future: BoxFuture) {
        SPAWNED.with_borrow_mut(|spawned| spawned.push(future));
    }

    pub(crate) fn take() -> Vec<BoxFuture> {
        SPAWNED.take()
    }
}

/// Stores the future. A model runs its spawned futures itself.
#[cfg(ripcord_loom)]
fn spawn_thread(future: BoxFuture) {
    spawned::push(future);
}

/// Runs the future on a thread of its own, or on this thread if no other thread can be started.
#[cfg(not(ripcord_loom))]
fn spawn_thread(future: BoxFuture) {
    // The thread takes the future from `slot`, because a thread that fails to start drops its closure.
    let slot = Arc::new(Mutex::new(Some(future)));
    let taken = Arc::clone(&slot);
    let take = |slot: &Mutex<Option<BoxFuture>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let thread = std::thread::Builder::new().name("ripcord-shutdown".to_owned());
    let started = thread.spawn(move || {
        if let Some(future) = take(&taken) {
            block_on(future);
        }
    });
    if started.is_err()
        && let Some(future) = take(&slot)
    {
        block_on(future);
    }
}

/// A future that continues on a thread if its runtime is shut down before the future is ready.
pub(super) struct OutlivesRuntime(Option<BoxFuture>);

impl OutlivesRuntime {
    pub(super) fn new(future: BoxFuture) -> Self {
        OutlivesRuntime(Some(future))
    }
}

impl Future for OutlivesRuntime {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        // The future is taken out, so that it is not polled again after a panic.
        let Some(mut future) = self.0.take() else { return Poll::Ready(()) };
        let polled = future.as_mut().poll(task);
        if polled.is_pending() {
            self.0 = Some(future);
        }
        polled
    }
}

impl Drop for OutlivesRuntime {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            spawn_thread(future);
        }
    }
}
