//! gRPC's `grpc-timeout`: 1 to 8 digits and a unit.
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

use super::{Encoded, digits};
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "grpc-timeout";

/// The most digits that the grammar allows.
const DIGITS: usize = 8;
const MOST: u128 = 99_999_999;

/// The units and how many nanoseconds each is, the finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// Reads a value.
///
/// # Errors
///
/// If it is not 1 to 8 digits and one of `H M S m u n`.
pub fn decode(value: &[u8]) -> Result<Duration, Malformed> {
    let Some((unit, digits)) = value.split_last() else {
        return Err(Malformed::new(HEADER, "empty"));
    };
    let duration: fn(u64) -> Duration = match unit {
        b'n' => Duration::from_nanos,
        b'u' => Duration::from_micros,
        b'm' => Duration::from_millis,
        b'S' => Duration::from_secs,
        b'M' => |minutes| Duration::from_secs(minutes * 60),
        b'H' => |hours| Duration::from_secs(hours * 3600),
        _ => return Err(Malformed::new(HEADER, "no unit, which is one of H M S m u n")),
    };
    // Eight digits of hours are far from what a `u64` of seconds holds.
    digits::parse(digits, DIGITS).map(duration).ok_or(Malformed::new(HEADER, "not 1 to 8 digits before the unit"))
}

/// Writes the time that is left, rounded down in the finest unit that needs no more than 8 digits; `None` when nothing is left.
///
/// What is longer than 99,999,999 hours is that.
pub fn encode(left: Duration) -> Option<Encoded> {
    if left.is_zero() {
        return None;
    }
    let nanoseconds = left.as_nanos();
    let (number, unit) = UNITS
        .iter()
        .map(|(unit, length)| (nanoseconds / length, *unit))
        .find(|(number, _)| *number <= MOST)
        .unwrap_or((MOST, b'H'));
    Some(Encoded::with_unit(number as u64, unit))
}
