//! Counts calls by their code. Without the feature `metrics`, this module does nothing.

#[cfg(feature = "metrics")]
use std::borrow::Cow;

use crate::Code;

/// A call that is counted once, when its code is known. A call that is dropped earlier counts as canceled.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// `None` once the call has been counted.
    #[cfg(feature = "metrics")]
    method: Option<Cow<'static, str>>,
}

#[cfg(feature = "metrics")]
impl Counted {
    pub(super) fn new(path: &str) -> Self {
        Counted { method: Some(crate::method::name(path)) }
    }

    pub(super) fn ended(&mut self, code: Code) {
        if let Some(method) = self.method.take() {
            crate::metrics::client_call_ended(method, code);
        }
    }
}

#[cfg(feature = "metrics")]
impl Drop for Counted {
    fn drop(&mut self) {
        self.ended(Code::Cancelled);
    }
}

#[cfg(not(feature = "metrics"))]
impl Counted {
    pub(super) fn new(_: &str) -> Self {
        Counted {}
    }

    pub(super) fn ended(&mut self, _: Code) {}
}
