//! What stands for a place in the inspector without the feature `inspector`.

use std::time::{Duration, Instant};

use http::StatusCode;
use ripcord::{Context, Error, Trace};

use super::{DeadlineSource, layer::Settings, life::Life};

#[derive(Clone, Copy, Debug)]
pub(super) struct Inspection;

impl Inspection {
    pub(super) fn is_wanted(_: &Settings) -> bool {
        false
    }

    pub(super) fn begin(
        _: &Settings,
        _: &Context,
        _: &Life,
        _: DeadlineSource,
        _: Option<Instant>,
        _: Option<&Trace>,
    ) -> Self {
        Inspection
    }

    pub(super) fn answered(self, _: &Settings, _: StatusCode) {}

    pub(super) fn end(self, _: &Settings, _: Duration, _: Option<Error>, _: bool) {}

    pub(super) fn leave(self, _: &Settings) {}
}
