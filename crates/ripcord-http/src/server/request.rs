//! A request in flight.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    thread,
    time::Instant,
};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ripcord::{Context, DoneOwned};

use super::{
    ClientDisconnected, Ended, Finished, RequestOutcome,
    content::Content,
    grpc,
    lifetime::Lifetime,
    observer::EntryKey,
    on_connection::{Membership, UpgradedRequest, Upload},
    outcome::is_client_disconnected,
    own_span::OwnSpan,
    remote_cancel::Listed,
    settings::Settings,
};
use crate::{RemoteCause, RequestId};

const X_REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);
const RIPCORD_CAUSE: HeaderName = HeaderName::from_static(RemoteCause::HEADER);

/// A request in flight, from the view of one layer. First the [`ResponseFuture`](super::ResponseFuture) holds this value, then the
/// [`ContextBody`](super::ContextBody). The drop of this value ends the request and its context, unless something is
/// [detached](super::detach).
#[derive(Debug)]
pub(super) struct InFlight {
    /// The wait for the end of the context. `None` until the handler or the body has been pending: a request that never waits
    /// arms no timer.
    done: Option<DoneOwned>,
    ctx: Context,
    /// The context whose end stops the handler and the body. `None` if this is `ctx`.
    limit: Option<Context>,
    is_client_gone: bool,
    membership: Option<Membership>,
    lifetime: Arc<Lifetime>,
    settings: Arc<Settings>,
    /// The record of the request. `None` in an inner layer, because the outermost layer answers the request.
    record: Option<Record>,
}

/// The data of a request that only the outermost layer needs: it reports the end of the request.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: HeaderValue,
    pub(super) method: &'static str,
    /// The arrival time of the request, if a hook or an observer needs it.
    pub(super) started: Option<Instant>,
    pub(super) span: OwnSpan,
    pub(super) place: Option<EntryKey>,
    /// The entry that lets the client cancel the request, if the layer accepts such cancels.
    pub(super) _listed: Option<Listed>,
    pub(super) answered: Option<StatusCode>,
    /// The status for logs and metrics, if it differs from the status that was sent.
    pub(super) logged: Option<StatusCode>,
    /// The error that the handler returned because a call failed.
    pub(super) failure: Option<Ended>,
}

impl InFlight {
    /// Starts a request. The end of `limit`, or of `ctx` if there is no `limit`, stops the handler and the body.
    pub(super) fn begin(
        settings: Arc<Settings>,
        ctx: Context,
        limit: Option<Context>,
        lifetime: Arc<Lifetime>,
        record: Option<Record>,
    ) -> Self {
        if record.is_some() {
            settings.counters.requests.up();
            settings.counters.in_flight.up();
        }
        InFlight { done: None, ctx, limit, is_client_gone: false, membership: None, lifetime, settings, record }
    }

    /// Joins the request's connection, if it is watched. From now on, a disconnect ends the context, and each chunk of the
    /// request's body counts as progress.
    pub(super) fn join_connection(&mut self, extensions: &Extensions) {
        if self.settings.idle.is_some() {
            Upload::add(extensions, self.watched());
        }
        if self.is_outermost() {
            self.membership = Membership::begin(extensions, &self.settings, &self.lifetime);
        }
    }

    /// Returns whether this layer is the outermost one of the request.
    pub(super) fn is_outermost(&self) -> bool {
        self.record.is_some()
    }

    pub(super) fn is_grpc(&self) -> bool {
        self.lifetime.is_grpc
    }

    /// Returns the end of the context if it also stops the handler and the body. A disconnect does not stop them, because the
    /// client may have closed only its sending half. If the handler still answers, its response is sent.
    pub(super) fn err(&mut self) -> Option<ripcord::Error> {
        self.watched().err().and_then(|error| self.acted_on(error))
    }

    /// Waits for an end that [`err`](InFlight::err) returns.
    pub(super) fn poll_err(&mut self, task: &mut task::Context<'_>) -> Poll<ripcord::Error> {
        loop {
            let watched = self.limit.as_ref().unwrap_or(&self.ctx);
            let done = self.done.get_or_insert_with(|| watched.done_owned());
            let Poll::Ready(error) = Pin::new(done).poll(task) else { return Poll::Pending };
            if let Some(error) = self.acted_on(error) {
                return Poll::Ready(error);
            }
        }
    }

    /// Reports that a chunk of the response has been passed on.
    pub(super) fn progress(&self) {
        if self.settings.idle.is_some() {
            self.watched().progress();
        }
        if let Some(membership) = &self.membership {
            membership.connection().sending(&self.lifetime);
        }
    }

    fn watched(&self) -> &Context {
        self.limit.as_ref().unwrap_or(&self.ctx)
    }

    fn acted_on(&mut self, error: ripcord::Error) -> Option<ripcord::Error> {
        if self.is_client_gone || !is_client_disconnected(&error) {
            return Some(error);
        }
        self.settle(RequestOutcome::ClientDisconnected);
        self.is_client_gone = true;
        self.done = None;
        self.limit.insert(self.lifetime.limit()).err()
    }

    /// Completes the head of the response.
    pub(super) fn answer<B>(&mut self, response: &mut Response<Content<B>>) {
        let ended_of_grpc = self.note_grpc_end(response.headers_mut());
        let Some(record) = &mut self.record else { return };
        record.logged = ended_of_grpc.map(|ended| ended.status_by(&self.settings.statuses));
        if let Some(ended) = response.extensions_mut().remove::<Ended>() {
            record.logged = Some(ended.status_by(&self.settings.statuses));
            if self.lifetime.is_grpc {
                grpc::answer(response, ended.code(), ended.text());
            } else {
                *response.status_mut() = ended.answer_by(&self.settings.statuses);
            }
            match ended.context_error() {
                Some(error) => {
                    response.headers_mut().extend(remote_cause(&self.settings, error));
                    self.lifetime.ended(error.clone());
                }
                None => {
                    if ended.code() == grpc::Code::DeadlineExceeded {
                        self.lifetime.settle(RequestOutcome::DeadlineExceeded);
                    }
                    record.failure = Some(ended);
                }
            }
        }
        response.headers_mut().insert(X_REQUEST_ID, record.id.clone());
        record.answered = Some(response.status());
        if let (Some(observer), Some(place)) = (&self.settings.observer, record.place) {
            observer.answered(place, record.logged.unwrap_or(response.status()));
        }
    }

    /// Checks for a gRPC status that a handler sent for the end of its context, in the head or in trailers. If there is one,
    /// records the end and returns it.
    pub(super) fn note_grpc_end(&self, headers: &mut HeaderMap) -> Option<Ended> {
        let error = grpc::end(headers, &self.ctx).filter(|_| self.is_grpc() && self.is_outermost())?;
        if !headers.contains_key(RIPCORD_CAUSE) {
            headers.extend(remote_cause(&self.settings, &error));
        }
        self.lifetime.ended(error.clone());
        Some(error.into())
    }

    /// Returns the trailers of a gRPC response that the end of the context cuts short. Returns `None` for other responses.
    pub(super) fn trailers(&self, error: &ripcord::Error) -> Option<HeaderMap> {
        let ended = Ended::from(error.clone());
        let mut trailers = self.is_grpc().then(|| grpc::trailers(ended.code(), ended.text()))?;
        trailers.extend(remote_cause(&self.settings, error));
        Some(trailers)
    }

    /// Passes the request to its connection or stream, which switches to another protocol. The context lives until the connection
    /// or stream is closed. If the connection is not watched, the context ends with the server's context.
    pub(super) fn upgraded(mut self) {
        self.lifetime.remove_deadline();
        self.limit = None;
        self.done = None;
        match self.membership.as_ref().map(|membership| Arc::clone(membership.connection())) {
            Some(connection) => connection.upgrade(Box::new(self)),
            None => {
                self.lifetime.outlives_the_answer();
                self.finish();
            }
        }
    }

    /// Records that the response reported the end of the context, or was cut short by it.
    pub(super) fn ended(&mut self, error: ripcord::Error) {
        self.lifetime.ended(error);
    }

    /// Handles a panic of the handler or the body: ends the context of the work that they spawned.
    pub(super) fn panicked(&mut self, message: String) {
        self.lifetime.cancel_with(format!("handler panicked: {message}"));
        self.settle(RequestOutcome::Panicked(message));
    }

    /// Records the outcome of the request, unless one is recorded already.
    pub(super) fn settle(&self, outcome: RequestOutcome) {
        self.lifetime.settle(outcome);
    }

    /// Handles a failure of the handler or its body. If the context has ended, the end counts as the reason.
    pub(super) fn failed(&mut self) {
        match self.ctx.err() {
            Some(error) => self.ended(error),
            None => self.settle(RequestOutcome::Failed),
        }
    }

    /// Handles the end of the response.
    pub(super) fn finish(self) {
        // In an inner layer, the outer layer still has to send the response.
        if self.is_outermost() {
            self.settle(RequestOutcome::Answered);
        }
    }
}

impl UpgradedRequest for InFlight {
    /// Ends the context. The cause reports whether the server was draining. If the client has disconnected, the context has already
    /// ended.
    fn closed(self: Box<Self>) {
        match self.ctx.err() {
            Some(error) => self.lifetime.ended(error),
            None if self.ctx.is_draining() => {
                self.lifetime.cancel_with("server draining: the upgraded connection was closed");
            }
            None => self.lifetime.cancel_with("the upgraded connection was closed"),
        }
        self.finish();
    }
}

/// Returns the header or trailer with the cause of the context's end, for a trusted client. The cause may be confidential.
fn remote_cause(settings: &Settings, error: &ripcord::Error) -> Option<(HeaderName, HeaderValue)> {
    let cause = || (RIPCORD_CAUSE, RemoteCause::from_error(error).to_header());
    settings.trust.0.is_trusted().then(cause)
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        if self.lifetime.outcome().is_none() {
            self.lifetime.client_gone(ClientDisconnected);
            // If a request is dropped after its deadline, the deadline counts as the reason.
            let outcome =
                self.ctx.err().map_or(RequestOutcome::ClientDisconnected, |error| RequestOutcome::from_error(&error));
            self.settle(outcome);
        }
        record.span.end(&self.ctx, self.lifetime.outcome(), record.answered);
        let Some(outcome) = self.lifetime.outcome() else { return };
        let took =
            record.started.map(|started| self.ctx.clock().now().saturating_duration_since(started)).unwrap_or_default();
        if let (Some(observer), Some(place)) = (&self.settings.observer, record.place) {
            let is_panicked = matches!(outcome, RequestOutcome::Panicked(_)) || thread::panicking();
            observer.end(place, took, self.ctx.err(), is_panicked);
        }
        let counters = &self.settings.counters;
        counters.in_flight.down();
        if let Some(counter) = counters.outcome(outcome) {
            counter.up();
        }
        self.membership = None;
        let Some(hook) = &self.settings.on_end else {
            self.done = None;
            self.limit = None;
            self.ctx = Context::background();
            // The context holds the handle. Without the context, nothing can observe the end.
            if Arc::weak_count(&self.lifetime) > 0 {
                self.lifetime.answered();
            }
            return;
        };
        let error = self.ctx.err().or_else(|| self.lifetime.error());
        self.lifetime.answered();
        let finished = Finished {
            ctx: &self.ctx,
            method: record.method,
            error,
            status: record.logged.or(record.answered).unwrap_or_else(|| self.settings.statuses.unanswered(outcome)),
            answered: record.answered,
            failure: record.failure,
            took,
            outcome: outcome.clone(),
        };
        // Unwind safe: state that a panicking hook leaves broken belongs to the hook. A second panic during an unwind would
        // abort.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| hook(&finished)));
    }
}
