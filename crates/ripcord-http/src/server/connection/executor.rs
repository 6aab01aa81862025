//! The tasks of HTTP/2 streams. The executor resets a stream whose client takes no data, and ends an upgraded request with its
//! stream.
//!
//! hyper polls a body only while the client has room. So a body that is cut at its deadline may not be polled again, and the
//! stream of a client that reads nothing would outlive its request. hyper runs each stream as its own task. This executor drops
//! the task when the request has ended, and h2 resets a stream that is dropped before its end.
//!
//! An accepted CONNECT switches its stream to another protocol. While hyper polls the stream's task, it passes a second task to
//! the executor. This task ends with the stream, so it gets the request.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use hyper::rt;
use pin_project_lite::pin_project;
use ripcord::DoneOwned;

use super::peer::OnPeer;
use crate::server::{lifetime::Lifetime, on_connection::UpgradedRequest};

/// An executor for hyper that runs each HTTP/2 stream as a tokio task. Pass it to hyper's connection builder instead of
/// hyper-util's `TokioExecutor`.
///
/// If the client has stopped reading the response, the executor resets the stream at the deadline of the request or at the end of
/// the server's context. Without a reset, such a stream would stay open until the client disconnects. The
/// [module documentation](super) has an example.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StreamExecutor;

impl StreamExecutor {
    /// Creates the executor. It has no settings. It uses `tokio::spawn`, so serve the connection inside a tokio runtime.
    pub fn new() -> Self {
        StreamExecutor
    }
}

impl<F> rt::Executor<F> for StreamExecutor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        let upgraded = REPORTS.with_borrow_mut(|reports| reports.as_mut()?.upgraded.take());
        tokio::spawn(Stream { future, end: None, upgraded });
    }
}

thread_local! {
    /// The reports of the requests of the stream being polled. `None` outside a stream.
    static REPORTS: RefCell<Option<Reports>> = const { RefCell::new(None) };
}

struct Reports {
    /// The first request that has passed on a part of a response.
    sending: Option<Arc<Lifetime>>,
    upgraded: Option<UpgradedStream>,
}

/// Records that the task being polled has passed on a part of a response.
pub(super) fn sending(lifetime: &Arc<Lifetime>) {
    REPORTS.with_borrow_mut(|reports| {
        if let Some(reports) = reports {
            reports.sending.get_or_insert_with(|| Arc::clone(lifetime));
        }
    });
}

/// Passes an upgraded request to its stream. Outside a stream, returns the request.
pub(super) fn upgrade(request: UpgradedStream) -> Option<UpgradedStream> {
    let mut request = Some(request);
    REPORTS.with_borrow_mut(|reports| {
        if let Some(reports) = reports {
            reports.upgraded = request.take();
        }
    });
    request
}

/// A request whose stream has switched to another protocol. The request ends when this value is dropped. Until then, the
/// connection is busy.
pub(super) struct UpgradedStream {
    request: Option<Box<dyn UpgradedRequest>>,
    _busy: OnPeer,
}

impl UpgradedStream {
    pub(super) fn new(request: Box<dyn UpgradedRequest>, busy: OnPeer) -> Self {
        UpgradedStream { request: Some(request), _busy: busy }
    }

    pub(super) fn into_request(mut self) -> Option<Box<dyn UpgradedRequest>> {
        self.request.take()
    }
}

impl Drop for UpgradedStream {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            request.closed();
        }
    }
}

pin_project! {
    /// One stream of an HTTP/2 connection.
    struct Stream<F> {
        #[pin]
        future: F,
        // The end of the context that resets the stream. `None` until a part of a response has been passed on. A disconnect does
        // not end this context, because hyper detects disconnects.
        end: Option<DoneOwned>,
        upgraded: Option<UpgradedStream>,
    }
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let this = self.project();
        let entered = Entered::new(this.upgraded.take());
        let polled = this.future.poll(task);
        let reports = entered.leave();
        *this.upgraded = reports.upgraded;
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let (None, Some(lifetime)) = (&this.end, reports.sending) {
            *this.end = Some(lifetime.limit().done_owned());
        }
        match this.end {
            // The body was polled before this, so the client does not read the remaining data.
            Some(end) => Pin::new(end).poll(task).map(drop),
            None => Poll::Pending,
        }
    }
}

/// Collects the reports of the stream being polled. Its drop restores the previous reports, even after a panic.
struct Entered {
    before: Option<Reports>,
}

impl Entered {
    fn new(upgraded: Option<UpgradedStream>) -> Self {
        Entered { before: REPORTS.replace(Some(Reports { sending: None, upgraded })) }
    }

    fn leave(self) -> Reports {
        REPORTS.take().unwrap_or(Reports { sending: None, upgraded: None })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // The old reports are dropped after the replacement, because their drop may end a request.
        drop(REPORTS.replace(self.before.take()));
    }
}
