//! A request that is on its way.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
    thread,
    time::Instant,
};

use http::{Extensions, HeaderName, HeaderValue, Response, StatusCode};
use ripcord::{Context, DoneOwned};

use super::{
    Attendance, Ended, Ending, Outcome, ended::is_client_disconnected, inspection::Inspection, layer::Settings,
    life::Life, own_trace::OwnTrace,
};
use crate::RequestId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// A request on its way: held by its [`ResponseFuture`](super::ResponseFuture), then by its
/// [`ContextBody`](super::ContextBody). When it is dropped the request is over, and its Context has ended, unless something is
/// [detached](super::detach).
#[derive(Debug)]
pub(super) struct InFlight {
    /// The wait for the end, once something has been found waiting: what never waits arms no timer.
    done: Option<DoneOwned>,
    ctx: Context,
    /// What ends the handler and the body once the client has gone; before that it is `ctx`.
    limit: Option<Context>,
    attendance: Option<Attendance>,
    // Below the Contexts, for fields are dropped from the top: with nobody left to see the end, there is nothing to do.
    /// `None` while this is being dropped.
    life: Option<Arc<Life>>,
    settings: Arc<Settings>,
    id: HeaderValue,
    /// Noted for the hook and the inspector, if there is one.
    begun: Option<Instant>,
    answered: Option<StatusCode>,
    /// For logs and metrics, where that is not what was answered.
    logged: Option<StatusCode>,
    /// `None` until it is known: dropped like that, the client has gone.
    outcome: Option<Outcome>,
    /// The end that it was answered with, or cut short by.
    error: Option<ripcord::Error>,
    trace: OwnTrace,
    inspection: Inspection,
}

impl InFlight {
    /// It has arrived.
    pub(super) fn begin(
        settings: Arc<Settings>,
        ctx: Context,
        life: Arc<Life>,
        id: HeaderValue,
        begun: Option<Instant>,
        trace: OwnTrace,
        inspection: Inspection,
    ) -> Self {
        settings.counters.requests.up();
        settings.counters.in_flight.up();
        InFlight {
            done: None,
            limit: None,
            begun,
            ctx,
            attendance: None,
            life: Some(life),
            settings,
            id,
            answered: None,
            logged: None,
            outcome: None,
            error: None,
            trace,
            inspection,
        }
    }

    /// From now on the client's going is seen, if its connection is watched.
    pub(super) fn attend(&mut self, extensions: &Extensions) {
        if let Some(life) = &self.life {
            self.attendance = Attendance::begin(extensions, &self.settings, &self.ctx, life);
        }
    }

    /// The end of the Context, if it is one that ends handler and body too. The client's going is none: half of the
    /// connection may be there still, and whoever answers all the same has its answer sent.
    pub(super) fn err(&mut self) -> Option<ripcord::Error> {
        self.limit.as_ref().unwrap_or(&self.ctx).err().and_then(|error| self.acted_on(error))
    }

    /// As [`err`](InFlight::err), for the task that waits for it.
    pub(super) fn poll_err(&mut self, task: &mut task::Context<'_>) -> Poll<ripcord::Error> {
        loop {
            let done = self.done.get_or_insert_with(|| self.limit.as_ref().unwrap_or(&self.ctx).done_owned());
            let Poll::Ready(error) = Pin::new(done).poll(task) else { return Poll::Pending };
            if let Some(error) = self.acted_on(error) {
                return Poll::Ready(error);
            }
        }
    }

    fn acted_on(&mut self, error: ripcord::Error) -> Option<ripcord::Error> {
        if self.limit.is_some() || !is_client_disconnected(&error) {
            return Some(error);
        }
        self.settle(Outcome::ClientDisconnected);
        self.done = None;
        self.limit.insert(Limit::of(&self.settings.server, &self.ctx).context()).err()
    }

    /// Makes the head of the answer what is to be sent.
    pub(super) fn answer<B>(&mut self, response: &mut Response<B>) {
        if let Some(ended) = response.extensions_mut().remove::<Ended>() {
            *response.status_mut() = ended.answer_by(&self.settings.statuses);
            self.logged = Some(ended.status_by(&self.settings.statuses));
            self.ended(ended.into());
        }
        response.headers_mut().insert(X_REQUEST_ID, self.id.clone());
        self.answered = Some(response.status());
        self.inspection.answered(&self.settings, self.logged.unwrap_or(response.status()));
    }

    /// Answered with the end of its Context, or cut short by it.
    pub(super) fn ended(&mut self, error: ripcord::Error) {
        self.settle(Outcome::of(&error));
        self.error.get_or_insert(error);
    }

    /// The handler or the body has panicked: what they spawned is told.
    pub(super) fn panicked(&mut self, message: String) {
        if let Some(life) = &self.life {
            life.cancel_with(format!("handler panicked: {message}"));
        }
        self.outcome = Some(Outcome::Panicked(message));
    }

    /// Says what came of the request, unless that is known already.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// The handler or its body failed; if it watches its Context, because that has ended.
    pub(super) fn failed(&mut self) {
        match self.ctx.err() {
            Some(error) => self.ended(error),
            None => self.settle(Outcome::Failed),
        }
    }

    /// The request is over, and was answered.
    pub(super) fn finish(mut self) {
        self.settle(Outcome::Answered);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.outcome.is_none() {
            if let Some(life) = &self.life {
                life.client_gone();
            }
            // One that had ended before, at its deadline say, was given up for that.
            let outcome = self.ctx.err().map_or(Outcome::ClientDisconnected, |error| Outcome::of(&error));
            self.outcome = Some(outcome);
        }
        self.trace.end();
        let Some(outcome) = self.outcome.take() else { return };
        let took = self.begun.map(|begun| self.ctx.clock().now().saturating_duration_since(begun)).unwrap_or_default();
        if Inspection::is_wanted(&self.settings) {
            let is_panicked = matches!(outcome, Outcome::Panicked(_)) || thread::panicking();
            self.inspection.end(&self.settings, took, self.ctx.err(), is_panicked);
        }
        let counters = &self.settings.counters;
        counters.in_flight.down();
        if let Some(counter) = counters.outcome(&outcome) {
            counter.up();
        }
        if let Some(hook) = &self.settings.on_end {
            let error = self.ctx.err().or_else(|| self.error.take());
            self.attendance = None;
            self.life = None;
            let ending = Ending {
                ctx: &self.ctx,
                error,
                status: self.logged.or(self.answered).unwrap_or_else(|| self.settings.statuses.unanswered(&outcome)),
                answered: self.answered,
                took,
                outcome,
            };
            // Unwind safe: what the hook has left half done is its own. A second panic while a first unwinds would abort.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| hook(&ending)));
        }
    }
}

/// What ends a request, whether or not its client is there.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    server: Context,
    deadline: Option<Instant>,
}

impl Limit {
    /// Of the request that `ctx` belongs to.
    pub(super) fn of(server: &Context, ctx: &Context) -> Self {
        Limit { server: server.clone(), deadline: ctx.deadline() }
    }

    pub(super) fn context(&self) -> Context {
        self.deadline.map_or_else(|| self.server.clone(), |deadline| self.server.with_deadline(deadline))
    }
}
