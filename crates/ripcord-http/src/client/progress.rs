//! Reports the chunks of a request's body as progress of the call.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use ripcord::Context;
use tower_layer::Layer;
use tower_service::Service;

/// The context of a call with its own idle timeout, as an extension of the request.
#[derive(Clone)]
pub(super) struct IdleCall(pub(super) Context);

/// A tower layer that counts each chunk of a request's body as progress of the call. Each chunk that the inner client reads
/// restarts the [idle timeout](super::ClientLayer::idle_timeout) of the call.
///
/// Place this layer inside [`ClientLayer`](super::ClientLayer). Without this layer, the whole request body must be sent within the
/// idle timeout. The layer has no effect on calls without an idle timeout. A body that is not a stream, such as a string, is a
/// single chunk. The client reads it in one step, so its transfer does not restart the timeout.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord_http::client::{ClientLayer, ProgressBody, ProgressLayer};
/// use tower::{ServiceBuilder, service_fn};
///
/// let client = service_fn(async |_: Request<ProgressBody<String>>| Ok::<_, std::io::Error>(Response::new(String::new())));
/// let client = ServiceBuilder::new()
///     .layer(ClientLayer::new().idle_timeout(Duration::from_secs(10)))
///     .layer(ProgressLayer::new())
///     .service(client);
/// # let _ = tower::ServiceExt::<Request<String>>::map_response(client, |response| response);
/// ```
///
/// The layer changes the type of the request's body to [`ProgressBody`]. hyper's client accepts any body type. For a client that
/// accepts only its own body type, convert the body inside this layer. For tonic's `Channel`, use
/// `.map_request(|request: http::Request<_>| request.map(tonic::body::Body::new))`. Requests of reqwest do not need this layer: see
/// `client::reqwest::ContextRequest::idle_timeout`.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a layer does nothing until it is put on a client"]
#[non_exhaustive]
pub struct ProgressLayer;

impl ProgressLayer {
    /// Creates the layer. It has no settings.
    pub fn new() -> Self {
        ProgressLayer
    }
}

impl<S> Layer<S> for ProgressLayer {
    type Service = ProgressService<S>;

    fn layer(&self, inner: S) -> ProgressService<S> {
        ProgressService { inner }
    }
}

/// A tower client. Each chunk of a request's body restarts the idle timeout of the call. Created by [`ProgressLayer`], whose
/// documentation has an example.
#[derive(Clone, Debug)]
pub struct ProgressService<S> {
    inner: S,
}

impl<S, B> Service<Request<B>> for ProgressService<S>
where
    S: Service<Request<ProgressBody<B>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let ctx = request.extensions().get::<IdleCall>().map(|call| call.0.clone());
        self.inner.call(request.map(|body| ProgressBody { body, ctx }))
    }
}

pin_project! {
    /// The body of a request. Each chunk that the client reads from this body restarts the idle timeout of the call. Created by
    /// [`ProgressService`]: see [`ProgressLayer`].
    pub struct ProgressBody<B> {
        #[pin]
        body: B,
        // `None` if the call does not have its own idle timeout.
        ctx: Option<Context>,
    }
}

impl<B> ProgressBody<B> {
    #[cfg(feature = "reqwest")]
    pub(super) fn new(body: B, ctx: Context) -> Self {
        ProgressBody { body, ctx: Some(ctx) }
    }
}

impl<B: Body> Body for ProgressBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(task));
        if let (Some(Ok(_)), Some(ctx)) = (&frame, this.ctx) {
            ctx.progress();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for ProgressBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressBody").field("ctx", &self.ctx).finish_non_exhaustive()
    }
}
