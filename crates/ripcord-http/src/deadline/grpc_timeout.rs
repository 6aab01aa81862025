//! Reads and writes `grpc-timeout`, the deadline header of gRPC: 1 to 8 digits and a unit.
//!
//! ```
//! use std::time::Duration;
//! use ripcord_http::deadline::grpc_timeout;
//!
//! assert_eq!(grpc_timeout::decode(b"250m")?, Duration::from_millis(250));
//! assert_eq!(grpc_timeout::encode(Duration::from_secs(5)).unwrap().as_str(), "5000000u");
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

use std::time::Duration;

use super::codec::{Codec, Form};
use super::{Encoded, digits};
use crate::Malformed;

/// The name of the deadline header, in lower case.
pub const HEADER: &str = "grpc-timeout";

pub(super) const CODEC: Codec = Codec { header: HEADER, needs_trust: false, form: Form::Relative { decode, encode } };

/// Maximum number of digits.
const DIGITS: usize = 8;
const MAX: u128 = 99_999_999;

/// The units and their lengths in nanoseconds, shortest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// Parses a value of the header `grpc-timeout` and returns the time left until the deadline.
///
/// # Errors
///
/// Returns an error if the value is not 1 to 8 digits followed by one of `H M S m u n`.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    let Some((unit, digits)) = value.split_last() else {
        return Err(Malformed::new(HEADER, "expected 1 to 8 digits and a unit"));
    };
    let duration: fn(u64) -> Duration = match unit {
        b'n' => Duration::from_nanos,
        b'u' => Duration::from_micros,
        b'm' => Duration::from_millis,
        b'S' => Duration::from_secs,
        b'M' => |minutes| Duration::from_secs(minutes * 60),
        b'H' => |hours| Duration::from_secs(hours * 3600),
        _ => return Err(Malformed::new(HEADER, "expected a unit, one of H M S m u n")),
    };
    // Eight digits of hours fit into a `u64` of seconds.
    digits::parse(digits, DIGITS).map(duration).ok_or(Malformed::new(HEADER, "expected 1 to 8 digits before the unit"))
}

/// Returns the value of the header `grpc-timeout`. `left` is the time left until the deadline. Returns `None` if `left` is zero.
///
/// The value is a number and a unit, from `n` (nanoseconds) to `H` (hours). The unit is the shortest one for which the number has
/// at most 8 digits. The number is rounded down. The maximum is 99,999,999 hours, and a longer time becomes the maximum.
pub fn encode(left: Duration) -> Option<Encoded> {
    if left.is_zero() {
        return None;
    }
    let nanoseconds = left.as_nanos();
    let (number, unit) = UNITS
        .iter()
        .map(|(unit, length)| (nanoseconds / length, *unit))
        .find(|(number, _)| *number <= MAX)
        .unwrap_or((MAX, b'H'));
    Some(Encoded::with_unit(number as u64, unit))
}
