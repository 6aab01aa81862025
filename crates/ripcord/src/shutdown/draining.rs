//! The soft stop request, as contexts below a `Shutdown` see it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll};

use crate::context::Context;
use crate::future::DoneOwned;
use crate::value::Value;

/// The context that ends at the stop request of a shutdown. It is stored as a value, so that descendants through
/// `without_cancel` also find it.
pub(crate) struct StopRequest(pub(crate) Context);

impl Value for StopRequest {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shutdown")
    }
}

impl Context {
    /// Returns whether a [stop request](crate::Shutdown) was made to the `Shutdown` from whose
    /// [`context`](crate::Shutdown::context) this context was derived. Returns `false` if there is no such `Shutdown`.
    ///
    /// The stop request does not end the context: work may continue until the [drain time](crate::ShutdownBuilder::drain)
    /// is over. Work should finish before this time is over, and start no operations that may take longer.
    ///
    /// A context from [`without_cancel`](Context::without_cancel) is draining when its parent is. A
    /// [merged](Context::merge) context is draining when either of the two merged contexts is. Each call visits all
    /// ancestors of the context.
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

    /// Waits until the context is draining: until a [stop request](crate::Shutdown) is made to the `Shutdown` from
    /// whose [`context`](crate::Shutdown::context) this context was derived.
    ///
    /// If there is no such `Shutdown`, the future is never ready. The end of the context does not make the future ready.
    /// See also [`is_draining`](Context::is_draining). The cause of the stop request is the cause of
    /// [`Shutdown::stop_request`](crate::Shutdown::stop_request).
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time. A stop request is permanent, so a later call of `draining` returns
    /// immediately.
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

/// The future that [`Context::draining`] returns. Ready when a [stop request](crate::Shutdown) is made to the
/// `Shutdown` from which the context was derived.
///
/// The future does not borrow the context, so it can be spawned.
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
