//! A stream or a COPY in progress, in its user's hands, and the connection below it.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};

use ripcord::{AfterFunc, Context, DoneOwned};
use tokio_postgres::error::Error as PostgresError;

use super::checkout::{Checkout, Phase};
use super::slot::Slot;
use crate::Error;
use crate::call::Call;
use crate::error::Kind;

/// A stream and its connection.
pub(super) struct Held<S> {
    /// Dropped first, so that nobody waits for what it has not read.
    pub(super) stream: S,
    pub(super) checkout: Checkout,
}

/// Lends a stream to its user until the context ends, also if the user does not poll it.
pub(super) struct Lent<S> {
    slot: Arc<Slot<Held<S>>>,
    pub(super) ctx: Context,
    done: Pin<Box<DoneOwned>>,
    after: AfterFunc,
    call: Option<Call>,
    operation: &'static str,
    location: &'static Location<'static>,
}

impl<S: Send + 'static> Lent<S> {
    pub(super) fn new(
        stream: S,
        mut checkout: Checkout,
        ctx: Context,
        call: Call,
        operation: &'static str,
        location: &'static Location<'static>,
    ) -> Self {
        checkout.phase = Phase::Busy;
        let slot = Arc::new(Slot::new(Held { stream, checkout }));
        let done = Box::pin(ctx.done_owned());
        let after = ctx.after_func({
            let slot = Arc::clone(&slot);
            move || drop(slot.close())
        });
        Lent { slot, ctx, done, after, call: Some(call), operation, location }
    }

    /// Polls the stream. At the context's end, the stream and its connection are gone.
    pub(super) fn poll<T>(
        &mut self,
        task: &mut Task<'_>,
        poll: impl FnOnce(&mut S, &mut Task<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Error>> {
        let Ok(mut held) = self.slot.take() else {
            return Poll::Ready(Err(self.fail_closed()));
        };
        let polled = poll(&mut held.stream, task);
        // If the context has ended meanwhile, this cleans the connection up.
        drop(self.slot.put(held));
        if polled.is_pending()
            && let Poll::Ready(end) = self.done.as_mut().poll(task)
        {
            drop(self.slot.close());
            return Poll::Ready(Err(self.fail(Kind::Unanswered(end))));
        }
        polled.map(Ok)
    }

    /// Takes the stream and its connection for good, unless the context has ended.
    pub(super) fn take(&mut self) -> Result<Held<S>, Error> {
        let taken = self.slot.take();
        self.after.stop();
        taken.map_err(|_| self.fail_closed())
    }

    /// The stream was read to its end: gives the connection back. `rest` is what the connection does now.
    pub(super) fn finish(&mut self, rest: Phase) {
        if let Ok(Held { stream, mut checkout }) = self.take() {
            drop(stream);
            // In a transaction, the pool's rules do not apply.
            checkout.phase = if checkout.home.is_some() { Phase::Open } else { rest };
            checkout.give_back();
            self.end();
        }
    }

    /// Ends the call with success.
    pub(super) fn end(&mut self) {
        if let Some(call) = self.call.take() {
            call.end(None);
        }
    }

    /// The stream has failed: gives the connection back, and returns the error.
    pub(super) fn fail_with(&mut self, error: PostgresError) -> Error {
        match self.take() {
            Ok(Held { stream, mut checkout }) => {
                drop(stream);
                let rest = if checkout.home.is_some() { Phase::Open } else { Phase::Clean };
                let kind = checkout.failed(&self.ctx, "", error, rest);
                checkout.give_back();
                self.fail(kind)
            }
            Err(end) => end,
        }
    }

    /// Ends the call with an error.
    pub(super) fn fail(&mut self, kind: Kind) -> Error {
        let error = Error::new(self.operation, self.location, kind);
        if let Some(call) = self.call.take() {
            call.end(Some(&error));
        }
        error
    }

    fn fail_closed(&mut self) -> Error {
        let kind = match self.ctx.err() {
            Some(end) => Kind::Unanswered(end),
            None => Kind::Other("it has ended"),
        };
        self.fail(kind)
    }

    pub(super) fn is_over(&self) -> bool {
        self.call.is_none()
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        self.after.stop();
        if let Some(Held { stream, mut checkout }) = self.slot.close() {
            drop(stream);
            if checkout.home.is_some() {
                // The transaction goes on. What has not been read is skipped.
                checkout.is_doubtful = true;
                checkout.give_back();
            }
        }
    }
}
