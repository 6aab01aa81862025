//! A link to another trace.

use std::fmt;

use ripcord::Value;

use super::Traceparent;

/// The span of an [untrusted](crate::TrustPolicy) client, from the header `traceparent` of its request. The server starts a new
/// trace for the request, and the new trace links to this span.
///
/// [`ContextLayer`](crate::server::ContextLayer) sets this value on the request's context. Read it with `ctx.value::<Link>()`, for
/// example to export the link. With the feature `tracing`, `ContextLayer::tracing` exports the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub Traceparent);

impl Value for Link {
    // Trace IDs are not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
