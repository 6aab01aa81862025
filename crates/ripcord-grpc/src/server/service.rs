//! The services that the layer creates: one outside and one inside the `ContextService`.

use std::pin::Pin;
use std::task::{self, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use ripcord::Context;
use ripcord_http::RemoteCause;
use ripcord_http::server::{ContextBody, ContextService, ResponseFuture};
use tower_service::Service;

use super::call::{SentCode, is_grpc};
use super::{RequestBody, ResponseBody};
use crate::{BoxError, timeout};

/// A tower service that gives every gRPC call a [`Context`]. Created by [`ServerLayer`](super::ServerLayer), which describes how to
/// use it.
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    http: ContextService<CallService<S>>,
    margin: Duration,
}

impl<S> ServerService<S> {
    pub(super) fn new(http: ContextService<CallService<S>>, margin: Duration) -> Self {
        ServerService { http, margin }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ServerService<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
    ResBody: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Response = Response<ContextBody<ResponseBody<ResBody>>>;
    type Error = S::Error;
    type Future = ResponseFuture<CallFuture<S::Future>>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.http.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        if !self.margin.is_zero() {
            keep_back(self.margin, request.headers_mut());
        }
        self.http.call(request)
    }
}

/// Subtracts the margin from the client's deadline, if there is exactly one well-formed deadline.
fn keep_back(margin: Duration, headers: &mut HeaderMap) {
    let mut values = headers.get_all(timeout::HEADER).into_iter();
    let (Some(value), None) = (values.next(), values.next()) else { return };
    let Ok(left) = timeout::decode(value.as_bytes()) else { return };
    let left = timeout::encode(left.saturating_sub(margin));
    headers.insert(timeout::HEADER, left.map_or(HeaderValue::from_static("0n"), Into::into));
}

/// A tower service inside a [`ServerService`], around your service. Created by [`ServerLayer`](super::ServerLayer). You only need
/// this type to name the type of a service.
///
/// The service ends the request stream of a call when the call's context ends. It removes the cause from responses to untrusted
/// clients, and reads the status code for [`ServerLayer::on_end`](super::ServerLayer::on_end).
#[derive(Clone, Debug)]
pub struct CallService<S> {
    inner: S,
    is_trusted: bool,
    notes_code: bool,
}

impl<S> CallService<S> {
    pub(super) fn new(inner: S, is_trusted: bool, notes_code: bool) -> Self {
        CallService { inner, is_trusted, notes_code }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CallService<S>
where
    S: Service<Request<RequestBody<ReqBody>>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = CallFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let ctx = request.extensions().get::<Context>().filter(|_| is_grpc(request.headers())).cloned();
        let answer = ctx.as_ref().map(|ctx| Answer {
            code: self.notes_code.then(|| ctx.value::<SentCode>().cloned()).flatten(),
            is_trusted: self.is_trusted,
        });
        let request = request.map(|body| RequestBody::new(body, ctx));
        CallFuture { inner: self.inner.call(request), answer }
    }
}

/// Handles the head and the trailers of a gRPC call.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    code: Option<SentCode>,
    is_trusted: bool,
}

impl Answer {
    pub(super) fn trailers(&self, trailers: &mut HeaderMap) {
        if let Some(code) = &self.code {
            code.see_trailers(trailers);
        }
        self.withhold(trailers);
    }

    /// Removes the cause for an untrusted client, because the cause may be confidential.
    fn withhold(&self, headers: &mut HeaderMap) {
        if !self.is_trusted {
            headers.remove(RemoteCause::HEADER);
        }
    }
}

pin_project! {
    /// A future that resolves to the response of the inner service. Returned by [`CallService`].
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct CallFuture<F> {
        #[pin]
        inner: F,
        // `None` if the request is not gRPC's.
        answer: Option<Answer>,
    }
}

impl<F, B, E> Future for CallFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(task))?;
        let answer = this.answer.take();
        if let Some(answer) = &answer {
            if let Some(code) = &answer.code {
                code.see_head(&response);
            }
            answer.withhold(response.headers_mut());
        }
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, answer))))
    }
}
