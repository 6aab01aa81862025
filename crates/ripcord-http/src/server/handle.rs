//! Finds the lifetime of a request, and the source of its deadline, from the request's context.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use ripcord::{Context, Value};

use super::{DeadlineSource, lifetime::Lifetime, observer::EntryKey, settings::Settings};

/// A context value with the request's [`Lifetime`] and the source of its deadline. The value exists as long as the context or a
/// derived context.
pub(super) struct Handle {
    pub(super) lifetime: Weak<Lifetime>,
    source: DeadlineSource,
    settings: Arc<Settings>,
    place: Option<EntryKey>,
}

impl Handle {
    pub(super) fn new(
        lifetime: &Arc<Lifetime>,
        source: DeadlineSource,
        settings: &Arc<Settings>,
        place: Option<EntryKey>,
    ) -> Self {
        settings.counters.held.up();
        Handle { lifetime: Arc::downgrade(lifetime), source, settings: Arc::clone(settings), place }
    }

    /// Returns the lifetime of the request that `ctx` belongs to, if this request is in flight.
    pub(super) fn in_flight(ctx: &Context) -> Option<Arc<Lifetime>> {
        let lifetime = ctx.value::<Handle>()?.lifetime.upgrade()?;
        (!lifetime.is_answered()).then_some(lifetime)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.settings.counters.held.down();
        if let (Some(observer), Some(place)) = (&self.settings.observer, self.place) {
            observer.leave(place);
        }
    }
}

impl Value for Handle {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({})", self.source)
    }
}

/// The source of a deadline that an inner layer set.
struct InnerSource(DeadlineSource);

impl Value for InnerSource {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deadline({})", self.0)
    }
}

/// Returns a child of `ctx` for a deadline that an inner layer set. The child has the source of this deadline.
pub(super) fn with_inner_source(ctx: &Context) -> Context {
    let source = match source_of(ctx) {
        DeadlineSource::Header(header) | DeadlineSource::Clamped(header) => DeadlineSource::Clamped(header),
        DeadlineSource::Local | DeadlineSource::None => DeadlineSource::Local,
    };
    ctx.with_value(InnerSource(source))
}

pub(super) fn source_of(ctx: &Context) -> DeadlineSource {
    let inner = ctx.value::<InnerSource>().map(|inner| inner.0);
    inner.or_else(|| Some(ctx.value::<Handle>()?.source)).unwrap_or(DeadlineSource::None)
}

/// Returns the key of the observer's entry for the request that `ctx` belongs to.
#[cfg(feature = "inspector")]
pub(crate) fn entry_key_for(ctx: &Context) -> Option<EntryKey> {
    ctx.value::<Handle>()?.place
}
