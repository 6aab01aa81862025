//! Reads and writes `Connect-Timeout-Ms`, the deadline header of the Connect protocol: 1 to 10 digits of milliseconds.
//!
//! ```
//! use std::time::Duration;
//! use ripcord_http::deadline::connect;
//!
//! assert_eq!(connect::decode(b"250")?, Duration::from_millis(250));
//! assert_eq!(connect::encode(Duration::from_micros(1999)).unwrap().as_str(), "1");
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

use std::time::Duration;

use super::codec::{Codec, Form};
use super::{Encoded, digits, encode_milliseconds};
use crate::Malformed;

/// The name of the deadline header, in lower case.
pub const HEADER: &str = "connect-timeout-ms";

pub(super) const CODEC: Codec = Codec { header: HEADER, needs_trust: false, form: Form::Relative { decode, encode } };

/// Parses a value of the header `connect-timeout-ms` and returns the time left until the deadline.
///
/// # Errors
///
/// Returns an error if the value is not 1 to 10 digits.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    digits::parse(value, 10).map(Duration::from_millis).ok_or(Malformed::new(HEADER, "expected 1 to 10 digits"))
}

/// Returns the value of the header `connect-timeout-ms`. `left` is the time left until the deadline.
///
/// The time is rounded down to whole milliseconds. Returns `None` if less than a millisecond is left.
///
/// The maximum is 9,999,999,999 ms. A longer time becomes the maximum.
pub fn encode(left: Duration) -> Option<Encoded> {
    encode_milliseconds(left, 9_999_999_999)
}
