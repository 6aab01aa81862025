//! Adds the client's address to every request, and `Connection: close` to every response during the drain.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{self, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use pin_project_lite::pin_project;
use ripcord::Context;
use tower_service::Service;

/// The address of the client, in the extensions of a request. [`serve`](crate::serve()) inserts it into every request.
///
/// With the feature `axum`, `axum::extract::ConnectInfo<SocketAddr>` is inserted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The service of one connection.
#[derive(Clone)]
pub(super) struct ConnectionService<S> {
    pub(super) inner: S,
    pub(super) peer: SocketAddr,
    /// The context that ends at the stop request. `None` without a shutdown.
    pub(super) stop: Option<Context>,
    /// Set before an answer is returned. (Invariant 1 of [`explained`](super::explained).)
    pub(super) has_answer: Arc<AtomicBool>,
}

impl<S, A, B> Service<Request<A>> for ConnectionService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ConnectionFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<A>) -> Self::Future {
        request.extensions_mut().insert(PeerAddr(self.peer));
        #[cfg(feature = "axum")]
        request.extensions_mut().insert(axum::extract::ConnectInfo(self.peer));
        // HTTP/2 does not have the header `Connection`. HTTP/2 clients get GOAWAY.
        let stop = self.stop.clone().filter(|_| request.version() < Version::HTTP_2);
        ConnectionFuture { inner: self.inner.call(request), stop, has_answer: Arc::clone(&self.has_answer) }
    }
}

pin_project! {
    pub(super) struct ConnectionFuture<F> {
        #[pin]
        inner: F,
        stop: Option<Context>,
        has_answer: Arc<AtomicBool>,
    }
}

impl<F, B, E> Future for ConnectionFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.inner.poll(task));
        this.has_answer.store(true, Ordering::Relaxed);
        if let Ok(answer) = &mut answer
            && this.stop.as_ref().is_some_and(Context::is_done)
            // An upgrade keeps the connection open.
            && answer.status() != http::StatusCode::SWITCHING_PROTOCOLS
        {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(answer)
    }
}
