//! A link to another trace.

use std::fmt;

use ripcord::Value;

use super::Traceparent;

/// The trace of an untrusted client, as a value in the request's context. The request's own trace only links to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub Traceparent);

impl Value for Link {
    // Trace ids are not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
