//! Plain HTTP's `x-request-timeout-ms`: the time that is left, in milliseconds.
//!
//! No standard says how a deadline travels in plain HTTP; this header is the one that ripcord sends and reads.
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

use super::{Encoded, digits, encode_milliseconds};
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "x-request-timeout-ms";

/// Reads a value.
///
/// # Errors
///
/// If it is not digits alone.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    digits::parse(value, usize::MAX).map(Duration::from_millis).ok_or(Malformed::new(HEADER, "not digits alone"))
}

/// Writes the time that is left, rounded down; `None` when less than a millisecond is.
pub fn encode(left: Duration) -> Option<Encoded> {
    encode_milliseconds(left, u64::MAX)
}
