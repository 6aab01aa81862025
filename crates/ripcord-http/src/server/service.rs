//! The service that the layer creates.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, header::UPGRADE, request::Parts};
use http_body::Body;
use ripcord::Context;
use tower_service::Service;

use super::{
    BoxError, ContextBody, DeadlineSource, RequestOutcome, ResponseFuture,
    future::{Bodyless, Refusal},
    grpc,
    handle::{Handle, with_inner_source},
    headers,
    lifetime::Lifetime,
    observer::StartedRequest,
    own_span::OwnSpan,
    panic_message,
    remote_cancel::Cancelable,
    request::{InFlight, Record},
    settings::{Limit, Settings, method},
};
use crate::{Malformed, trace_context::Link};

/// A tower service that gives every request a [`Context`]. Created by [`ContextLayer`](super::ContextLayer).
///
/// The response has the body type [`ContextBody`]. An error of the inner service is returned unchanged.
#[derive(Clone, Debug)]
pub struct ContextService<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
    pub(super) cancelable: Option<Arc<Cancelable>>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ContextService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Response = Response<ContextBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let bodyless = Bodyless::from_method(&parts.method);
        let cancelable = self.cancelable.as_ref().filter(|_| self.settings.trust.0.is_trusted());
        if let Some(is_found) = cancelable.and_then(|requests| requests.cancel_named_by(&parts)) {
            return ResponseFuture::cancel(is_found);
        }
        let outer = parts.extensions.get::<Context>().and_then(|ctx| Some((ctx.clone(), Handle::in_flight(ctx)?)));
        let (mut request, malformed) = match outer {
            Some((ctx, lifetime)) => (self.settings.join(ctx, lifetime, &mut parts), None),
            None => self.settings.begin(&mut parts, cancelable),
        };
        if let Some(malformed) = malformed.filter(|_| self.settings.strict) {
            request.settle(RequestOutcome::Refused(malformed));
            return ResponseFuture::not_called(request, Refusal::Malformed(malformed), bodyless);
        }
        if let Some(error) = request.err() {
            // The inner service is not called if the context has ended.
            if error.is_deadline_exceeded() && request.is_outermost() {
                self.settings.counters.expired.up();
            }
            return ResponseFuture::not_called(request, Refusal::Ended(error), bodyless);
        }
        request.join_connection(&parts.extensions);
        // Unwind safe: state that a panic in `call` leaves broken belongs to the service.
        let call = || self.inner.call(Request::from_parts(parts, body));
        match panic::catch_unwind(AssertUnwindSafe(call)) {
            Ok(handler) => ResponseFuture::new(request, handler, bodyless),
            Err(panic) => {
                request.panicked(panic_message(&*panic));
                ResponseFuture::not_called(request, Refusal::Panicked, bodyless)
            }
        }
    }
}

impl Settings {
    /// Derives the context of a request that has arrived, and inserts it into the extensions. Returns the request in flight and
    /// the first malformed header.
    fn begin(
        self: &Arc<Self>,
        parts: &mut Parts,
        cancelable: Option<&Arc<Cancelable>>,
    ) -> (InFlight, Option<Malformed>) {
        let received = headers::read(&parts.headers, self);
        let deadline = self.deadline(received.deadline);

        // The name is set before the deadline, because an error is reported under the nearest name at or above the context that
        // ended.
        let mut ctx = self.server.with_name((self.name)(parts)).with_value(received.id.clone());
        ctx = ctx.with_value(received.lineage.current());
        if let Some(theirs) = received.lineage.link() {
            ctx = ctx.with_value(Link(theirs));
        }
        if let Some(tracestate) = received.tracestate {
            ctx = ctx.with_value(tracestate);
        }
        if let Some(baggage) = received.baggage {
            ctx = ctx.with_value(baggage);
        }
        for values in &self.values {
            ctx = values(ctx, parts);
        }
        let (ctx, canceler) = ctx.with_cancel();
        let cancel = canceler.handle();
        // The lifetime cancels the context and sets the cause, so the canceler must not.
        canceler.detach();

        let timed = deadline.limit.map_or_else(|| ctx.clone(), |limit| limit.derive(&ctx));
        let timed = self.with_idle_timeout(timed);
        let end = timed.deadline();
        let lifetime = Lifetime::new(cancel, self, end, grpc::is_grpc(&parts.headers));
        let (ctx, limit) = if asks_for_upgrade(parts) { (ctx, Some(timed)) } else { (timed, None) };
        // The observer is added after the span, so that it shows the request with the IDs that are exported. The handle is added
        // last, so that all shown values are above it.
        let (ctx, span) = OwnSpan::begin(self, ctx, parts, received.lineage.parent());
        let is_timed = self.on_end.is_some() || self.observer.is_some();
        let started = is_timed.then(|| ctx.clock().now());
        let place = self.observer.as_ref().zip(started).map(|(observer, at)| {
            let cancel = lifetime.cancel_handle();
            observer.begin(StartedRequest { ctx: &ctx, cancel, at, deadline: deadline.source, span: span.span() })
        });
        let ctx = ctx.with_value(Handle::new(&lifetime, deadline.source, self, place));
        parts.extensions.insert(ctx.clone());
        let id = received.id.to_header();
        let listed = cancelable.zip(received.lineage.parent());
        let _listed = listed.map(|(requests, traceparent)| requests.list(traceparent, &lifetime));
        let method = method(parts);
        let record = Record { id, method, started, span, place, _listed, answered: None, logged: None, failure: None };
        (InFlight::begin(Arc::clone(self), ctx, limit, lifetime, Some(record)), received.malformed)
    }

    /// Derives the context of a request that an outer layer has started. This layer can only shorten the request's deadline.
    fn join(self: &Arc<Self>, ctx: Context, lifetime: Arc<Lifetime>, parts: &mut Parts) -> InFlight {
        let limit = self.limit().filter(|limit| ctx.remaining().is_none_or(|left| limit.timeout < left));
        let Some(limit) = limit else {
            if self.idle.is_none() || asks_for_upgrade(parts) {
                return InFlight::begin(Arc::clone(self), ctx, None, lifetime, None);
            }
            let ctx = self.with_idle_timeout(ctx);
            parts.extensions.insert(ctx.clone());
            return InFlight::begin(Arc::clone(self), ctx, None, lifetime, None);
        };
        let timed = self.with_idle_timeout(limit.derive(&ctx));
        if let Some(deadline) = timed.deadline() {
            lifetime.shorten(deadline);
        }
        if asks_for_upgrade(parts) {
            return InFlight::begin(Arc::clone(self), ctx, Some(timed), lifetime, None);
        }
        let ctx = with_inner_source(&timed);
        parts.extensions.insert(ctx.clone());
        InFlight::begin(Arc::clone(self), ctx, None, lifetime, None)
    }

    /// Derives the context with the idle timeout, as a child of the context with the deadline.
    fn with_idle_timeout(&self, ctx: Context) -> Context {
        match self.idle {
            Some((timeout, location)) => ctx.with_idle_timeout_at(timeout, location).0,
            None => ctx,
        }
    }

    /// Returns the time limit of every request.
    fn limit(&self) -> Option<Limit> {
        let (policy, location) = self.trust;
        let trust = policy.timeout(None).map(|timeout| Limit { timeout, location, cause: self.local.clone() });
        let ours = self.timeout.clone();
        // If both are equal, the layer's own timeout counts.
        [ours, trust].into_iter().flatten().min_by_key(|limit| limit.timeout)
    }

    /// Returns the time limit of a request. `asked` is the time that the client asks for, and its header.
    fn deadline(&self, asked: Option<(&'static str, Duration)>) -> Deadline {
        let limit = self.limit();
        let Some((header, asked)) = asked else {
            let is_limited = limit.is_some() || self.server.deadline().is_some();
            return Deadline { limit, source: if is_limited { DeadlineSource::Local } else { DeadlineSource::None } };
        };
        self.counters.deadlines_received.up();
        let server = self.server.remaining();
        let (limit, source) = match limit {
            Some(limit) if limit.timeout < asked => (Some(limit), DeadlineSource::Clamped(header)),
            limit if server.is_some_and(|left| left < asked) => (limit, DeadlineSource::Clamped(header)),
            _ => {
                let asked = Limit { timeout: asked, location: self.location, cause: self.local.clone() };
                (Some(asked), DeadlineSource::Header(header))
            }
        };
        if let DeadlineSource::Clamped(_) = source {
            self.counters.deadlines_clamped.up();
        }
        // The client can change the header, so the header is the cause.
        let limit = limit.map(|limit| Limit { cause: source.into(), ..limit });
        Deadline { limit, source }
    }
}

/// The time limit of a request, and its source.
struct Deadline {
    limit: Option<Limit>,
    source: DeadlineSource,
}

/// Returns whether the request asks for an upgrade. Then the deadline applies only to the response, because a WebSocket may stay
/// open for any time.
fn asks_for_upgrade(parts: &Parts) -> bool {
    let upgrade = parts.headers.get(UPGRADE);
    parts.method == Method::CONNECT || upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}
