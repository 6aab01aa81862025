//! A header value that needs no allocation.

use std::fmt;
use std::ops::Deref;

use http::HeaderValue;

/// Maximum number of digits of a `u64`.
const DIGITS: usize = 20;

/// The value of a deadline header, as text. Returned by [`Dialect::encode`](super::Dialect::encode) and by the `encode` functions
/// of the dialects' modules.
///
/// The text is stored inline, without an allocation. The conversion to a [`HeaderValue`] allocates.
///
/// ```
/// use std::time::Duration;
/// use ripcord_http::deadline::connect;
///
/// let value = connect::encode(Duration::from_millis(250)).unwrap();
/// assert_eq!(value.as_str(), "250");
/// let header: http::HeaderValue = value.into();
/// assert_eq!(header, "250");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    // The value is the ASCII text from `start` to the end.
    bytes: [u8; DIGITS + 1],
    start: u8,
}

impl Encoded {
    /// Returns the number's digits.
    pub(crate) fn number(number: u64) -> Self {
        let mut encoded = Encoded { bytes: [0; DIGITS + 1], start: (DIGITS + 1) as u8 };
        encoded.prepend(number);
        encoded
    }

    /// Returns the number's digits followed by a unit letter.
    pub(crate) fn with_unit(number: u64, unit: u8) -> Self {
        let mut encoded = Encoded { bytes: [0; DIGITS + 1], start: DIGITS as u8 };
        encoded.bytes[DIGITS] = unit;
        encoded.prepend(number);
        encoded
    }

    fn prepend(&mut self, mut number: u64) {
        loop {
            self.start -= 1;
            self.bytes[usize::from(self.start)] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    /// Returns the header value as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[usize::from(self.start)..]).expect("digits and letters are ASCII")
    }
}

impl Deref for Encoded {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl From<Encoded> for HeaderValue {
    fn from(encoded: Encoded) -> Self {
        HeaderValue::from_str(&encoded).expect("digits and letters are a header's value")
    }
}
