//! The properties and functions of a dialect.

use std::time::{Duration, SystemTime};

use super::Encoded;
use crate::Malformed;

/// The properties and functions of one dialect. Each dialect's module defines it as `CODEC`.
pub(super) struct Codec {
    /// The header's name, in lower case.
    pub(super) header: &'static str,
    /// Whether the header is read only from a trusted client.
    pub(super) needs_trust: bool,
    pub(super) form: Form,
}

/// The meaning of a dialect's value.
pub(super) enum Form {
    /// The time left. No clock affects this value.
    Relative { decode: fn(&[u8]) -> Result<Duration, Malformed>, encode: fn(Duration) -> Option<Encoded> },
    /// A point in time on the client's clock. Such a dialect is only read.
    Absolute { decode: fn(&[u8], SystemTime) -> Result<Option<Duration>, Malformed> },
}
