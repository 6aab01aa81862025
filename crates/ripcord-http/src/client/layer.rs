//! The layer for tower clients.

use std::panic::Location;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use http::{Extensions, Request, Response};
use ripcord::Context;
use tower_layer::Layer;
use tower_service::Service;

use super::call::{Call, Url};
use super::context_end::ContextEnd;
use super::error::{BoxError, Error, Phase};
use super::outgoing::Outgoing;
use super::progress::IdleCall;
#[cfg(feature = "tracing")]
use super::request_ext::CallSite;
use super::span::CallSpan;
use super::{BaggageFilter, ResponseBody, ResponseFuture};
use crate::deadline::Dialect;

/// A tower layer for HTTP clients. It ends each call when the context of its request ends, and sends the time left until the
/// context's deadline to the server.
///
/// Create it with [`ClientLayer::new`]. Give a request its context with
/// [`RequestExt::with_context`](super::RequestExt::with_context).
///
/// ```
/// use std::time::Duration;
/// use http::{Extensions, Request, Response};
/// use ripcord::Context;
/// use ripcord_http::client::{ClientLayer, RequestExt};
/// use ripcord_http::deadline::Dialect;
/// use tower::{Layer, Service, service_fn};
///
/// # futures::executor::block_on(async {
/// let client = service_fn(|request: Request<String>| async move {
///     assert!(request.headers().contains_key("grpc-timeout"));
///     Ok::<_, std::io::Error>(Response::new(String::from("hello")))
/// });
/// let mut client = ClientLayer::new().dialect(Dialect::GrpcTimeout).layer(client);
///
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// let request = Request::get("http://localhost/").body(String::new()).unwrap();
/// assert!(client.call(request.with_context(&ctx)).await.is_ok());
/// # });
/// ```
///
/// A request without a context passes through unchanged. The [module documentation](super) lists the headers that a call sends and
/// describes how a call ends.
///
/// Place this layer inside layers that queue a request or send it several times (retries, redirects). Each request then carries the
/// time that is left when the request is sent. For reqwest's own requests, use the module `client::reqwest`.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is put on a client"]
pub struct ClientLayer {
    outgoing: Outgoing,
}

impl ClientLayer {
    /// Creates a layer that sends the time left until the context's deadline in the header `x-request-timeout-ms`, and sends no
    /// baggage.
    #[track_caller]
    pub fn new() -> Self {
        ClientLayer { outgoing: Outgoing::default() }
    }

    /// Sets the header that carries the time left until the context's deadline. Default: [`Dialect::Plain`], the header
    /// `x-request-timeout-ms`.
    ///
    /// Do not set an [absolute](Dialect::is_absolute) dialect. This crate cannot send absolute dialects, so every call would fail
    /// without being sent.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.outgoing.dialect = dialect;
        self
    }

    /// Sets which members of the context's [`Baggage`](crate::trace_context::Baggage) are sent. Default: none.
    pub fn baggage(mut self, filter: BaggageFilter) -> Self {
        self.outgoing.baggage = filter;
        self
    }

    /// Sets the time after which a call without progress ends. Progress is a part of the response: the head, or a chunk of the
    /// body. Default: no limit.
    ///
    /// The timer starts with the call. Each part that you receive restarts the timer. The timer also runs while you do not read the
    /// body. With a [`ProgressLayer`](super::ProgressLayer) inside this layer, each chunk of the request's body restarts the timer
    /// too. Without a `ProgressLayer`, the request must be sent and the head of the response must arrive within the timeout.
    ///
    /// The deadline of the context still applies. The idle timeout is not sent to the server.
    ///
    /// A call that exceeds the idle timeout fails with an error for which
    /// [`is_deadline_exceeded`](super::Error::is_deadline_exceeded) returns `true`. The error contains the idle timeout and the
    /// source line that called `idle_timeout`. With a timeout of zero, no call is sent. [`Duration::MAX`] sets no limit.
    #[track_caller]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.outgoing.idle = Some((timeout, Location::caller()));
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
        Client { inner, outgoing: self.outgoing.clone() }
    }
}

/// A tower client whose calls end when their context ends. Created by [`ClientLayer`].
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord::Context;
/// use ripcord_http::client::{Client, ClientLayer, RequestExt};
/// use tower::{Layer, Service, service_fn};
///
/// # futures::executor::block_on(async {
/// let inner = service_fn(|_: Request<String>| std::future::pending::<Result<Response<String>, std::io::Error>>());
/// let mut client: Client<_> = ClientLayer::new().layer(inner);
/// let ctx = Context::background().with_timeout(Duration::from_millis(1));
/// let request = Request::get("http://localhost/").body(String::new()).unwrap();
/// assert!(client.call(request.with_context(&ctx)).await.unwrap_err().is_deadline_exceeded());
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Client<S> {
    inner: S,
    outgoing: Outgoing,
}

impl<S> Client<S> {
    #[cfg(feature = "tracing")]
    fn span(&self, ctx: &Context, call: &Call, extensions: &Extensions) -> CallSpan {
        // A forwarded request that still has the context it arrived with has no `CallSite`.
        let location = extensions.get::<CallSite>().map_or(self.outgoing.location, |site| site.0);
        CallSpan::begin(ctx, call, location)
    }

    #[cfg(not(feature = "tracing"))]
    fn span(&self, _: &Context, _: &Call, _: &Extensions) -> CallSpan {
        CallSpan::default()
    }
}

impl<S, B, R> Service<Request<B>> for Client<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<R>>;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(task).map_err(|error| Error::client(error.into(), Phase::Prepare, None))
    }

    fn call(&mut self, mut request: Request<B>) -> ResponseFuture<S::Future> {
        let call = Call { method: request.method().clone(), url: Url::Uri(request.uri().clone()) };
        let Some(ctx) = request.extensions().get::<Context>() else {
            return ResponseFuture::without_context(self.inner.call(request), call);
        };
        let ctx = self.outgoing.call_context(ctx);
        let mut span = self.span(&ctx, &call, request.extensions());
        match self.outgoing.write(&ctx, &span, request.headers_mut()) {
            Ok(()) => {
                #[cfg(feature = "metrics")]
                crate::metrics::call_sent(&ctx, &call);
                let is_idle = self.outgoing.idle.is_some();
                if is_idle {
                    request.extensions_mut().insert(IdleCall(ctx.clone()));
                }
                let end = ContextEnd::new(ctx, is_idle);
                ResponseFuture::new(self.inner.call(request), end, call, span)
            }
            Err(reason) => {
                let error = reason.into_error(call);
                span.failed(&error);
                ResponseFuture::not_sent(error)
            }
        }
    }
}
