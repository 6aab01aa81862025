//! The `x-request-id` header.

use std::fmt;

use http::HeaderValue;
use ripcord::Value;

use crate::{Malformed, random};

/// The ID of a request, as in the header `x-request-id`.
///
/// [`ContextLayer`](crate::server::ContextLayer) sets the ID as a value of each request's context, and as a header of the response.
/// Outgoing calls with that context send the ID as a header too.
///
/// ```
/// use http::HeaderValue;
/// use ripcord_http::RequestId;
///
/// let theirs = RequestId::decode(&HeaderValue::from_static("req-17"))?;
/// assert_eq!(theirs.as_str(), "req-17");
/// assert!(RequestId::decode(&HeaderValue::from_static("a b")).is_err());
/// assert_ne!(RequestId::generate(), RequestId::generate());
/// # Ok::<(), ripcord_http::Malformed>(())
/// ```
///
/// An ID has 1 to 128 characters: ASCII letters, digits and `- _ . : / + =`. These characters need no escapes in a log or a shell.
// The header's own value, so that neither reading nor writing copies it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The name of the header that contains the ID of a request.
    pub const HEADER: &str = "x-request-id";

    /// Generates a random ID of 32 hex digits.
    pub fn generate() -> Self {
        let mut text = [0; 32];
        crate::trace_context::hex::write(&random::id(), &mut text);
        RequestId(HeaderValue::from_bytes(&text).expect("hex is a valid header value"))
    }

    /// Parses a value of the header `x-request-id`, without copying it.
    ///
    /// # Errors
    ///
    /// Returns an error if the value does not have 1 to 128 characters, or contains a character other than ASCII letters, digits
    /// and `- _ . : / + =`.
    pub fn decode(value: &HeaderValue) -> Result<Self, Malformed> {
        let well_formed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
        let bytes = value.as_bytes();
        if !(1..=128).contains(&bytes.len()) {
            return Err(Malformed::new(Self::HEADER, "expected 1 to 128 characters"));
        }
        if !bytes.iter().all(well_formed) {
            return Err(Malformed::new(Self::HEADER, "expected only letters, digits and -_.:/+="));
        }
        Ok(RequestId(value.clone()))
    }

    /// Returns the ID as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is ASCII")
    }

    /// Returns the ID as a header value, without copying it.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

impl Value for RequestId {
    // A request ID is not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
