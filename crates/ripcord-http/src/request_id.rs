//! The id of a request.

use std::fmt;

use http::HeaderValue;
use ripcord::Value;

use crate::{Malformed, random};

/// The id of a request: in its Context, its log lines, its response and the calls it makes.
///
/// Well-formed is 1 to 128 of the letters and digits of ASCII and `- _ . : / + =`: what can be written to a log, a URL's query or
/// a shell without a second thought.
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
// Kept as it came, so that neither reading nor writing copies it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The header's name.
    pub const HEADER: &str = "x-request-id";

    /// A new id, 32 digits of hex, that no other request has.
    pub fn generate() -> Self {
        let mut text = [0; 32];
        crate::trace_context::hex::write(&random::id(), &mut text);
        RequestId(HeaderValue::from_bytes(&text).expect("hex is a header's value"))
    }

    /// Reads a value, and shares its bytes.
    ///
    /// # Errors
    ///
    /// If it is not well-formed, as said above.
    pub fn decode(value: &HeaderValue) -> Result<Self, Malformed> {
        let well_formed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
        let bytes = value.as_bytes();
        if !(1..=128).contains(&bytes.len()) {
            return Err(Malformed::new(Self::HEADER, "not 1 to 128 characters"));
        }
        if !bytes.iter().all(well_formed) {
            return Err(Malformed::new(Self::HEADER, "a character other than letters, digits and -_.:/+="));
        }
        Ok(RequestId(value.clone()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is ASCII")
    }

    /// The id as a header's value, without a copy.
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
    // Made to be seen.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
