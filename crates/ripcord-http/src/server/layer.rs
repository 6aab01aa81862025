//! The layer.

use std::{borrow::Cow, panic::Location, sync::Arc, time::Duration};

use http::{StatusCode, request::Parts};
use ripcord::{Cause, Context};
use tower_layer::Layer;

#[cfg(feature = "inspector")]
use super::observer::Observer;
use super::{
    ContextService, Finished, HalfClose, ServerStats,
    settings::{Limit, Settings},
};
use crate::{RequestId, TrustPolicy};

/// Gives every request a [`Context`] and ends it when the request ends.
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
/// The layer works with every server of `tower` services: axum, hyper, tonic. The context is in the request's extensions. In axum
/// handlers, use the extractor `Ctx`. Pass the context to everything that waits. The [module](super) lists the events that end
/// it.
///
/// The context has the server's values and these: a [`RequestId`](crate::RequestId), a
/// [`Traceparent`](crate::trace_context::Traceparent), and the client's [`Baggage`](crate::trace_context::Baggage) if the client
/// is [trusted](ContextLayer::trust). Its deadline is the earliest of three: the server's deadline, the
/// [`timeout`](ContextLayer::timeout), and the deadline in a [header](crate::deadline) from the client.
///
/// # One route with its own limit
///
/// Clones of a layer share their [`stats`](ContextLayer::stats). For a route with its own limit, use `layer.clone().timeout(..)`,
/// alone or below a layer for all routes. An inner layer derives its context from the context of the outer layer. The earlier
/// deadline counts. The outermost layer decides everything else (id, trust, statuses, hooks, counts).
/// # Upgrades
///
/// For a WebSocket or a CONNECT, the [`timeout`](ContextLayer::timeout) limits the time until the response. After that, the layer
/// sets no deadline, and the context lives until the upgraded connection or HTTP/2 stream is closed. The cause of its end says
/// whether the client disconnected or the server ended. For a closed stream, the cause does not say which side closed it. This
/// needs a watched connection (feature `connection`). Without a watched connection, the context lives as long as the server's
/// context.
#[derive(Clone, Debug)]
pub struct ContextLayer {
    pub(super) settings: Arc<Settings>,
}

impl ContextLayer {
    /// Creates a layer whose requests get children of `server`. They end with `server`, have its values and use its clock. They
    /// have no other deadline until [`timeout`](ContextLayer::timeout) sets one.
    ///
    /// The error of a disconnect, or of a deadline from a header, reports the line of this call.
    #[track_caller]
    pub fn new(server: &Context) -> Self {
        let location = Location::caller();
        let settings = Settings::new(server, location);
        ContextLayer { settings: Arc::new(settings) }
    }

    /// Sets the maximum duration of a request from its arrival. The deadline of the server's context may be earlier. Default: no
    /// limit.
    ///
    /// The error of a request that exceeds the timeout reports the line of this call. Its cause is
    /// [`DeadlineSource::Local`](super::DeadlineSource::Local).
    #[must_use]
    #[track_caller]
    pub fn timeout(self, timeout: Duration) -> Self {
        let limit = Limit { timeout, location: Location::caller(), cause: self.settings.local.clone() };
        self.set(|settings| settings.timeout = Some(limit))
    }

    /// Sets the maximum duration of a request, like [`timeout`](ContextLayer::timeout), and the cause of the end of a request
    /// that exceeds it. Use this if the timeout is a setting of your program: the cause can name the setting.
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

    /// Sets the maximum time of a request without progress. Default: no limit.
    ///
    /// The time starts with the request. Each chunk of the response's body restarts the time. On a [watched
    /// connection](super::connection), each chunk of the request's body that the handler reads restarts it too. A handler that
    /// works for long before the first chunk, or reads an upload on another server, should call
    /// [`Context::progress`](ripcord::Context::progress). The deadline of the request stays the hard limit. An idle timeout is
    /// not a budget: it is not sent with calls, and no call is refused because of it.
    ///
    /// A request that exceeds the idle timeout ends as at its deadline. The error says how long the request was idle, and reports
    /// the line of this call. If a layer on a route is inside another layer, the shorter idle timeout counts.
    #[must_use]
    #[track_caller]
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        let location = Location::caller();
        self.set(|settings| settings.idle = Some((timeout, location)))
    }

    /// Sets the function that names a request's context. Default: the method. With axum, `name(server::matched_path)` uses the
    /// route, if the layer was added with [`Router::layer`](https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer), which
    /// runs after routing.
    ///
    /// Names appear in logs and metrics. Use a small set of names that clients cannot choose.
    #[must_use]
    pub fn name(self, name: fn(&Parts) -> Cow<'static, str>) -> Self {
        self.set(|settings| settings.name = name)
    }

    /// Sets a hook that is called once for each request, when it is over. Use it for logs and metrics.
    ///
    /// The hook runs in the task of the connection, after the request's context has ended, and it delays that task. A panic of
    /// the hook is caught and dropped.
    #[must_use]
    pub fn on_end(self, hook: impl Fn(&Finished<'_>) + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.on_end = Some(Arc::new(hook)))
    }

    /// Sets which client headers to trust. Default: [`TrustPolicy::untrusted`]. The maximum of the policy and the
    /// [`timeout`](ContextLayer::timeout) both limit a client's deadline.
    #[must_use]
    #[track_caller]
    pub fn trust(self, trust: TrustPolicy) -> Self {
        let location = Location::caller();
        self.set(|settings| settings.trust = (trust, location))
    }

    /// Sets whether a request with a malformed header is answered with 400 and a description. Only headers that this layer reads
    /// count. Default: `false`, the header is ignored.
    ///
    /// The [`stats`](ContextLayer::stats) count malformed headers in both cases. Well-formed baggage above the size limit also
    /// counts as malformed: a strict layer refuses the request, and any other layer cuts the baggage. A header that the trust
    /// policy ignores is not read, so it never counts as malformed.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        self.set(|settings| settings.strict = strict)
    }

    /// Sets whether to read deadlines that are instants on the client's clock: [`finagle`](crate::deadline::finagle) and
    /// [`aws`](crate::deadline::aws). Default: `false`.
    ///
    /// Such a deadline is wrong by the difference between the two clocks. Like any other deadline, it can only shorten the
    /// server's limit.
    #[must_use]
    pub fn absolute_deadlines(self, absolute_deadlines: bool) -> Self {
        self.set(|settings| settings.absolute_deadlines = absolute_deadlines)
    }

    /// Sets whether a [trusted](ContextLayer::trust) client can cancel its requests with a cause. Default: `false`.
    ///
    /// A client with a [`CauseLayer`](crate::client::CauseLayer) sends the cause in a separate request. This layer answers it: no
    /// handler, hook or count sees this request. The context of the named request ends with
    /// [`ClientCanceled`](super::ClientCanceled). The logs of this service then show the client's cause. So do the logs of
    /// services that this service calls in the same way.
    #[must_use]
    pub fn remote_cancel(self, remote_cancel: bool) -> Self {
        self.set(|settings| settings.cancelable = remote_cancel.then(Arc::default))
    }

    /// Sets the meaning of a client's half-close. Default: [`HalfClose::Cancel`].
    #[must_use]
    pub fn half_close(self, half_close: HalfClose) -> Self {
        self.set(|settings| settings.half_close = half_close)
    }

    /// Sets the function that creates the id of a request without a trusted id. Default: [`RequestId::generate`].
    #[must_use]
    pub fn make_id(self, make_id: fn() -> RequestId) -> Self {
        self.set(|settings| settings.make_id = make_id)
    }

    /// Adds a function that adds values to a request's context, such as values of headers.
    ///
    /// The function gets the context with the request's name, id, trace and baggage, and returns it with more values. It is
    /// called for every client, so it must decide itself which headers to trust: see
    /// [`trust_policy`](ContextLayer::trust_policy). Several functions are called in the order in which they were added.
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

    /// Returns the trust policy.
    pub fn trust_policy(&self) -> TrustPolicy {
        self.settings.trust.0
    }

    /// Sets the status for a request whose deadline has passed. Default: 504.
    #[must_use]
    pub fn deadline_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.deadline_exceeded = status)
    }

    /// Sets the status for a request that the server has canceled. Default: 503.
    #[must_use]
    pub fn canceled_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.canceled = status)
    }

    /// Sets the status in logs and metrics for a request whose client has disconnected. Default: 499, as in nginx.
    #[must_use]
    pub fn disconnected_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.client_disconnected = status)
    }

    /// Starts a trace for each request. `tracing-opentelemetry` exports the span of the request. The span is a child of a trusted
    /// client's span, and is linked to an untrusted client's span. Calls of the request send the ids of their own spans: see
    /// [`with_tracing`](crate::trace_context::with_tracing).
    ///
    /// The span has the OpenTelemetry attributes of HTTP servers: `http.request.method`, `http.route`, `url.path`, `url.scheme`,
    /// `server.address`, `server.port`, `http.response.status_code`, `network.protocol.version` and `error.type`. Its `code.*`
    /// attributes name the line that created the layer. A cancel and a disconnect do not mark the span as failed: see
    /// [`tracing_span`](Context::tracing_span).
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn tracing(self) -> Self {
        self.set(|settings| settings.tracing = true)
    }

    /// Returns the counts of this layer and its clones.
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
        ContextService { inner, settings: Arc::clone(&self.settings) }
    }
}
