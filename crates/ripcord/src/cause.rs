//! The cause of a context's end: a shared error.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

/// The cause of a context's end: any error, shared and cheap to clone.
///
/// Every type that converts into `Box<dyn Error + Send + Sync>` converts into a cause: a `&str`, a `String`, or any error
/// type that is `Send + Sync`. A cause dereferences to the error, so `downcast_ref`, `source` and `to_string` can be called
/// on it.
///
/// Like `anyhow::Error`, `Cause` does not implement `Error` itself, because the conversion above would then be
/// ambiguous. [`Cause::as_error`] returns a reference to the error that the cause contains.
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
// Boxed within the Arc, so that a cause takes one word. Every node and every `Error` contains a cause.
pub struct Cause(Arc<Box<dyn StdError + Send + Sync>>);

// The error is only read.
impl UnwindSafe for Cause {}
impl RefUnwindSafe for Cause {}

impl Cause {
    /// Returns a reference to the error that the cause contains, for code that takes a `&dyn Error`.
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
