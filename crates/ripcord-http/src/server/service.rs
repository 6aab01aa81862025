//! The service that the layer makes.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use tower_service::Service;

use super::{
    BoxError, ContextBody, DeadlineSource, Outcome, ResponseFuture,
    future::Refusal,
    headers,
    inspection::Inspection,
    layer::Settings,
    life::{Handle, Life},
    own_trace::OwnTrace,
    panic_message,
    request::InFlight,
};
use crate::{Malformed, trace_context::Link};

/// What [`ContextLayer`](super::ContextLayer) makes of a service.
///
/// Its responses have a [`ContextBody`], whose error is a boxed one: the body's own, or the [`ripcord::Error`] that cut it short.
#[derive(Clone, Debug)]
pub struct ContextService<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
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
        let bodyless = parts.method == Method::HEAD || parts.method == Method::CONNECT;
        let (mut request, malformed) = self.settings.begin(&mut parts);
        if let Some(malformed) = malformed.filter(|_| self.settings.strict) {
            request.settle(Outcome::Refused(malformed));
            return ResponseFuture::not_called(request, Refusal::Malformed(malformed), bodyless);
        }
        if let Some(error) = request.err() {
            // Nothing begins on a Context that is done.
            if error.is_deadline_exceeded() {
                self.settings.counters.expired.up();
            }
            return ResponseFuture::not_called(request, Refusal::Ended(error), bodyless);
        }
        request.attend(&parts.extensions);
        // Unwind safe: a service that panics in `call` has what it left half done for itself.
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
    /// Derives the Context of a request that has arrived, and puts it into the extensions; with what is wrong with its headers.
    fn begin(self: &Arc<Self>, parts: &mut Parts) -> (InFlight, Option<Malformed>) {
        let said = headers::read(&parts.headers, self);
        let (timeout, source) = self.timeout(said.deadline);

        // The name comes before the deadline, since an end is told under the nearest name at or above its beginning.
        let mut ctx = self.server.with_name((self.name)(parts)).with_value(said.id.clone());
        ctx = ctx.with_value(said.lineage.current());
        if let Some(theirs) = said.lineage.link() {
            ctx = ctx.with_value(Link(theirs));
        }
        if let Some(tracestate) = said.tracestate {
            ctx = ctx.with_value(tracestate);
        }
        if let Some(baggage) = said.baggage {
            ctx = ctx.with_value(baggage);
        }
        let (ctx, cancel) = ctx.with_cancel();
        let life = Life::new(cancel);
        let ctx = match (timeout, source) {
            (None, _) => ctx,
            (Some(timeout), DeadlineSource::Header(_) | DeadlineSource::Clamped(_)) => {
                ctx.with_timeout_cause(timeout, source)
            }
            (Some(timeout), _) => ctx.with_timeout(timeout),
        };
        // The inspector comes after it, to show the request under the ids that it is exported with, and the way to the life last, so
        // that all that is shown is above it.
        let (ctx, trace) = OwnTrace::begin(self, ctx, said.lineage.parent());
        let is_timed = self.on_end.is_some() || Inspection::is_wanted(self);
        let begun = is_timed.then(|| ctx.clock().now());
        let inspection = Inspection::begin(self, &ctx, &life, source, begun, trace.trace());
        let ctx = ctx.with_value(Handle::new(&life, source, self, inspection));
        parts.extensions.insert(ctx.clone());
        let request = InFlight::begin(Arc::clone(self), ctx, life, said.id.to_header(), begun, trace, inspection);
        (request, said.malformed)
    }

    /// How long a request may take whose client asks for `asked`, and where that comes from.
    fn timeout(&self, asked: Option<(&'static str, Duration)>) -> (Option<Duration>, DeadlineSource) {
        let limit = self.trust.timeout(self.timeout);
        let Some((header, asked)) = asked else {
            let is_limited = limit.is_some() || self.server.deadline().is_some();
            return (limit, if is_limited { DeadlineSource::Local } else { DeadlineSource::None });
        };
        self.counters.deadlines_received.up();
        let server = self.server.remaining();
        if limit.into_iter().chain(server).any(|most| most < asked) {
            self.counters.deadlines_clamped.up();
            (limit, DeadlineSource::Clamped(header))
        } else {
            (Some(asked), DeadlineSource::Header(header))
        }
    }
}
