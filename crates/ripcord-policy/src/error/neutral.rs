//! Checks whether an error of an unknown type says nothing about the callee.
//!
//! An [`Error<E>`](crate::Error) cannot be downcast while `E` is unknown, and a chain of errors only gives access to each error's
//! source. So a neutral error of this crate returns [`Neutral`] as its source while its thread runs this check, and only then.

use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;

thread_local! {
    static IS_ASKING: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Neutral;

impl fmt::Display for Neutral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neutral")
    }
}

impl StdError for Neutral {}

/// Returns whether an error of this crate in the chain says nothing about the callee.
pub(super) fn is_neutral(error: &(dyn StdError + 'static)) -> bool {
    let _asking = Asking::begin();
    std::iter::successors(Some(error), |&error| below(error)).any(|error| error.is::<Neutral>())
}

/// Returns the source of a neutral error while this thread runs the check.
pub(super) fn answer() -> Option<&'static (dyn StdError + 'static)> {
    IS_ASKING.get().then_some(&Neutral)
}

/// Returns the next error in the chain. The source of an `io::Error` is the source of the error that it wraps, so the wrapped error
/// is taken instead.
fn below<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// A drop guard that ends the check, even if a user's `source` panics.
struct Asking;

impl Asking {
    fn begin() -> Self {
        IS_ASKING.set(true);
        Asking
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        IS_ASKING.set(false);
    }
}
