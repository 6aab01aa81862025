//! Ties an entry to the contexts of its work.

use std::fmt;

use ripcord::{Context, Value};

use super::Inspector;
use crate::server::{EntryKey, Observer as _, entry_key_for};

/// A value of the context that [`Inspector::watch`] returns. This value is dropped with the last context derived from the returned
/// context. The drop ends the entry. For a request, a value of the layer does this.
pub(super) struct EntryGuard {
    inspector: Inspector,
    place: EntryKey,
    /// The nearest request above.
    request: Option<u64>,
}

impl EntryGuard {
    /// Creates the value for the entry at `place`, whose context is `ctx`.
    pub(super) fn new(inspector: Inspector, place: EntryKey, ctx: &Context) -> Self {
        EntryGuard { inspector, place, request: entry_key_for(ctx).map(|place| place.id) }
    }
}

impl Drop for EntryGuard {
    fn drop(&mut self) {
        self.inspector.end_watched(self.place);
        self.inspector.leave(self.place);
    }
}

impl Value for EntryGuard {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inspected({})", self.place.id)
    }
}

/// Returns the nearest entry at or above a context.
pub(super) fn nearest(ctx: &Context) -> Option<EntryKey> {
    let request = entry_key_for(ctx);
    match (request, ctx.value::<EntryGuard>()) {
        // If the watched work is above the request, its guard names another request or none. Then the request is nearer.
        (Some(request), Some(held)) if held.request != Some(request.id) => Some(request),
        (request, held) => held.map(|held| held.place).or(request),
    }
}
