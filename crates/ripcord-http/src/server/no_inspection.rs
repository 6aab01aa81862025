//! What stands for a place in the inspector without the feature `inspector`.

use http::StatusCode;
use ripcord::{Context, Trace};

use super::{layer::Settings, life::Life};

#[derive(Debug)]
pub(super) struct Inspection;

impl Inspection {
    pub(super) fn begin(_: &Settings, ctx: Context, _: &Life, _: Option<&Trace>) -> (Context, Self) {
        (ctx, Inspection)
    }

    pub(super) fn answered(&self, _: StatusCode) {}

    pub(super) fn panicked(&self) {}

    pub(super) fn end(&self) {}
}
