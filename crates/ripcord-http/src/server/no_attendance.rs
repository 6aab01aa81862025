//! What stands for a place with the client without the feature `connection`.

use std::sync::Arc;

use http::Extensions;
use ripcord::Context;

use super::{layer::Settings, life::Life};

#[derive(Debug)]
pub(super) struct Attendance;

impl Attendance {
    pub(super) fn begin(_: &Extensions, _: &Settings, _: &Context, _: &Arc<Life>) -> Option<Self> {
        None
    }
}
