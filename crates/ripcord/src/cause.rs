//! The cause of an end: a shared error.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// Why a context ended: any error, shared and cheap to clone.
///
/// Everything that converts into a boxed error converts into a cause: a `&str`, a `String`, an error type. A cause derefs to the error,
/// which has `downcast_ref`, `source` and `to_string`. Like `anyhow::Error` it does not implement `Error` itself, because that would
/// rule out the conversion. [`Cause::as_error`] returns a plain reference.
///
/// ```
/// use ripcord::{Cause, Context};
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// cancel.cancel_with("operator pressed stop");
/// let cause: Cause = ctx.cause().expect("a done context has a cause");
/// assert_eq!(cause.to_string(), "operator pressed stop");
/// ```
#[derive(Clone)]
// Boxed within the Arc, so that it is one word: it lies in every node and in every `Error`.
pub struct Cause(Arc<Box<dyn StdError + Send + Sync>>);

// The error is only ever read.
impl UnwindSafe for Cause {}
impl RefUnwindSafe for Cause {}

impl Cause {
    /// Returns the error.
    pub fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &**self.0
    }
}

impl<T: Into<Box<dyn StdError + Send + Sync>>> From<T> for Cause {
    fn from(error: T) -> Self {
        Cause(Arc::new(error.into()))
    }
}

impl Deref for Cause {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        self.as_error()
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self.0, f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self.0, f)
    }
}
