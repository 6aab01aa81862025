//! The tasks of HTTP/2 streams: resetting a stream whose client takes nothing, and ending an upgraded request with its stream.
//!
//! hyper asks a body for more only while the client has room. So a body that is cut at its deadline is not asked again, and the
//! stream of a client that reads nothing would outlive its request. hyper runs each stream as a task of its own: this
//! executor drops that task when the request has ended, and h2 resets a stream that is dropped unfinished.
//!
//! A CONNECT that was accepted turns its stream into another protocol's. While hyper polls the stream's task, it passes a second task
//! to the executor, which ends with the stream. The request goes to that task.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use hyper::rt;
use pin_project_lite::pin_project;
use ripcord::{Context, DoneOwned};

use super::peer::OnPeer;
use crate::server::{lifetime::Lifetime, request::InFlight};

/// Runs the streams of HTTP/2 connections as tokio tasks, and resets a stream whose client takes no more of a response after the
/// request has ended.
///
/// Pass it to hyper in place of hyper-util's `TokioExecutor`: see the [module](super).
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StreamExecutor;

impl StreamExecutor {
    /// Creates an executor. It spawns on the tokio runtime that it is called on.
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
        tokio::spawn(Stream { future, end: End::Unknown, upgraded });
    }
}

thread_local! {
    /// What the requests of the stream that is being polled report. `None` outside of a stream.
    static REPORTS: RefCell<Option<Reports>> = const { RefCell::new(None) };
}

struct Reports {
    /// The first request that has handed over a part of a response.
    sending: Option<Arc<Lifetime>>,
    upgraded: Option<UpgradedStream>,
}

/// Notes that the task being polled has handed over a part of a response.
pub(super) fn sending(lifetime: &Arc<Lifetime>) {
    REPORTS.with_borrow_mut(|reports| {
        if let Some(reports) = reports {
            reports.sending.get_or_insert_with(|| Arc::clone(lifetime));
        }
    });
}

/// Hands an upgraded request to its stream. Gives it back outside of a stream.
pub(super) fn upgrade(request: UpgradedStream) -> Option<UpgradedStream> {
    let mut request = Some(request);
    REPORTS.with_borrow_mut(|reports| {
        if let Some(reports) = reports {
            reports.upgraded = request.take();
        }
    });
    request
}

/// A request whose stream is another protocol's now. It ends when this is dropped, and keeps the connection busy until then.
pub(super) struct UpgradedStream {
    request: Option<InFlight>,
    _busy: OnPeer,
}

impl UpgradedStream {
    pub(super) fn new(request: InFlight, busy: OnPeer) -> Self {
        UpgradedStream { request: Some(request), _busy: busy }
    }

    pub(super) fn into_request(mut self) -> Option<InFlight> {
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
        end: End,
        upgraded: Option<UpgradedStream>,
    }
}

/// When to reset the stream.
enum End {
    /// No part of a response has been handed over.
    Unknown,
    /// At the end of this context, which no disconnect ends: hyper sees those.
    At(Context),
    Waiting(DoneOwned),
}

impl<F: Future> Future for Stream<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<()> {
        let this = self.project();
        let entered = Entered::new(this.upgraded.take());
        let polled = this.future.poll(task);
        let reports = entered.leave();
        *this.upgraded = reports.upgraded;
        if let (End::Unknown, Some(lifetime)) = (&this.end, reports.sending) {
            *this.end = End::At(lifetime.limit());
        }
        if polled.is_ready() {
            return Poll::Ready(());
        }
        if let End::At(limit) = this.end {
            *this.end = End::Waiting(limit.done_owned());
        }
        match this.end {
            // The body was polled before this, so any data left is data that the client does not read.
            End::Waiting(done) => Pin::new(done).poll(task).map(drop),
            _ => Poll::Pending,
        }
    }
}

/// Collects the reports of the stream being polled. Puts back what was there before when it is dropped, also by a panic.
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
        // Dropped after the replacement, because a request may end with it.
        drop(REPORTS.replace(self.before.take()));
    }
}
