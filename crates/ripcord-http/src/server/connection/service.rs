//! The service of one connection. Each request has a reference to the connection, and the connection to its requests.

use std::{
    pin::Pin,
    task::{self, Poll, ready},
};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    messages::{RequestBody, ResponseBody},
    peer::{OnPeer, Peer},
};
use crate::server::on_connection::Upload;

/// A tower service for the requests of one watched connection. Created by [`Watch::service`](super::Watch::service), which
/// describes the effect.
#[derive(Clone, Debug)]
pub struct WatchedService<S> {
    inner: S,
    peer: Peer,
}

impl<S> WatchedService<S> {
    pub(super) fn new(inner: S, peer: Peer) -> Self {
        WatchedService { inner, peer }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WatchedService<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let is_http2 = request.version() == Version::HTTP_2;
        let request_on_peer = self.peer.begin_request(is_http2);
        let upload = (!request.body().is_end_stream()).then(Upload::default);
        request.extensions_mut().insert(self.peer.handle(upload.clone()));
        // On HTTP/2, an unread body does not affect the connection.
        let peer = (!is_http2).then(|| self.peer.clone());
        let request = request.map(|body| RequestBody::new(body, peer, is_http2, upload));
        WatchedFuture { inner: Some(self.inner.call(request)), request: Some(request_on_peer), is_http2 }
    }
}

pin_project! {
    /// A future that resolves to the response of the inner service. Returned by [`WatchedService`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct WatchedFuture<F> {
        // `None` once the future is ready.
        #[pin]
        inner: Option<F>,
        request: Option<OnPeer>,
        is_http2: bool,
    }
}

impl<F, B, E> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = this.inner.as_mut().as_pin_mut().expect("not polled after it was ready");
        let response = ready!(inner.poll(task));
        // The handler is dropped here. It may hold the request's body, and must not read more of it.
        this.inner.set(None);
        let request = this.request.take().expect("taken once");
        let is_http2 = *this.is_http2;
        Poll::Ready(response.map(|mut response| {
            if !is_http2 && request.peer().traffic().has_unread_body() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response.map(|body| ResponseBody::new(body, request, is_http2))
        }))
    }
}
