//! A request's place in the inspector.

use http::StatusCode;
use ripcord::{Context, Trace};

use super::{DeadlineSource, layer::Settings, life::Life};
use crate::{
    RequestId,
    inspector::{Facts, Tracked},
    trace_context::Traceparent,
};

/// A request's place in the inspector, if the layer has one: it shows the request, and is told what comes of it.
#[derive(Debug)]
pub(super) struct Inspection(Option<Tracked>);

impl Inspection {
    /// Of the request of `ctx`, which has all its values by now, and with `trace` its own trace, unless it is to be given one here;
    /// with the Context that the request is to have.
    pub(super) fn begin(settings: &Settings, ctx: Context, life: &Life, trace: Option<&Trace>) -> (Context, Self) {
        let Some(inspector) = &settings.inspector else { return (ctx, Inspection(None)) };
        let given = "the layer gave it one";
        let facts = Facts {
            name: ctx.name().expect(given).to_owned().into(),
            request_id: ctx.value::<RequestId>().expect(given).clone(),
            deadline: DeadlineSource::of(&ctx),
            traceparent: *ctx.value::<Traceparent>().expect(given),
        };
        let (ctx, tracked) = inspector.track(&ctx, life.cancel_handle(), facts, trace.cloned());
        (ctx, Inspection(Some(tracked)))
    }

    pub(super) fn answered(&self, status: StatusCode) {
        if let Some(tracked) = &self.0 {
            tracked.answered(status);
        }
    }

    pub(super) fn panicked(&self) {
        if let Some(tracked) = &self.0 {
            tracked.panicked();
        }
    }

    /// The request is over. To be told before its Context is canceled for that.
    pub(super) fn end(&self) {
        if let Some(tracked) = &self.0 {
            tracked.end();
        }
    }
}
