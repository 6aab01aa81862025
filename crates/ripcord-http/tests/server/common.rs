//! Helpers: a server's context, requests, and routers that expose their contexts.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{self, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
};
use http_body::Frame;
use http_body_util::BodyExt as _;
use ripcord::{Clock, Context, Error};
use ripcord_http::server::{ContextLayer, RequestAnswered, matched_path};
use tokio::sync::mpsc::UnboundedReceiver;
use tower::ServiceExt as _;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The maximum time to wait for events in real time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Creates a server's context on the paused clock of the test.
pub(crate) fn server() -> Context {
    Context::background().with_clock(Clock::tokio()).with_name("serve")
}

pub(crate) fn request(path: &str) -> Request {
    Request::get(path).body(Body::empty()).expect("a path")
}

pub(crate) async fn send(app: &Router, request: Request) -> Response {
    app.clone().oneshot(request).await.unwrap_or_else(|never: Infallible| match never {})
}

pub(crate) async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.into()).expect("text")
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().expect("text")
}

/// The contexts of the requests that a router of [`watched`] has received.
pub(crate) type Seen = Arc<Mutex<Vec<Context>>>;

/// Adds a layer with a timeout of five seconds to `router`. Returns also the contexts that the layer creates.
pub(crate) fn watched(router: Router) -> (Router, Seen) {
    watched_by(router, ContextLayer::new(&server()).timeout(5 * SECOND))
}

/// Adds `layer` to `router`. Returns also the contexts that the layer creates.
pub(crate) fn watched_by(router: Router, layer: ContextLayer) -> (Router, Seen) {
    let seen = Seen::default();
    let see = axum::middleware::map_request({
        let seen = seen.clone();
        move |request: Request| {
            seen.lock().expect("no test panics here").push(ctx(&request));
            std::future::ready(request)
        }
    });
    (router.layer(see).layer(layer.name(matched_path)), seen)
}

pub(crate) fn ctx(request: &Request) -> Context {
    request.extensions().get::<Context>().expect("the layer gave one").clone()
}

pub(crate) fn only(seen: &Seen) -> Context {
    let seen = seen.lock().expect("no test panics here");
    assert_eq!(seen.len(), 1);
    seen[0].clone()
}

/// Asserts that a request's context has ended because the request was answered.
#[track_caller]
pub(crate) fn assert_answered(error: &Error) {
    let is_answered = error.cause().is_some_and(|cause| cause.downcast_ref::<RequestAnswered>().is_some());
    assert!(error.is_canceled() && is_answered, "{error:#}");
}

/// Polls `future` once.
pub(crate) async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// A body without an end.
pub(crate) struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
    }
}

/// A body whose frames come from a channel.
pub(crate) struct Frames(pub(crate) UnboundedReceiver<Bytes>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}
