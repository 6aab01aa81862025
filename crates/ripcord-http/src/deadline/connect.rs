//! Connect's `Connect-Timeout-Ms`: 1 to 10 digits of milliseconds.
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

use super::{Encoded, digits, encode_milliseconds};
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "connect-timeout-ms";

/// Reads a value.
///
/// # Errors
///
/// If it is not 1 to 10 digits.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    digits::parse(value, 10).map(Duration::from_millis).ok_or(Malformed::new(HEADER, "not 1 to 10 digits"))
}

/// Writes the time that is left, rounded down; `None` when less than a millisecond is. What is longer than 9,999,999,999 ms is that.
pub fn encode(left: Duration) -> Option<Encoded> {
    encode_milliseconds(left, 9_999_999_999)
}
