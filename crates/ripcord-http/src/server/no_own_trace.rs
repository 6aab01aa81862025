//! What stands for a request's own trace without the feature `tracing`.

use ripcord::{Context, Trace};

use super::layer::Settings;
use crate::trace_context::Traceparent;

#[derive(Debug)]
pub(super) struct OwnTrace;

impl OwnTrace {
    pub(super) fn begin(_: &Settings, ctx: Context, _: Option<Traceparent>) -> (Context, Self) {
        (ctx, OwnTrace)
    }

    pub(super) fn trace(&self) -> Option<&Trace> {
        None
    }

    pub(super) fn end(&mut self) {}
}
