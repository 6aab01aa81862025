//! What ties an entry to the contexts of its work.

use std::fmt;

use ripcord::{Context, Value};

use super::Inspector;
use crate::server::{Observer as _, Place, place_of};

/// Lies in the context of watched work that is given out, and is dropped with the last one derived from it: so long does an
/// entry live. A request's is a part of what the layer puts into its context.
pub(super) struct Held {
    inspector: Inspector,
    place: Place,
    /// The request above.
    request: Option<u64>,
}

impl Held {
    /// Of the entry at `place`, below `ctx`.
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

/// The entry nearest at or above a context.
pub(super) fn nearest(ctx: &Context) -> Option<Place> {
    let request = place_of(ctx);
    match (request, ctx.value::<Held>()) {
        // Of the two the nearer one: watched work knows which request is above it.
        (Some(request), Some(held)) if held.request != Some(request.id) => Some(request),
        (request, held) => held.map(|held| held.place).or(request),
    }
}
