//! The settings of a layer, shared by all its requests.

use std::{borrow::Cow, fmt, panic::Location, sync::Arc, time::Duration};

use http::{StatusCode, request::Parts};
use ripcord::{Cause, Context};

use super::{DeadlineSource, Finished, RequestAnswered, RequestOutcome, observer::Observer, stats::Counters};
use crate::{RequestId, TrustPolicy};

/// The settings of a layer, shared by all its requests.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) server: Context,
    /// The line that created the layer. If the layer ends a context, the end reports this line.
    pub(super) location: &'static Location<'static>,
    pub(super) timeout: Option<Limit>,
    /// The idle timeout, and the line that set it.
    pub(super) idle: Option<(Duration, &'static Location<'static>)>,
    pub(super) trust: (TrustPolicy, &'static Location<'static>),
    pub(super) strict: bool,
    pub(super) absolute_deadlines: bool,
    pub(super) half_close: HalfClose,
    pub(super) name: Name,
    pub(super) make_id: MakeId,
    pub(super) values: Vec<Values>,
    pub(super) statuses: Statuses,
    pub(super) on_end: Option<OnEnd>,
    #[cfg(feature = "tracing")]
    pub(super) tracing: bool,
    /// Maximum number of calls recorded below the span of a request.
    #[cfg(feature = "tracing")]
    pub(super) max_calls: usize,
    pub(super) counters: Arc<Counters>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// The cause of the end of an answered request. Created once, because every request ends with it.
    pub(super) answered: Cause,
    /// The cause of the layer's own time limit. Created once, because every request has it.
    pub(super) local: Cause,
}

impl Settings {
    /// Returns the default settings of a layer. `location` is the line that creates the layer.
    pub(super) fn new(server: &Context, location: &'static Location<'static>) -> Self {
        Settings {
            server: server.clone(),
            location,
            timeout: None,
            idle: None,
            trust: (TrustPolicy::untrusted(), location),
            strict: false,
            absolute_deadlines: false,
            half_close: HalfClose::Cancel,
            name: Arc::new(|parts| Cow::Borrowed(method(parts))),
            make_id: Arc::new(RequestId::generate),
            values: Vec::new(),
            statuses: Statuses::default(),
            on_end: None,
            #[cfg(feature = "tracing")]
            tracing: false,
            #[cfg(feature = "tracing")]
            max_calls: ripcord::SpanBuilder::DEFAULT_LIMIT,
            counters: Arc::default(),
            observer: None,
            answered: RequestAnswered.into(),
            local: DeadlineSource::Local.into(),
        }
    }
}

/// A time limit for requests.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    pub(super) timeout: Duration,
    /// The line that set the limit.
    pub(super) location: &'static Location<'static>,
    pub(super) cause: Cause,
}

impl Limit {
    /// Derives a context that ends after the timeout.
    pub(super) fn derive(self, ctx: &Context) -> Context {
        ctx.with_timeout_cause_at(self.timeout, self.cause, self.location)
    }
}

type Name = Arc<dyn Fn(&Parts) -> Cow<'static, str> + Send + Sync>;
type MakeId = Arc<dyn Fn() -> RequestId + Send + Sync>;
type Values = Arc<dyn Fn(Context, &Parts) -> Context + Send + Sync>;
type OnEnd = Arc<dyn Fn(&Finished<'_>) + Send + Sync>;

/// The effect of a half-close: a client closes its sending half of the connection while its request is in flight.
///
/// TCP sends a FIN when a client closes the whole connection. It sends the same FIN when a client closes only its sending half and
/// still waits for the response. So the server cannot tell these cases apart. The FIN is detected only with `ripcord_http::serve`,
/// and on connections wrapped with `server::connection::watch` (feature `connection`).
///
/// Set it with [`ContextLayer::half_close`](super::ContextLayer::half_close).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HalfClose {
    /// Treats the FIN as a disconnect, as Go's `net/http` does: cancels the request's context with the cause
    /// [`ClientDisconnected`](super::ClientDisconnected). The handler is not dropped. If it returns a response before the deadline,
    /// the response is sent.
    #[default]
    Cancel,
    /// Ignores the FIN. A reset of the connection or a failed write still counts as a disconnect.
    Allow,
}

#[derive(Clone, Copy)]
pub(super) struct Statuses {
    pub(super) deadline_exceeded: StatusCode,
    pub(super) canceled: StatusCode,
    pub(super) client_disconnected: StatusCode,
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
    /// Returns the status with which a request of this outcome would have been answered.
    pub(super) fn unanswered(&self, outcome: &RequestOutcome) -> StatusCode {
        match outcome {
            RequestOutcome::Answered => StatusCode::OK,
            RequestOutcome::DeadlineExceeded => self.deadline_exceeded,
            RequestOutcome::Canceled => self.canceled,
            RequestOutcome::ClientDisconnected => self.client_disconnected,
            RequestOutcome::Panicked(_) | RequestOutcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            RequestOutcome::Refused(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Returns the method, for use in a name.
pub(super) fn method(parts: &Parts) -> &'static str {
    // A client can invent other methods, so a name does not contain them.
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    known.into_iter().find(|name| *name == parts.method.as_str()).unwrap_or("OTHER")
}
