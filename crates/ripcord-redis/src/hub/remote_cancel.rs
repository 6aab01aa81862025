//! The cause of a context that was canceled through a hub.

use std::error::Error;
use std::fmt::{self, Write as _};

use super::marker::Marker;

/// The cause of a context that was canceled through Redis: a [bound](crate::ContextExt::bind) context by
/// [`Hub::cancel`](crate::Hub::cancel), or the context of a job by [`Queue::cancel`](crate::Queue::cancel). The call that canceled
/// the context was made in this process or in another one.
///
/// `Display` prints the cause, the canceler and its line of code on one line, with control characters escaped:
/// `order withdrawn (canceled by shop-2 at src/orders.rs:12:5)`.
///
/// ```
/// use ripcord::Context;
/// use ripcord_redis::RemoteCancel;
///
/// /// Returns the name of the machine that canceled the context.
/// fn canceler(ctx: &Context) -> Option<String> {
///     let cause = ctx.cause()?;
///     Some(cause.downcast_ref::<RemoteCancel>()?.canceler().to_owned())
/// }
/// assert_eq!(canceler(&Context::background()), None);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteCancel(Marker);

impl RemoteCancel {
    pub(crate) fn new(marker: Marker) -> Self {
        RemoteCancel(marker)
    }

    /// Returns the ID that was canceled. For a job, this is the key of the job in Redis, which ends with its
    /// [`JobId`](crate::JobId).
    pub fn id(&self) -> &str {
        self.0.id()
    }

    /// Returns the text of the cause that was passed to [`Hub::cancel`](crate::Hub::cancel) or
    /// [`Queue::cancel`](crate::Queue::cancel). A text of more than 1024 bytes was cut.
    pub fn cause(&self) -> &str {
        self.0.cause()
    }

    /// Returns the [name](crate::Client::name) of the client that canceled. A name of more than 256 bytes was cut.
    pub fn canceler(&self) -> &str {
        self.0.canceler()
    }

    /// Returns the line of code that called `cancel`, as `file:line:column`. The file is a file of the program that canceled, which
    /// may be another program than this one. A text of more than 256 bytes was cut.
    pub fn location(&self) -> &str {
        self.0.location()
    }
}

impl fmt::Display for RemoteCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cause, canceler, location) = (OneLine(self.cause()), OneLine(self.canceler()), OneLine(self.location()));
        write!(f, "{cause} (canceled by {canceler} at {location})")
    }
}

/// A text on one line.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character.is_control() {
                true => write!(f, "{}", character.escape_default())?,
                false => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCancel")
            .field("id", &self.id())
            .field("cause", &self.cause())
            .field("canceler", &self.canceler())
            .field("location", &self.location())
            .finish()
    }
}

impl Error for RemoteCancel {}
