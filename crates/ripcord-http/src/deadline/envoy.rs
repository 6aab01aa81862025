//! Envoy's `x-envoy-expected-rq-timeout-ms`: the time that the proxy will wait, in milliseconds.
//!
//! Read it only behind a proxy of one's own, which overwrites what a client sends: see [`TrustPolicy`](crate::TrustPolicy).
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

use super::{Encoded, digits, encode_milliseconds};
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "x-envoy-expected-rq-timeout-ms";

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
