//! The error of a malformed header.

use std::error::Error;
use std::fmt;

/// The error of a header whose value does not match the grammar of the header. Returned by the functions of this crate that parse
/// headers.
///
/// The message contains the name of the header and the rule that is broken. It never contains the value, because another
/// program controls the value.
///
/// ```
/// let error = ripcord_http::deadline::grpc_timeout::decode(b"+5S").unwrap_err();
/// assert_eq!(error.header(), "grpc-timeout");
/// assert_eq!(error.to_string(), "malformed grpc-timeout: expected 1 to 8 digits before the unit");
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

    /// Returns the header's name in lower case.
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
