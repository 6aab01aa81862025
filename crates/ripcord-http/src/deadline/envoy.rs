//! Envoy's `x-envoy-expected-rq-timeout-ms`: how long the proxy will wait, in milliseconds.
//!
//! The server reads it only from a trusted peer, because your own proxy overwrites a client's value and a client may invent one: see
//! [`TrustPolicy`](crate::TrustPolicy).
//!
//! ```
//! use std::time::Duration;
//! use ripcord_http::deadline::envoy;
//!
//! assert_eq!(envoy::decode(b"250")?, Duration::from_millis(250));
//! assert_eq!(envoy::encode(Duration::from_micros(1999)).unwrap().as_str(), "1");
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

use std::time::Duration;

use super::codec::{Codec, Form};
use super::{Encoded, digits, encode_milliseconds};
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "x-envoy-expected-rq-timeout-ms";

pub(super) const CODEC: Codec = Codec { header: HEADER, needs_trust: true, form: Form::Relative { decode, encode } };

/// Reads a value and returns the time left. A number above `u64::MAX` saturates.
///
/// # Errors
///
/// Returns an error if the value contains anything but digits, or nothing.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    digits::parse(value, usize::MAX).map(Duration::from_millis).ok_or(Malformed::new(HEADER, "expected only digits"))
}

/// Returns the value for the time left, rounded down. Returns `None` if less than a millisecond is left.
pub fn encode(left: Duration) -> Option<Encoded> {
    encode_milliseconds(left, u64::MAX)
}
