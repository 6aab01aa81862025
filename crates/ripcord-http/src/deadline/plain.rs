//! Reads and writes `x-request-timeout-ms`: the time left, in milliseconds.
//!
//! No standard defines a deadline header for plain HTTP. Clients of this crate send this header by default.
//!
//! ```
//! use std::time::Duration;
//! use ripcord_http::deadline::plain;
//!
//! assert_eq!(plain::decode(b"250")?, Duration::from_millis(250));
//! assert_eq!(plain::encode(Duration::from_micros(1999)).unwrap().as_str(), "1");
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

use std::time::Duration;

use super::codec::{Codec, Form};
use super::{Encoded, digits, encode_milliseconds};
use crate::Malformed;

/// The name of the deadline header, in lower case.
pub const HEADER: &str = "x-request-timeout-ms";

pub(super) const CODEC: Codec = Codec { header: HEADER, needs_trust: false, form: Form::Relative { decode, encode } };

/// Parses a value of the header `x-request-timeout-ms` and returns the time left until the deadline.
///
/// A number above [`u64::MAX`] counts as [`u64::MAX`].
///
/// # Errors
///
/// Returns an error if the value is empty or contains a character other than a digit.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    digits::parse(value, usize::MAX).map(Duration::from_millis).ok_or(Malformed::new(HEADER, "expected only digits"))
}

/// Returns the value of the header `x-request-timeout-ms`. `left` is the time left until the deadline.
///
/// The time is rounded down to whole milliseconds. Returns `None` if less than a millisecond is left.
pub fn encode(left: Duration) -> Option<Encoded> {
    encode_milliseconds(left, u64::MAX)
}
