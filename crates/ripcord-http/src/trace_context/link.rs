//! A link to another trace.

use std::fmt;

use ripcord::Value;

use super::Traceparent;

/// A context value that contains the span of a client that is not [trusted](crate::TrustPolicy). The trace of the request links to
/// this span and does not continue the client's trace.
///
/// [`ContextLayer`](crate::server::ContextLayer) sets this value on the context of a request from such a client that sent a
/// `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub Traceparent);

impl Value for Link {
    // Trace IDs are not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
