//! The settings, and the layer that has them.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::{StatusCode, request::Parts};
use ripcord::Context;
use tower_layer::Layer;

use super::{ContextService, Ending, Outcome, ServerStats, stats::Counters};
use crate::{RequestId, TrustPolicy};

/// Gives every request a [`Context`], in the request's extensions, and ends it when the request ends.
///
/// Works for whatever serves a `tower` service: axum, hyper, tonic. Clones share their [`stats`](ContextLayer::stats), so a
/// route with a limit of its own gets `layer.clone().timeout(..)`. One layer to a request: a second one would begin anew.
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
///     let ctx = request.extensions().get::<Context>().expect("the layer gave one");
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
#[derive(Clone, Debug)]
pub struct ContextLayer {
    pub(super) settings: Arc<Settings>,
}

/// What a layer was told. One for all its requests.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) server: Context,
    pub(super) timeout: Option<Duration>,
    pub(super) trust: TrustPolicy,
    pub(super) strict: bool,
    pub(super) absolute_deadlines: bool,
    pub(super) half_close: HalfClose,
    pub(super) name: Name,
    pub(super) make_id: fn() -> RequestId,
    pub(super) statuses: Statuses,
    pub(super) on_end: Option<OnEnd>,
    #[cfg(feature = "tracing")]
    pub(super) tracing: bool,
    /// How many calls of a request's own trace are recorded.
    #[cfg(feature = "tracing")]
    pub(super) most_calls: usize,
    pub(super) counters: Arc<Counters>,
    #[cfg(feature = "inspector")]
    pub(super) inspector: Option<crate::inspector::Inspector>,
}

type Name = fn(&Parts) -> Cow<'static, str>;
type OnEnd = Arc<dyn Fn(&Ending<'_>) + Send + Sync>;

/// What it means that a client stops sending while its request is on its way. TCP tells it by a FIN, whether the client has
/// closed the connection or only its own half and still waits for the answer.
///
/// Seen only on a connection that is watched, with the feature `connection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfClose {
    /// The client has gone, as in Go: the request's Context is canceled. A handler that answers all the same has its answer
    /// sent, until its deadline.
    #[default]
    Cancel,
    /// Nothing: only a reset, a failed write and the deadline end the request.
    Allow,
}

#[derive(Clone, Copy)]
pub(super) struct Statuses {
    pub(super) deadline_exceeded: StatusCode,
    pub(super) canceled: StatusCode,
    pub(super) client_disconnected: StatusCode,
}

impl ContextLayer {
    /// Requests end when `server` does, see its values, go by its clock, and have no deadline but its own until
    /// [`timeout`](ContextLayer::timeout) sets one.
    pub fn new(server: &Context) -> Self {
        let settings = Settings {
            server: server.clone(),
            timeout: None,
            trust: TrustPolicy::untrusted(),
            strict: false,
            absolute_deadlines: false,
            half_close: HalfClose::Cancel,
            name: |parts| Cow::Borrowed(method(parts)),
            make_id: RequestId::generate,
            statuses: Statuses::default(),
            on_end: None,
            #[cfg(feature = "tracing")]
            tracing: false,
            #[cfg(feature = "tracing")]
            most_calls: ripcord::Trace::LIMIT,
            counters: Arc::default(),
            #[cfg(feature = "inspector")]
            inspector: None,
        };
        ContextLayer { settings: Arc::new(settings) }
    }

    /// Requests get this long from their arrival, or less: what the server's Context has left. None by default.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|settings| settings.timeout = Some(timeout))
    }

    /// How much of what clients say is believed: as of strangers by default. Its maximum and
    /// [`timeout`](ContextLayer::timeout) both bound what a client asks for.
    #[must_use]
    pub fn trust(self, trust: TrustPolicy) -> Self {
        self.set(|settings| settings.trust = trust)
    }

    /// Whether a malformed header is answered with 400 and what is wrong with it. By default, and in either case for the
    /// [`stats`](ContextLayer::stats), it is counted and otherwise as if it were not there; baggage that is well-formed but larger
    /// than is carried is counted and cut.
    ///
    /// Only what the trust policy wants read can be malformed.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        self.set(|settings| settings.strict = strict)
    }

    /// Whether deadlines are read too that are moments by the client's clock: [`finagle`](crate::deadline::finagle)'s and
    /// [`aws`](crate::deadline::aws)'s. By default they are not: as far as the two clocks differ, the request has less time than its
    /// client meant, or more. As any other, such a deadline can only shorten what the server allows.
    #[must_use]
    pub fn absolute_deadlines(self, absolute_deadlines: bool) -> Self {
        self.set(|settings| settings.absolute_deadlines = absolute_deadlines)
    }

    /// What it means that a client stops sending while its request is on its way: that it has gone, by default.
    #[must_use]
    pub fn half_close(self, half_close: HalfClose) -> Self {
        self.set(|settings| settings.half_close = half_close)
    }

    /// How a request's Context is named: after its method by default. With axum, `name(server::matched_path)` names it after
    /// the route, if the layer is one of [`Router::layer`](https://docs.rs/axum/0.8/axum/struct.Router.html#method.layer),
    /// which runs after the routing.
    ///
    /// Names go to logs and metrics, so let them be few, and nothing that a client can make up.
    #[must_use]
    pub fn name(self, name: fn(&Parts) -> Cow<'static, str>) -> Self {
        self.set(|settings| settings.name = name)
    }

    /// How an id is made for a request that brings none: [`RequestId::generate`] by default.
    #[must_use]
    pub fn make_id(self, make_id: fn() -> RequestId) -> Self {
        self.set(|settings| settings.make_id = make_id)
    }

    /// What is answered when the deadline has passed: 504 by default.
    #[must_use]
    pub fn deadline_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.deadline_exceeded = status)
    }

    /// What is answered when the server has canceled the request: 503 by default.
    #[must_use]
    pub fn canceled_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.canceled = status)
    }

    /// What goes to logs and metrics when the client has gone: nginx's 499 by default.
    #[must_use]
    pub fn disconnected_status(self, status: StatusCode) -> Self {
        self.set(|settings| settings.statuses.client_disconnected = status)
    }

    /// Calls `hook` once for each request, when it is over: for logs and metrics.
    ///
    /// It runs in the task of the connection, after the request's Context has ended, and holds up what else that does. A
    /// panic in it is caught and dropped.
    #[must_use]
    pub fn on_end(self, hook: impl Fn(&Ending<'_>) + Send + Sync + 'static) -> Self {
        self.set(|settings| settings.on_end = Some(Arc::new(hook)))
    }

    /// Shows the requests of this layer on the inspector's page, and what they have come to.
    #[cfg(feature = "inspector")]
    #[must_use]
    pub fn inspector(self, inspector: &crate::inspector::Inspector) -> Self {
        inspector.count(&self.settings.counters);
        self.set(|settings| {
            settings.inspector = Some(inspector.clone());
            settings.server = inspector.with_root_traces(&settings.server);
            #[cfg(feature = "tracing")]
            {
                settings.most_calls = inspector.max_calls();
            }
        })
    }

    /// Makes each request a trace, and its span of the crate `tracing` a part of the trace that a trusted client names, in
    /// what `tracing-opentelemetry` exports; a stranger's is linked to. Requests then say the ids of those spans to others: see
    /// [`with_tracing`](crate::trace_context::with_tracing).
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn tracing(self) -> Self {
        self.set(|settings| settings.tracing = true)
    }

    /// What the requests of this layer and its clones have come to so far.
    pub fn stats(&self) -> ServerStats {
        self.settings.counters.snapshot()
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

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("server", &self.server).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Statuses {
            deadline_exceeded: StatusCode::GATEWAY_TIMEOUT,
            canceled: StatusCode::SERVICE_UNAVAILABLE,
            client_disconnected: StatusCode::from_u16(499).expect("within 100 to 999"),
        }
    }
}

impl Statuses {
    /// What would have been answered.
    pub(super) fn unanswered(&self, outcome: &Outcome) -> StatusCode {
        match outcome {
            Outcome::Answered => StatusCode::OK,
            Outcome::DeadlineExceeded => self.deadline_exceeded,
            Outcome::Canceled => self.canceled,
            Outcome::ClientDisconnected => self.client_disconnected,
            Outcome::Panicked(_) | Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Outcome::Refused(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The method, for a name.
pub(super) fn method(parts: &Parts) -> &'static str {
    // Any other method is made up as easily as a path.
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.into_iter().find(|name| *name == parts.method.as_str()).unwrap_or("OTHER")
}
