//! What was wrong with a header.

use std::error::Error;
use std::fmt;

/// A header's value that is not what the header's grammar allows.
///
/// It names the header and the rule, and never repeats the value, which came from a stranger.
///
/// ```
/// let error = ripcord_http::deadline::grpc_timeout::decode(b"+5S").unwrap_err();
/// assert_eq!(error.header(), "grpc-timeout");
/// assert_eq!(error.to_string(), "malformed grpc-timeout: not 1 to 8 digits before the unit");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    header: &'static str,
    reason: &'static str,
}

impl Malformed {
    pub(crate) const fn new(header: &'static str, reason: &'static str) -> Self {
        Malformed { header, reason }
    }

    /// The header, in lower case.
    pub fn header(&self) -> &'static str {
        self.header
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}: {}", self.header, self.reason)
    }
}

impl Error for Malformed {}
