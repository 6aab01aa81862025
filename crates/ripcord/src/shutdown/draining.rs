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
    /// Returns whether a [`Shutdown`](crate::Shutdown) has asked the work under this context to stop.
    ///
    /// A draining context has not ended: work may finish until the [drain time](crate::ShutdownBuilder::drain) is over.
    /// Returns `false` if the context was not derived from [`Shutdown::context`](crate::Shutdown::context).
    ///
    /// The stop request also reaches contexts from [`without_cancel`](Context::without_cancel). It reaches a
    /// [merged](Context::merge) context if either of the two contexts was derived from a shutdown's context. Each call
    /// walks up all ancestors of the context.
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

    /// Waits until a [`Shutdown`](crate::Shutdown) asks the work under this context to stop. See
    /// [`is_draining`](Context::is_draining).
    ///
    /// The future is never ready if the context was not derived from [`Shutdown::context`](crate::Shutdown::context). The
    /// end of the context does not make it ready.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. The stop request is permanent, so a future created later is ready too.
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

/// The future that [`Context::draining`] returns. Ready when a [`Shutdown`](crate::Shutdown) asks the work under the
/// context to stop.
///
/// It does not borrow the context, so it can be spawned.
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
