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

/// A tower layer for gRPC clients. It ends each call when the context of its request ends, and sends the time left until the
/// context's deadline to the server.
///
/// Create it with [`ClientLayer::new`]. Give a request its context with [`ripcord_http::client::RequestExt`], or with
/// `ripcord_grpc::tonic::RequestExt`.
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
///
/// A request without a context passes through unchanged. The [module documentation](super) describes the results of a call.
///
/// Wrap a transport, such as hyper's client or tonic's `Channel`, with this layer. Pass the result to the client of the framework,
/// such as the `EchoClient` that tonic generates. Place the layer inside layers that send a call several times, such as
/// retries. Each attempt then sends the time that is left when the attempt starts.
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
    /// Creates a layer that sends the time left until the deadline, the request ID and the trace of each call's context. To send
    /// baggage and other context values too, call [`baggage`](ClientLayer::baggage) and [`metadata`](ClientLayer::metadata).
    #[track_caller]
    pub fn new() -> Self {
        ClientLayer { http: client::ClientLayer::new().dialect(Dialect::GrpcTimeout), settings: Settings::default() }
    }

    /// Sets which members of the context's [`Baggage`](ripcord_http::trace_context::Baggage) are sent. Default: none.
    pub fn baggage(mut self, filter: BaggageFilter) -> Self {
        self.http = self.http.baggage(filter);
        self
    }

    /// Sets how long a call may wait for the next part of its response: the head, then each message. Default: no limit.
    ///
    /// A call that exceeds the timeout fails with [`Code::DeadlineExceeded`](crate::Code::DeadlineExceeded). The timeout is not
    /// sent to the server. [`ripcord_http::client::ClientLayer::idle_timeout`] has the details.
    #[track_caller]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.http = self.http.idle_timeout(timeout);
        self
    }

    /// Sends the context's value of type `V` as metadata, under the key [`V::KEY`](Metadata::KEY). Call this method once for each
    /// type. Default: no values are sent.
    ///
    /// The value replaces metadata with the same key that the request already has. A context without such a value sends nothing.
    ///
    /// # Panics
    ///
    /// Panics if the key of `V` is not a header name in lower case, or starts with `grpc-`.
    #[track_caller]
    pub fn metadata<V: Metadata>(mut self) -> Self {
        self.settings.metadata.add::<V>();
        self
    }

    /// Lets calls continue after their context has ended. By default, a call ends when its context ends.
    ///
    /// The deadline of the context is not sent. The request ID, the trace and the values of [`metadata`](ClientLayer::metadata) are
    /// still sent. Dropping the future of a call still cancels the call.
    ///
    /// For a single call, set the context of the request to [`Context::without_cancel`] instead.
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

/// A tower service that sends gRPC calls and ends each call when its context ends. Created by [`ClientLayer`].
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord::Context;
/// use ripcord_grpc::{ClientLayer, Code, client::Client};
/// use ripcord_http::client::RequestExt;
/// use tower::{Layer, Service, service_fn};
///
/// # futures::executor::block_on(async {
/// let transport = service_fn(|_: Request<String>| std::future::pending::<Result<Response<String>, std::io::Error>>());
/// let mut client: Client<_> = ClientLayer::new().layer(transport);
/// let ctx = Context::background().with_timeout(Duration::from_millis(1));
/// let request = Request::post("http://localhost/echo.Echo/Unary").body(String::new()).unwrap();
/// let error = client.call(request.with_context(&ctx)).await.unwrap_err();
/// assert_eq!(error.code(), Code::DeadlineExceeded);
/// # });
/// ```
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
        let answered = Answered::new(ctx, request.uri().path());
        ResponseFuture::new(self.http.call(request), answered)
    }
}
