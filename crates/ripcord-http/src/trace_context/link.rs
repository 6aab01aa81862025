//! A link to another trace.

use std::fmt;

use ripcord::Value;

use super::Traceparent;

/// A context value with the span of an untrusted client. The trace of the request links to this span instead of continuing it.
///
/// [`ContextLayer`](crate::server::ContextLayer) sets this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub Traceparent);

impl Value for Link {
    // Trace ids are not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
