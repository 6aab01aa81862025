//! Finagle's deadline, which is absolute: when it was set and when it is, in nanoseconds since 1970 by the peer's clock.
//!
//! Read only, and by a server only [when asked to](crate::server::ContextLayer::absolute_deadlines): what is left depends on two
//! clocks that agree.
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

use super::digits;
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "finagle-ctx-com.twitter.finagle.deadline";

/// Reads a value: what is left `now`, and never more than there was when the peer set it, however far behind one's own clock is.
/// Zero when it has passed.
///
/// # Errors
///
/// If it is not two numbers of at most 19 digits, with a space between them.
pub fn decode(value: &[u8], now: SystemTime) -> Result<Duration, Malformed> {
    let malformed = Malformed::new(HEADER, "not two numbers of at most 19 digits with a space between them");
    let number = |digits| digits::parse(digits, 19).map(Duration::from_nanos).ok_or(malformed);
    let at = value.iter().position(|byte| *byte == b' ').ok_or(malformed)?;
    let (set, deadline) = (number(&value[..at])?, number(&value[at + 1..])?);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(deadline.saturating_sub(set.max(now)))
}
