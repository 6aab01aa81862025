//! Another trace that has to do with this one.

use std::fmt;

use ripcord::Value;

use super::Traceparent;

/// The trace of a client that is not trusted: a request's own trace only links to it. A value in the request's Context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub Traceparent);

impl Value for Link {
    // Ids are made to be seen.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
