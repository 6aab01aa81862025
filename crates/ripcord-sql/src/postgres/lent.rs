//! A stream or a COPY in progress, and its connection.

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
    /// The first field, so that the stream is dropped before the checkout: the clean-up must not wait for unread rows.
    pub(super) stream: S,
    pub(super) checkout: Checkout,
}

/// A stream that the user reads until the context ends. The end of the context takes the stream back even if no task polls it.
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

    /// Polls the stream. When the context ends, drops the stream and cleans up its connection.
    pub(super) fn poll<T>(
        &mut self,
        task: &mut Task<'_>,
        poll: impl FnOnce(&mut S, &mut Task<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Error>> {
        let Ok(mut held) = self.slot.take() else {
            return Poll::Ready(Err(self.fail_closed()));
        };
        let polled = poll(&mut held.stream, task);
        // If the context has ended in the meantime, `put` returns the stream, and the drop cleans up the connection.
        drop(self.slot.put(held));
        if polled.is_pending()
            && let Poll::Ready(end) = self.done.as_mut().poll(task)
        {
            drop(self.slot.close());
            return Poll::Ready(Err(self.fail(Kind::Unanswered(end))));
        }
        polled.map(Ok)
    }

    /// Takes the stream and its connection out of the slot, unless the context has ended.
    pub(super) fn take(&mut self) -> Result<Held<S>, Error> {
        let taken = self.slot.take();
        self.after.stop();
        taken.map_err(|_| self.fail_closed())
    }

    /// Returns the connection after the stream was read to its end. `rest` is the new phase of the connection.
    pub(super) fn finish(&mut self, rest: Phase) {
        if let Ok(Held { stream, mut checkout }) = self.take() {
            drop(stream);
            // In a transaction, the connection is never clean.
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

    /// Returns the connection after the stream has failed. Returns the error for the user.
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
                // The transaction continues. Unread rows are skipped.
                checkout.phase = Phase::Unread;
                checkout.is_doubtful = true;
                checkout.give_back();
            }
        }
    }
}
