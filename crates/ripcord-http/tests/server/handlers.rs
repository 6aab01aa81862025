//! Helpers: handlers whose clients disconnect, and endless bodies.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
    routing::any,
};
use http_body::Frame;
use ripcord::Context;
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    common::{Endless, PATIENCE},
    sockets::{in_time, with_ping},
};

/// Returns a layer whose deadlines are too late to end a request.
pub(crate) fn layer() -> ContextLayer {
    ContextLayer::new(&Context::background()).timeout(100 * PATIENCE)
}

/// Returns a router whose handler never answers, under `layer`.
pub(crate) fn stuck(layer: &ContextLayer, started: &UnboundedSender<Context>) -> Router {
    let started = started.clone();
    let handler = move |Ctx(ctx): Ctx, request: Request| {
        started.send(ctx).expect("the test listens");
        async move {
            // The body is held, but never read.
            let _request = request;
            pending::<String>().await
        }
    };
    with_ping(Router::new().route("/", any(handler))).layer(layer.clone())
}

/// Waits until no request is in flight.
pub(crate) async fn settle(layer: &ContextLayer) {
    // Requests end some time after a disconnect, without a notification.
    in_time(async {
        while layer.stats().in_flight > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Returns a router whose handler answers with an endless body that is always ready.
pub(crate) fn streaming(layer: &ContextLayer, started: &UnboundedSender<Context>) -> Router {
    let started = started.clone();
    let handler = move |Ctx(ctx): Ctx| {
        started.send(ctx).expect("the test listens");
        async { Response::new(Body::new(Endless)) }
    };
    with_ping(Router::new().route("/", any(handler))).layer(layer.clone())
}

/// An endless body that counts its large frames.
pub(crate) struct Counted(pub(crate) Arc<AtomicU64>);

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 64 << 10])))))
    }
}
