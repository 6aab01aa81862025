//! Whether the caller is still there.

use ripcord::{Context, Error};

/// Why the caller's context has ended, if it has.
///
/// Asks [`Context::is_done`] first, which is cheap when asked again and again: on the way in that is every call's question, and
/// the answer is nearly always no.
#[inline]
pub(crate) fn end_of(ctx: &Context) -> Option<Error> {
    if ctx.is_done() { ctx.err() } else { None }
}
