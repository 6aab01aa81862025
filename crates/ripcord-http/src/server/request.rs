//! A request that is on its way.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Instant,
};

use http::{HeaderName, HeaderValue, Response, StatusCode};
use ripcord::{Canceler, Context};

use super::{ClientDisconnected, Ended, Ending, Outcome, layer::Settings};
use crate::RequestId;

const X_REQUEST_ID: HeaderName = HeaderName::from_static(RequestId::HEADER);

/// A request on its way: held by its [`ResponseFuture`](super::ResponseFuture), then by its
/// [`ContextBody`](super::ContextBody). When it is dropped the request is over, and its Context has ended.
#[derive(Debug)]
pub(super) struct InFlight {
    // Above its canceler, for fields are dropped from the top: with nobody left to see the end, that has nothing to do.
    ctx: Context,
    /// `None` while this is being dropped.
    cancel: Option<Canceler>,
    settings: Arc<Settings>,
    id: HeaderValue,
    begun: Instant,
    answered: Option<StatusCode>,
    /// `None` until it is known: dropped like that, the client has gone.
    outcome: Option<Outcome>,
}

impl InFlight {
    pub(super) fn begin(settings: Arc<Settings>, ctx: Context, cancel: Canceler, id: HeaderValue) -> Self {
        settings.counters.requests.up();
        settings.counters.in_flight.up();
        let begun = ctx.clock().now();
        InFlight { ctx, cancel: Some(cancel), settings, id, begun, answered: None, outcome: None }
    }

    pub(super) fn ctx(&self) -> &Context {
        &self.ctx
    }

    /// Makes the head of the answer what is to be sent.
    pub(super) fn answer<B>(&mut self, response: &mut Response<B>) {
        if let Some(ended) = response.extensions_mut().remove::<Ended>() {
            *response.status_mut() = ended.status_by(&self.settings.statuses);
            self.settle(Outcome::of(ended.error().clone()));
        }
        response.headers_mut().insert(X_REQUEST_ID, self.id.clone());
        self.answered = Some(response.status());
    }

    /// The handler or the body has panicked: what they spawned is told.
    pub(super) fn panicked(&mut self, message: String) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel_with(format!("handler panicked: {message}"));
        }
        self.settle(Outcome::Panicked(message));
    }

    /// Says what came of the request, unless that is known already.
    pub(super) fn settle(&mut self, outcome: Outcome) {
        self.outcome.get_or_insert(outcome);
    }

    /// The request is over.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.settle(outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| {
            if let Some(cancel) = &self.cancel {
                // No effect on a Context that is done: a request given up after its deadline was not abandoned.
                cancel.cancel_with(ClientDisconnected);
            }
            self.ctx.err().map_or(Outcome::Answered, Outcome::of)
        });

        let counters = &self.settings.counters;
        counters.in_flight.down();
        let statuses = &self.settings.statuses;
        let unanswered = match &outcome {
            Outcome::Answered => StatusCode::OK,
            Outcome::DeadlineExceeded(_) => {
                counters.timed_out.up();
                statuses.deadline_exceeded
            }
            Outcome::Canceled(_) => {
                counters.canceled.up();
                statuses.canceled
            }
            Outcome::ClientDisconnected(_) => {
                counters.disconnected.up();
                statuses.client_disconnected
            }
            Outcome::Panicked(_) => {
                counters.panicked.up();
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };

        if let Some(hook) = &self.settings.on_end {
            drop(self.cancel.take());
            let ending = Ending {
                ctx: &self.ctx,
                outcome: &outcome,
                answered: self.answered,
                status: self.answered.unwrap_or(unanswered),
                took: self.ctx.clock().now().saturating_duration_since(self.begun),
            };
            // Unwind safe: what the hook has left half done is its own. A panic while this unwinds would abort.
            let _ = panic::catch_unwind(AssertUnwindSafe(|| hook(&ending)));
        }
    }
}
