//! Resetting an HTTP/2 stream whose client takes nothing.
//!
//! hyper asks a body for more only while the client has room. So a body that is cut at its deadline is not asked again, and the
//! stream of a client that reads nothing would outlive its request. hyper runs each stream as a task of its own: this
//! executor drops that task when the request has ended, and h2 resets a stream that is dropped unfinished.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use hyper::rt;
use pin_project_lite::pin_project;
use ripcord::{Context, DoneOwned};

use crate::server::lifetime::Lifetime;

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
        tokio::spawn(Stream { future, end: End::Unknown });
    }
}

thread_local! {
    /// The request whose response the stream that is being polled sends. `None` outside of a stream.
    static SENDING: RefCell<Option<Option<Arc<Lifetime>>>> = const { RefCell::new(None) };
}

/// Notes that the task being polled has handed over a part of a response.
pub(in crate::server) fn sending(lifetime: &Arc<Lifetime>) {
    SENDING.with_borrow_mut(|sending| {
        if let Some(sending @ None) = sending {
            *sending = Some(Arc::clone(lifetime));
        }
    });
}

pin_project! {
    /// One stream of an HTTP/2 connection.
    struct Stream<F> {
        #[pin]
        future: F,
        end: End,
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
        let entered = Entered::new(matches!(this.end, End::Unknown));
        let polled = this.future.poll(task);
        if let Some(lifetime) = entered.leave() {
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

/// Puts back what was there before when it is dropped, also by a panic.
struct Entered {
    before: Option<Option<Arc<Lifetime>>>,
}

impl Entered {
    fn new(is_unknown: bool) -> Self {
        Entered { before: SENDING.replace(is_unknown.then_some(None)) }
    }

    /// Returns the request that was noted meanwhile.
    fn leave(self) -> Option<Arc<Lifetime>> {
        SENDING.take().flatten()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        SENDING.set(self.before.take());
    }
}
