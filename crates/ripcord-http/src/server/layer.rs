//! The layer.

use std::{borrow::Cow, panic::Location, sync::Arc, time::Duration};

use http::{StatusCode, request::Parts};
use ripcord::{Cause, Context};
use tower_layer::Layer;

#[cfg(feature = "inspector")]
use super::observer::Observer;
use super::{
    ContextService, Finished, HalfClose, ServerStats,
    remote_cancel::Cancelable,
    settings::{Limit, Settings},
};
use crate::{RequestId, TrustPolicy};

/// A tower layer for servers. It gives every request a [`Context`] that ends when the request ends.
///
/// Create it with [`ContextLayer::new`]:
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response, StatusCode};
/// use ripcord::Context;
/// use ripcord_http::server::ContextLayer;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (server, _stop) = Context::background().with_name("serve").with_cancel();
/// let layer = ContextLayer::new(&server).timeout(Duration::from_millis(20));
/// let service = ServiceBuilder::new().layer(layer.clone()).service(service_fn(|request: Request<String>| async move {
///     let ctx = request.extensions().get::<Context>().expect("the layer inserted one");
///     let _ = ctx.sleep(Duration::from_secs(60)).await;
///     std::future::pending::<Result<Response<String>, std::convert::Infallible>>().await
/// }));
///
/// let response = service.oneshot(Request::new(String::new())).await.unwrap();
/// assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
/// assert!(response.headers().contains_key("x-request-id"));
/// drop(response);
/// assert_eq!(layer.stats().timed_out, 1);
/// # }
/// ```
///
/// The layer works with every server that runs tower services, such as axum, hyper and tonic. Handlers find the context in the
/// extensions of the request. In axum handlers, use the extractor `Ctx`. Pass the context to every operation that waits. The
/// [module documentation](super) lists the events that end the context.
///
/// # Values and deadline
///
/// The context inherits the values of the server's context. The layer adds these:
///
/// - a [`RequestId`](crate::RequestId)
/// - a [`Traceparent`](crate::trace_context::Traceparent)
/// - the client's [`Tracestate`](crate::trace_context::Tracestate) and [`Baggage`](crate::trace_context::Baggage), if the client is
///   [trusted](ContextLayer::trust) and has sent them
/// - a [`Link`](crate::trace_context::Link) to the client's trace, if the client is not trusted and has sent a `traceparent`
///
/// The deadline of the context is the earliest of three: the deadline of the server's context, the
/// [`timeout`](ContextLayer::timeout), and the deadline in a [header](crate::deadline) of the request.
///
/// # One route with its own limit
///
/// Clones of a layer share their [`stats`](ContextLayer::stats). For a route with its own limit, use `layer.clone().timeout(..)`.
/// The clone may be the only layer of the route, or an inner layer inside a layer for all routes.
///
/// An inner layer derives its context from the context of the outer layer, so the earlier deadline applies. An
/// [idle timeout](ContextLayer::idle_timeout) of an inner layer applies too. The other settings of an inner layer have no effect:
/// the outermost layer decides the ID, the name, the trust policy and the statuses, calls [`on_end`](ContextLayer::on_end) and
/// counts the request.
///
/// For a route with a longer limit than the others, give the outer layer the longest limit, and each other route an inner layer.
///
/// # Upgrades
///
/// For a WebSocket or a CONNECT request, the deadline and the [idle timeout](ContextLayer::idle_timeout) only limit the time until
/// the response. After the response, only the deadline of the server's context applies.
///
/// With `ripcord_http::serve`, and on connections wrapped with `server::connection::watch` (feature `connection`), the context ends
/// on one of these events: the upgraded connection or HTTP/2 stream is closed, the client disconnects, or the server's context
/// ends. If the context ends because the connection was closed, the cause does not tell which side closed it. On other connections,
/// the context ends only when the server's context ends.
#[derive(Clone, Debug)]
pub struct ContextLayer {
    settings: Arc<Settings>,
    /// The requests that clients can cancel, if the layer accepts such cancels.
    cancelable: Option<Arc<Cancelable>>,
}

impl ContextLayer {
    /// Creates a layer that derives the context of each request from `server`.
    ///
    /// The context of each request ends when `server` ends. It inherits the values and the clock of `server`. The layer sets no
    /// time limit until you call [`timeout`](ContextLayer::timeout).
    ///
    /// If the client disconnects, or if a deadline from a header passes, the error of the request's context reports the source line
    /// that called `new`, because no line of the program has canceled the request.
    #[track_caller]
    pub fn new(server: &Context) -> Self {
        let location = Location::caller();
        let settings = Settings::new(server, location);
        ContextLayer { settings: Arc::new(settings), cancelable: None }
    }

    /// Sets the maximum duration of a request, from its arrival to the end of the response. Default: no limit.
    ///
    /// When the time is over, the request's context ends. The handler is polled once more: a response that it returns in this
    /// poll is sent. Otherwise, the handler is dropped, and the response has
    /// [status 504](ContextLayer::deadline_status) and the body `Request timed out`. To send another text, replace the body in a
    /// layer around this one. If the head of the response has already been sent, the body is cut short.
    ///
    /// If the server's context or a header of the request sets an earlier deadline, the earlier deadline applies. With a timeout of
    /// zero, every request has already ended when it arrives.
    ///
    /// When the timeout ends the context, the error of the context reports the source line that called `timeout`. Its cause is
    /// [`DeadlineSource::Local`](super::DeadlineSource::Local), or [`DeadlineSource::Clamped`](super::DeadlineSource::Clamped) if
    /// the client asked for more time in a header. In an [inner layer](ContextLayer#one-route-with-its-own-limit), the cause is
    /// always `Local`.
    #[must_use]
    #[track_caller]
    pub fn timeout(self, timeout: Duration) -> Self {
        let limit = Limit { timeout, location: Location::caller(), cause: self.settings.local.clone() };
        self.set(|settings| settings.timeout = Some(limit))
    }

    /// Sets the maximum duration of a request, like [`timeout`](ContextLayer::timeout), and the cause of the context's error when
    /// the time is over.
    ///
    /// Use this method if the timeout is a setting of your program. The cause can name the setting. If the client asked for more
    /// time in a header, the cause is [`DeadlineSource::Clamped`](super::DeadlineSource::Clamped) instead of `cause`, except in an
    /// [inner layer](ContextLayer#one-route-with-its-own-limit).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord_http::server::ContextLayer;
    ///
    /// let seconds = 5; // from the command line
    /// let layer = ContextLayer::new(&Context::background()).timeout_cause(Duration::from_secs(seconds), "the flag --timeout");
    /// // The log of a slow request: context deadline exceeded: the flag --timeout (timeout of 5s set at ...)
    /// ```
    #[must_use]
    #[track_caller]
    pub fn timeout_cause(self, timeout: Duration, cause: impl Into<Cause>) -> Self {
        let limit = Limit { timeout, location: Location::caller(), cause: cause.into() };
        self.set(|settings| settings.timeout = Some(limit))
    }

    /// Sets the time after which a request without progress ends. Default: no limit.
    ///
    /// The timer starts when the request arrives. These events count as progress and restart the timer:
    ///
    /// - A chunk of the response's body is sent.
    /// - The handler reads a chunk of the request's body. This is detected only with `ripcord_http::serve`, and on connections
    ///   wrapped with `server::connection::watch` (feature `connection`).
    /// - The handler calls [`Context::progress`](ripcord::Context::progress). Call it in a handler that works for longer than
    ///   the idle timeout before it sends the first chunk, or that reads an upload on a connection that is not watched.
    ///
    /// A request that exceeds the idle timeout ends like a request that exceeds its [`timeout`](ContextLayer::timeout). The error
    /// of the context contains the idle timeout and the source line that called `idle_timeout`.
    ///
    /// The deadline of the request still applies. The idle timeout is not a deadline: [`Context::deadline`] does not return it, and
    /// outgoing calls do not send it. If an inner layer sets an idle timeout too, the shorter idle timeout applies.
    /// Chunks restart both timers, but `Context::progress` restarts only the timer of the inner layer.
    ///
    /// Set a [`timeout`](ContextLayer::timeout) too. If the client stops reading a large response, the idle timeout ends the
    /// context, but the connection stays open. Only the deadline, a disconnect or the end of the server's context closes it.
    ///
    /// With a timeout of zero, every request has already ended when it arrives. [`Duration::MAX`] sets no limit.
    #[must_use]
    #[track_caller]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        let location = Location::caller();
        self.set(|settings| settings.idle = Some((timeout, location)))
    }

    /// Sets the function that chooses the name of a request's context. The argument of the function is the head of the request.
    /// Default: the name is the method, such as `GET`, or `OTHER` for a method that is not standard.
    ///
    /// Names appear in logs and metrics. Use a small set of names that clients cannot choose.
    ///
    /// With axum, pass `server::matched_path` to use the route as the name, or `server::method_and_path` to use the method and the
    /// route. With the default name, [`Finished::route`] returns `unmatched` for all requests. Add the layer with
    /// [`Router::layer`](https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer), because such layers run after routing.
    #[must_use]
    pub fn name(self, name: impl Fn(&Parts) -> Cow<'static, str> + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.name = Arc::new(name))
    }

    /// Sets a function that is called once for each request, when the request is over: the response has been sent completely, was
    /// cut short, or can no longer be sent. Use it for logs and metrics. Default: none. A second call of `on_end` replaces the
    /// function.
    ///
    /// An upgraded request is over when its connection or HTTP/2 stream is closed. If the connection is not
    /// [watched](ContextLayer#upgrades), the request is over when the response has been sent.
    ///
    /// When the function is called, the request's context has ended, unless it is [detached](super::detach). The function runs in
    /// the task that serves the connection, so it must not block. A panic of the function is caught and ignored.
    #[must_use]
    pub fn on_end(self, hook: impl Fn(&Finished<'_>) + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.on_end = Some(Arc::new(hook)))
    }

    /// Sets the policy that decides which of a client's headers are used. [`TrustPolicy`] lists the headers. The policy applies to
    /// all clients. Default: [`TrustPolicy::untrusted`].
    ///
    /// If the policy has a [maximum timeout](TrustPolicy::with_max_timeout) and [`timeout`](ContextLayer::timeout) is also set, the
    /// shorter time applies. If the maximum timeout ends a request, the error of the context reports the source line that called
    /// `trust`.
    #[must_use]
    #[track_caller]
    pub fn trust(self, trust: TrustPolicy) -> Self {
        let location = Location::caller();
        self.set(|settings| settings.trust = (trust, location))
    }

    /// Sets whether the layer refuses requests with a malformed header. Default: `false`, malformed headers are ignored.
    ///
    /// The response to a refused request has status 400 and a description of the error. The response to a gRPC request has the code
    /// `INVALID_ARGUMENT`. The layer checks only the headers that it reads. It does not read headers that the
    /// [trust policy](ContextLayer::trust) ignores. The [`stats`](ContextLayer::stats) count malformed headers with either setting.
    ///
    /// [Baggage](crate::trace_context::Baggage) with more than 64 members or 8192 bytes counts as malformed, even if each member is
    /// well-formed. If `strict` is `false`, the members within these limits are kept.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        self.set(|settings| settings.strict = strict)
    }

    /// Sets whether the layer reads deadlines that are points in time on the client's clock. Default: `false`.
    ///
    /// The headers of [`finagle`](crate::deadline::finagle) and [`aws`](crate::deadline::aws) contain such deadlines. If the clocks
    /// of the client and the server differ, the deadline is wrong by the difference. Like every deadline in a header, such a
    /// deadline can only shorten the time that the server allows.
    #[must_use]
    pub fn absolute_deadlines(self, absolute_deadlines: bool) -> Self {
        self.set(|settings| settings.absolute_deadlines = absolute_deadlines)
    }

    /// Sets whether a [trusted](ContextLayer::trust) client can send the cause with which it cancels a request. Default: `false`.
    /// With `false`, the server only sees that the client has disconnected.
    ///
    /// A client with a [`CauseLayer`](crate::client::CauseLayer) sends the cause in a separate `OPTIONS` request. If the client is
    /// trusted, this layer responds to the `OPTIONS` request itself. The request then does not reach a handler or
    /// [`on_end`](ContextLayer::on_end), and is not counted.
    ///
    /// The context of the canceled request ends with the cause [`ClientCanceled`](super::ClientCanceled), which contains the
    /// client's cause. If the handler calls other services through a `CauseLayer`, these services receive the cause too.
    #[must_use]
    pub fn remote_cancel(self, remote_cancel: bool) -> Self {
        ContextLayer { cancelable: remote_cancel.then(Arc::default), ..self }
    }

    /// Sets the effect of a half-close, where a client closes only its sending half of the connection. Default:
    /// [`HalfClose::Cancel`].
    ///
    /// A half-close is detected only with `ripcord_http::serve`, and on connections wrapped with `server::connection::watch`
    /// (feature `connection`).
    #[must_use]
    pub fn half_close(self, half_close: HalfClose) -> Self {
        self.set(|settings| settings.half_close = half_close)
    }

    /// Sets the function that creates the ID of a request. Default: [`RequestId::generate`].
    ///
    /// The function is called for each request, except for a request with a well-formed ID from a [trusted](ContextLayer::trust)
    /// client.
    #[must_use]
    pub fn make_id(self, make_id: impl Fn() -> RequestId + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.make_id = Arc::new(make_id))
    }

    /// Adds a function that adds values to a request's context, for example from headers.
    ///
    /// The arguments of the function are a context and the head of the request. The context already has the request's name, ID,
    /// trace and baggage, but not yet its deadline. The function must return this context or a context derived from it. If you add
    /// several functions, they are called in the order in which you added them, and each gets the context that the previous
    /// function returned.
    ///
    /// The function sees all headers of the request: the policy set with [`trust`](ContextLayer::trust) does not remove any. If the
    /// server has untrusted clients, do not rely on a header that any client can send, such as the name of the user.
    ///
    /// ```
    /// use ripcord::{Context, Value};
    /// use ripcord_http::server::ContextLayer;
    ///
    /// struct Language(String);
    /// impl Value for Language {}
    ///
    /// let layer = ContextLayer::new(&Context::background()).values(|ctx, request| {
    ///     let header = request.headers.get("accept-language").and_then(|value| value.to_str().ok());
    ///     ctx.with_value(Language(header.unwrap_or("en").to_owned()))
    /// });
    /// ```
    #[must_use]
    pub fn values(self, values: impl Fn(Context, &Parts) -> Context + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.values.push(Arc::new(values)))
    }

    /// Returns the policy set with [`trust`](ContextLayer::trust).
    pub fn trust_policy(&self) -> TrustPolicy {
        self.settings.trust.0
    }

    /// Sets the status of the response to a request whose deadline or idle timeout has passed. Default: 504. The response to a gRPC
    /// request has a gRPC status instead.
    #[must_use]
    pub fn deadline_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.deadline_exceeded = status)
    }

    /// Sets the status of the response to a request whose context the server has canceled, for example at a shutdown. Default: 503.
    /// The response to a gRPC request has a gRPC status instead.
    #[must_use]
    pub fn canceled_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.canceled = status)
    }

    /// Sets the status that logs and metrics show for a request whose client has disconnected. Default: 499, as in nginx. This
    /// status is never sent.
    #[must_use]
    pub fn disconnected_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.client_disconnected = status)
    }

    /// Records a span of kind SERVER for each request, which `tracing-opentelemetry` exports. Default: off.
    ///
    /// The span is a child of a trusted client's span. For an untrusted client, the span starts a new trace and links to the
    /// client's span. Each HTTP call that the handler makes has its own span of kind CLIENT: see
    /// [`with_tracing`](crate::trace_context::with_tracing).
    ///
    /// The span has the OpenTelemetry attributes of HTTP servers: `http.request.method`, `http.route`, `url.path`, `url.scheme`,
    /// `server.address`, `server.port`, `http.response.status_code`, `network.protocol.version` and `error.type`. Its `code.*`
    /// attributes contain the source line that created the layer. A cancel or a disconnect does not mark the span as failed.
    /// [`tracing_span`](Context::tracing_span) lists the other attributes.
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn tracing(self) -> Self {
        self.set(|settings| settings.tracing = true)
    }

    /// Returns the counts of the requests of this layer and its clones, since the layer was created.
    pub fn stats(&self) -> ServerStats {
        self.settings.counters.snapshot()
    }

    /// Reports the requests of this layer to `observer`.
    #[cfg(feature = "inspector")]
    pub(crate) fn observer(self, observer: Arc<dyn Observer>, location: &'static Location<'static>) -> Self {
        observer.count(&self.settings.counters);
        self.set(|settings| {
            settings.server = observer.server(&settings.server, location);
            #[cfg(feature = "tracing")]
            {
                settings.max_calls = observer.max_calls();
            }
            settings.observer = Some(observer);
        })
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContextService { inner, settings: Arc::clone(&self.settings), cancelable: self.cancelable.clone() }
    }
}
