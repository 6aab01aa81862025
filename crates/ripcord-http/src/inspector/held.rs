//! Ties an entry to the contexts of its work.

use std::fmt;

use ripcord::{Context, Value};

use super::Inspector;
use crate::server::{Observer as _, Place, place_of};

/// A value of the context that [`Inspector::watch`] returns. It is dropped with the last context derived from that, and ends
/// the entry. For a request, the layer's own value does this.
pub(super) struct Held {
    inspector: Inspector,
    place: Place,
    /// The nearest request above.
    request: Option<u64>,
}

impl Held {
    /// Creates the value for the entry at `place`, whose context is `ctx`.
    pub(super) fn new(inspector: Inspector, place: Place, ctx: &Context) -> Self {
        Held { inspector, place, request: place_of(ctx).map(|place| place.id) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inspector.end_watched(self.place);
        self.inspector.leave(self.place);
    }
}

impl Value for Held {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inspected({})", self.place.id)
    }
}

/// Returns the nearest entry at or above a context.
pub(super) fn nearest(ctx: &Context) -> Option<Place> {
    let request = place_of(ctx);
    match (request, ctx.value::<Held>()) {
        // The nearer of the two: watched work knows which request is above it.
        (Some(request), Some(held)) if held.request != Some(request.id) => Some(request),
        (request, held) => held.map(|held| held.place).or(request),
    }
}
