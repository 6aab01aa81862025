//! A channel for one value, such as the reply to a request.

use std::fmt;

use tokio::sync::oneshot as inner;

use crate::context::Context;
use crate::error::Error;

/// Creates a channel for one value. Returns the sending half and the receiving half.
///
/// ```
/// # futures::executor::block_on(async {
/// use ripcord::sync::oneshot;
/// use ripcord::Context;
///
/// let (reply, mut answer) = oneshot::channel();
/// std::thread::spawn(move || reply.send(7));
/// assert_eq!(answer.recv(&Context::background()).await?, Some(7));
/// # Ok::<(), ripcord::Error>(()) }).unwrap();
/// ```
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = inner::channel();
    (Sender(sender), Receiver(Some(receiver)))
}

/// The sending half of a oneshot channel. [`channel`] returns it.
///
/// If the sender is dropped without a send, the receiver gets `None`.
pub struct Sender<T>(inner::Sender<T>);

impl<T> Sender<T> {
    /// Sends `value` to the receiver. Never waits.
    ///
    /// `Ok` does not mean that the value was received: if the receiver is dropped later without receiving it, the value is
    /// dropped too.
    ///
    /// # Errors
    ///
    /// Returns `Err` with the value if the receiver was dropped.
    pub fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }

    /// Returns whether the receiver was dropped, so that a send would fail.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the receiver was dropped, which means that the value is no longer needed.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first.
    ///
    /// # Cancel safety
    ///
    /// The returned future may be dropped at any time.
    pub async fn closed(&mut self, ctx: &Context) -> Result<(), Error> {
        ctx.run(self.0.closed()).await
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

/// The receiving half of a oneshot channel. [`channel`] returns it.
///
/// If the receiver is dropped, the sender's [`send`](Sender::send) fails, and a value that was sent but not received is
/// dropped.
pub struct Receiver<T>(
    /// `None` once the value was received, or the receiver has found that the sender was dropped.
    Option<inner::Receiver<T>>,
);

impl<T> Receiver<T> {
    /// Waits for the value. Returns `None` if the sender was dropped without a send, or if the value was already received.
    ///
    /// # Errors
    ///
    /// Returns the error of `ctx` if `ctx` ended first. A later call with another context can still receive the value.
    ///
    /// # Cancel safety
    ///
    /// If the returned future is dropped before it is ready, the value was not taken: a later call can still receive it.
    pub async fn recv(&mut self, ctx: &Context) -> Result<Option<T>, Error> {
        let Some(receiver) = &mut self.0 else { return Ok(None) };
        let result = ctx.run(receiver).await?;
        self.0 = None;
        Ok(result.ok())
    }

    /// Returns the value, or `None` if the value was not sent yet, if it was already received, or if the sender was
    /// dropped without a send. Never waits.
    pub fn try_recv(&mut self) -> Option<T> {
        match self.0.as_mut()?.try_recv() {
            Err(inner::error::TryRecvError::Empty) => None,
            result => {
                self.0 = None;
                result.ok()
            }
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("received", &self.0.is_none()).finish_non_exhaustive()
    }
}
