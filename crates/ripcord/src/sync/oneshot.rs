//! A channel for one value, such as the reply to a request.

use std::fmt;

use tokio::sync::oneshot as inner;

use crate::context::Context;
use crate::error::Error;

/// Creates a channel for one value.
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

/// Sends the value. If it is dropped before, the receiver gets `None`.
pub struct Sender<T>(inner::Sender<T>);

impl<T> Sender<T> {
    /// Sends the value. Never waits.
    ///
    /// A value that is sent and never received is dropped with the receiver.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }

    /// Returns whether the receiver was dropped, so that nobody waits for the value.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the receiver was dropped: then the work for the value can stop.
    ///
    /// # Errors
    ///
    /// The context's error, if the context ended first.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time.
    pub async fn closed(&mut self, ctx: &Context) -> Result<(), Error> {
        ctx.run(self.0.closed()).await
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish()
    }
}

/// Receives the value.
pub struct Receiver<T>(
    /// `None` once the value was received, or the receiver has found that the sender was dropped.
    Option<inner::Receiver<T>>,
);

impl<T> Receiver<T> {
    /// Waits for the value. Returns `None` if the sender was dropped without sending, and after the value was received.
    ///
    /// # Errors
    ///
    /// The context's error, if the context ended first. The receiver can wait again under another context.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped has not taken the value.
    pub async fn recv(&mut self, ctx: &Context) -> Result<Option<T>, Error> {
        let Some(receiver) = &mut self.0 else { return Ok(None) };
        let result = ctx.run(receiver).await?;
        self.0 = None;
        Ok(result.ok())
    }

    /// Returns the value if it was sent and not received yet.
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
