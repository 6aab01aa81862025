//! The layer for tower clients.

use std::task::{self, Poll};
use std::time::Duration;

use http::{Request, Response};
use ripcord::Context;
use ripcord_http::client::{self, BaggageFilter};
use ripcord_http::deadline::Dialect;
use tower_layer::Layer;
use tower_service::Service;

use super::answer::Answered;
use super::{ResponseBody, ResponseFuture};
use crate::metadata::Keys;
use crate::{BoxError, Error, Metadata};

/// Ends each call of a gRPC client with the context that its request carries. The [module](super) describes what is sent and how a call
/// ends.
///
/// The context is an extension of the request: see [`ripcord_http::client::RequestExt`], or `ripcord_grpc::tonic::RequestExt`. A
/// request without a context passes unchanged.
///
/// Put this layer between the framework's client and the transport: hyper's client, tonic's `Channel`. Put it below layers that send a
/// call more than once, so that each attempt sends the time that it has left.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord::Context;
/// use ripcord_grpc::ClientLayer;
/// use ripcord_http::client::RequestExt;
/// use tower::{Layer, Service, service_fn};
///
/// # futures::executor::block_on(async {
/// let transport = service_fn(|request: Request<String>| async move {
///     assert!(request.headers().contains_key("grpc-timeout"));
///     Ok::<_, std::io::Error>(Response::new(String::new()))
/// });
/// let mut client = ClientLayer::new().layer(transport);
///
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// let request = Request::post("http://localhost/echo.Echo/Unary").body(String::new()).unwrap();
/// assert!(client.call(request.with_context(&ctx)).await.is_ok());
/// # });
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put on a client"]
pub struct ClientLayer {
    http: client::ClientLayer,
    settings: Settings,
}

#[derive(Clone, Debug, Default)]
struct Settings {
    metadata: Keys,
    is_without_cancel: bool,
}

impl ClientLayer {
    /// Sends the deadline, the request ID and the trace of each call's context, and no baggage.
    #[track_caller]
    pub fn new() -> Self {
        ClientLayer { http: client::ClientLayer::new().dialect(Dialect::GrpcTimeout), settings: Settings::default() }
    }

    /// Selects the context's baggage that is sent. Default: none.
    pub fn baggage(mut self, filter: BaggageFilter) -> Self {
        self.http = self.http.baggage(filter);
        self
    }

    /// Sets how long a call may wait for the next part of its response. Default: no limit.
    ///
    /// It is not sent: see [`ripcord_http::client::ClientLayer::idle_timeout`].
    #[track_caller]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.http = self.http.idle_timeout(timeout);
        self
    }

    /// Sends the context's value `V` in metadata. Without it, no value is sent.
    ///
    /// # Panics
    ///
    /// Panics if the key of `V` is no header name in lower case, or starts with `grpc-`.
    #[track_caller]
    pub fn metadata<V: Metadata>(mut self) -> Self {
        self.settings.metadata.add::<V>();
        self
    }

    /// Lets calls go on after their context has ended, and sends no deadline. The request ID, the trace and the values are still sent.
    ///
    /// For a single call, give its request [`Context::without_cancel`] instead. A call ends when its future is dropped, in any case.
    pub fn without_cancel(mut self) -> Self {
        self.settings.is_without_cancel = true;
        self
    }
}

impl Default for ClientLayer {
    #[track_caller]
    fn default() -> Self {
        ClientLayer::new()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = Client<S>;

    fn layer(&self, inner: S) -> Client<S> {
        Client { http: self.http.layer(inner), settings: self.settings.clone() }
    }
}

/// A client whose calls end with their context. Returned by [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct Client<S> {
    http: client::Client<S>,
    settings: Settings,
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Error>> {
        self.http.poll_ready(task).map_err(Error::client)
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future> {
        let ctx = request.extensions().get::<Context>().cloned();
        let ctx = ctx.map(|ctx| if self.settings.is_without_cancel { ctx.without_cancel() } else { ctx });
        if let Some(ctx) = &ctx {
            self.settings.metadata.send(ctx, request.headers_mut());
            if self.settings.is_without_cancel {
                request.extensions_mut().insert(ctx.clone());
            }
        }
        ResponseFuture::new(self.http.call(request), Answered::new(ctx))
    }
}
