//! Reads Finagle's deadline header.
//!
//! The value contains two times on the client's clock, in nanoseconds since 1970: the time at which the deadline was set, and the
//! deadline itself. If the clocks of the client and the server differ, the time left is wrong by the difference. So a server reads
//! this header only if you turn it on with [`ContextLayer::absolute_deadlines`](crate::server::ContextLayer::absolute_deadlines).
//! This crate never sends it.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//! use ripcord_http::deadline::finagle;
//!
//! let now = UNIX_EPOCH + Duration::from_secs(1_700_000_001);
//! assert_eq!(finagle::decode(b"1700000000000000000 1700000005000000000", now)?, Duration::from_secs(4));
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::codec::{Codec, Form};
use super::digits;
use crate::Malformed;

/// The name of the deadline header, in lower case.
pub const HEADER: &str = "finagle-ctx-com.twitter.finagle.deadline";

pub(super) const CODEC: Codec = Codec {
    header: HEADER,
    needs_trust: false,
    form: Form::Absolute { decode: |value, now| decode(value, now).map(Some) },
};

/// Parses a value of Finagle's deadline header and returns the time left until the deadline.
///
/// `now` is the current time, such as [`SystemTime::now`]. Returns zero if the deadline has passed.
///
/// The result is never longer than the time that the client had left when it set the deadline. This holds even if the local clock
/// is behind the client's clock.
///
/// # Errors
///
/// Returns an error if the value is not two numbers of at most 19 digits, separated by a space.
pub fn decode(value: &[u8], now: SystemTime) -> Result<Duration, Malformed> {
    let malformed = Malformed::new(HEADER, "expected two numbers of at most 19 digits, separated by a space");
    let number = |digits| digits::parse(digits, 19).map(Duration::from_nanos).ok_or(malformed);
    let at = value.iter().position(|byte| *byte == b' ').ok_or(malformed)?;
    let (set, deadline) = (number(&value[..at])?, number(&value[at + 1..])?);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(deadline.saturating_sub(set.max(now)))
}
