//! A request's place in the inspector.

use std::time::{Duration, Instant};

use http::StatusCode;
use ripcord::{Context, Error, Trace};

use super::{
    DeadlineSource,
    layer::Settings,
    life::{Handle, Life},
};
use crate::inspector::Place;

/// A request's place in the inspector, if the layer has one: it shows the request, and is told what comes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inspection(Option<Place>);

impl Inspection {
    /// Whether requests of the layer are shown.
    pub(super) fn is_wanted(settings: &Settings) -> bool {
        settings.inspector.is_some()
    }

    /// Of the request that arrived at `begun`. `ctx` has all that is to be shown of it and is above its [`Handle`]; `trace` is its
    /// own trace, if it has one by now.
    pub(super) fn begin(
        settings: &Settings,
        ctx: &Context,
        life: &Life,
        source: DeadlineSource,
        begun: Option<Instant>,
        trace: Option<&Trace>,
    ) -> Self {
        let (Some(inspector), Some(begun)) = (&settings.inspector, begun) else { return Inspection(None) };
        Inspection(Some(inspector.enter(ctx, life.cancel_handle(), begun, source, trace)))
    }

    pub(super) fn answered(self, settings: &Settings, status: StatusCode) {
        if let (Some(inspector), Some(place)) = (&settings.inspector, self.0) {
            inspector.answered(place, status);
        }
    }

    /// The request is over. To be told before its Context is canceled for that.
    pub(super) fn end(self, settings: &Settings, latency: Duration, error: Option<Error>, is_panicked: bool) {
        if let (Some(inspector), Some(place)) = (&settings.inspector, self.0) {
            inspector.end(place, latency, error, is_panicked);
        }
    }

    /// The request's last Context is being dropped.
    pub(super) fn leave(self, settings: &Settings) {
        if let (Some(inspector), Some(place)) = (&settings.inspector, self.0) {
            inspector.leave(place);
        }
    }
}

/// Of the request that `ctx` belongs to.
pub(crate) fn place_of(ctx: &Context) -> Option<Place> {
    ctx.value::<Handle>()?.inspection.0
}
