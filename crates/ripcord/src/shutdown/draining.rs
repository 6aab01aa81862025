//! The soft stop request, as every context below a `Shutdown` sees it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use crate::context::Context;
use crate::future::DoneOwned;
use crate::value::Value;

/// The context that ends at the stop request of a shutdown. It is stored as a value, so that it passes `without_cancel`.
pub(crate) struct StopRequest(pub(crate) Context);

impl Value for StopRequest {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shutdown")
    }
}

impl Context {
    /// Returns whether a [`Shutdown`](crate::Shutdown) above this context has been asked to stop.
    ///
    /// Draining is the soft stop request: the context itself goes on until the drain time is over. Returns `false` if there is
    /// no `Shutdown` above. Each call walks to the root. The request also reaches contexts that no longer end with the
    /// shutdown, such as the contexts of [`without_cancel`](Context::without_cancel). It reaches merged contexts with a
    /// `Shutdown` above either parent.
    ///
    /// ```
    /// use ripcord::Shutdown;
    ///
    /// let shutdown = Shutdown::builder().build();
    /// let ctx = shutdown.context().with_name("import");
    /// assert!(!ctx.is_draining());
    /// shutdown.begin("deployment");
    /// assert!(ctx.is_draining());
    /// ```
    pub fn is_draining(&self) -> bool {
        self.all_values::<StopRequest>().into_iter().any(|request| request.0.is_done())
    }

    /// Waits until a [`Shutdown`](crate::Shutdown) above this context is asked to stop: see
    /// [`is_draining`](Context::is_draining).
    ///
    /// The future is never ready if there is no `Shutdown` above. The end of the context does not make it ready.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time and created again: no request is lost.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::{Shutdown, block_on};
    ///
    /// let shutdown = Shutdown::builder().drain(Duration::from_secs(5)).build();
    /// let ctx = shutdown.context().clone();
    /// let consumer = std::thread::spawn(move || block_on(ctx.draining()));
    /// shutdown.begin("deployment");
    /// consumer.join().unwrap();
    /// ```
    pub fn draining(&self) -> Draining {
        let requests = self.all_values::<StopRequest>();
        Draining { requests: requests.into_iter().map(|request| request.0.done_owned()).collect() }
    }
}

/// A future that is ready when the drain has started: see [`Context::draining`]. It holds no part of the context, so it can be
/// spawned.
#[must_use = "futures do nothing unless polled"]
#[derive(Debug)]
pub struct Draining {
    /// One future for each shutdown above.
    requests: Vec<DoneOwned>,
}

impl Future for Draining {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        match self.requests.iter_mut().any(|request| Pin::new(request).poll(task).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}
