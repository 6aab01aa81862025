//! A bounded channel from many senders to one receiver. Go's `make(chan T, n)`.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;

use tokio::sync::{Semaphore, mpsc as inner};

use crate::context::Context;
use crate::error::Error;

/// Creates a channel that holds up to `capacity` values. A capacity of 0 counts as 1.
///
/// The receiver gets the values in the order in which they were sent. If the channel is full, senders wait in the order of
/// their first polls, and each free slot goes to the sender at the head of this queue.
///
/// ```
/// # futures::executor::block_on(async {
/// use ripcord::sync::mpsc;
/// use ripcord::Context;
///
/// let ctx = Context::background();
/// let (sender, mut receiver) = mpsc::channel(8);
/// let producer = async {
///     for line in ["one", "two"] {
///         sender.send(&ctx, line).await?;
///     }
///     drop(sender); // closes the channel
///     Ok::<_, mpsc::SendError<_>>(())
/// };
/// producer.await.unwrap();
/// while let Some(line) = receiver.recv(&ctx).await? {
///     assert!(!line.is_empty());
/// }
/// # Ok::<(), ripcord::Error>(()) }).unwrap();
/// ```
///
/// If [`try_send`](Sender::try_send) fails because the channel is full, the long text (`{:#}`) of the error shows the line that
/// called `channel`.
#[track_caller]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = inner::channel(capacity.clamp(1, Semaphore::MAX_PERMITS));
    (Sender { inner: sender, created_at: Location::caller() }, Receiver(receiver))
}

/// The sending half of a channel. [`channel`] returns it.
///
/// Clones send into the same channel. When all senders have been dropped, the channel is closed: the receiver gets the values
/// that are still in the channel, and then `None`.
pub struct Sender<T> {
    inner: inner::Sender<T>,
    /// The line that created the channel.
    created_at: &'static Location<'static>,
}

impl<T> Sender<T> {
    /// Sends `value`. If the channel is full, waits until the channel has room, or until `ctx` ends.
    ///
    /// # Errors
    ///
    /// Returns a [`SendError`] that contains the value if the receiver was dropped, if the receiver has closed the channel, or
    /// if `ctx` ended first. If `ctx` has already ended at the first poll, nothing is sent.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped before it is ready, the value is not sent, and is dropped too.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use std::time::Duration;
    /// use ripcord::sync::mpsc;
    /// use ripcord::Context;
    ///
    /// let (sender, _receiver) = mpsc::channel(1);
    /// sender.send(&Context::background(), "first").await.unwrap();
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// let error = sender.send(&ctx, "second").await.unwrap_err();
    /// assert!(error.context_error().unwrap().is_deadline_exceeded());
    /// assert_eq!(error.into_value(), "second");
    /// # });
    /// ```
    pub async fn send(&self, ctx: &Context, value: T) -> Result<(), SendError<T>> {
        // This waits only for a slot, so that the value is not lost when the context ends.
        match ctx.run(self.inner.reserve()).await {
            Ok(Ok(place)) => {
                place.send(value);
                Ok(())
            }
            Ok(Err(_)) => Err(SendError { value, reason: Reason::Closed }),
            Err(end) => Err(SendError { value, reason: Reason::Ended(end) }),
        }
    }

    /// Sends `value` if the channel has room. Never waits.
    ///
    /// # Errors
    ///
    /// Returns a [`SendError`] that contains the value if the channel is full, if the receiver was dropped, or if the receiver
    /// has closed the channel.
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.inner.try_send(value).map_err(|error| match error {
            inner::error::TrySendError::Full(value) => SendError { value, reason: Reason::Full(self.created_at) },
            inner::error::TrySendError::Closed(value) => SendError { value, reason: Reason::Closed },
        })
    }

    /// Returns whether the receiver was dropped or has closed the channel, so that no value can be sent.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Waits until the receiver was dropped or has closed the channel, which means that no further value is needed.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time.
    pub async fn closed(&self, ctx: &Context) -> Result<(), Error> {
        ctx.run(self.inner.closed()).await
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Sender { inner: self.inner.clone(), created_at: self.created_at }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

/// The receiving half of a channel. [`channel`] returns it.
///
/// Dropping the receiver closes the channel, so that waiting and later sends fail, and drops the values that are in the
/// channel.
pub struct Receiver<T>(inner::Receiver<T>);

impl<T> Receiver<T> {
    /// Waits for the next value. Returns `None` if the channel is empty and closed: all senders were dropped, or
    /// [`close`](Self::close) was called.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first. If `ctx` has ended at the first poll, the values stay in the channel, and
    /// [`try_recv`](Self::try_recv) can still return them.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped before it is ready, it has taken no value from the channel.
    pub async fn recv(&mut self, ctx: &Context) -> Result<Option<T>, Error> {
        ctx.run(self.0.recv()).await
    }

    /// Returns the next value, or `None` if the channel is empty, whether open or closed. Never waits.
    pub fn try_recv(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }

    /// Closes the channel: waiting and later sends fail. The values that are already in the channel can still be received.
    pub fn close(&mut self) {
        self.0.close();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("waiting", &self.0.len()).finish_non_exhaustive()
    }
}

/// The error of a failed send. It contains the value that was not sent.
///
/// The format `{}` prints the reason: the channel was closed, the channel was full, or the context ended. The format `{:#}` also
/// prints the context's error, or the line that created the full channel.
#[derive(Clone)]
pub struct SendError<T> {
    value: T,
    reason: Reason,
}

#[derive(Clone)]
enum Reason {
    Closed,
    /// Holds the line that created the channel.
    Full(&'static Location<'static>),
    Ended(Error),
}

impl<T> SendError<T> {
    /// Returns the value that was not sent.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Returns whether the receiver was dropped or has closed the channel.
    pub fn is_closed(&self) -> bool {
        matches!(self.reason, Reason::Closed)
    }

    /// Returns whether the channel was full. Only [`try_send`](Sender::try_send) fails for this reason.
    pub fn is_full(&self) -> bool {
        matches!(self.reason, Reason::Full(_))
    }

    /// Returns whether the send failed because the context that was passed to [`send`](Sender::send) ended.
    pub fn is_ended(&self) -> bool {
        self.context_error().is_some()
    }

    /// Returns the error of the context that was passed to [`send`](Sender::send) if the send failed because this context
    /// ended, and `None` otherwise. This error is also the [`source`](StdError::source).
    pub fn context_error(&self) -> Option<&Error> {
        match &self.reason {
            Reason::Ended(end) => Some(end),
            Reason::Closed | Reason::Full(_) => None,
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Closed => f.write_str("the channel is closed"),
            Reason::Full(created_at) if f.alternate() => write!(f, "the channel is full (created at {created_at})"),
            Reason::Full(_) => f.write_str("the channel is full"),
            Reason::Ended(end) if f.alternate() => {
                write!(f, "the channel was full until its sender's context ended: {end:#}")
            }
            Reason::Ended(_) => f.write_str("the channel was full until its sender's context ended"),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SendError").field(&format_args!("{self:#}")).finish()
    }
}

impl<T> StdError for SendError<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.context_error().map(|end| end as _)
    }
}
