//! Reads the deadline that AWS clients send: the field `ttl` in the header `amz-sdk-request`.
//!
//! `ttl` is a UTC time on the client's clock, in seconds. If the clocks of the client and the server differ, the time left is wrong
//! by the difference. So a server reads this header only if you turn it on with
//! [`ContextLayer::absolute_deadlines`](crate::server::ContextLayer::absolute_deadlines). This crate never sends it.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//! use ripcord_http::deadline::aws;
//!
//! let now = UNIX_EPOCH + Duration::from_secs(1_595_614_750);
//! assert_eq!(aws::decode(b"ttl=20200724T181920Z; attempt=2; max=3", now)?, Some(Duration::from_secs(10)));
//! assert_eq!(aws::decode(b"attempt=1; max=3", now)?, None);
//! # Ok::<(), ripcord_http::Malformed>(())
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::codec::{Codec, Form};
use super::digits;
use crate::Malformed;

/// The name of the deadline header, in lower case.
pub const HEADER: &str = "amz-sdk-request";

pub(super) const CODEC: Codec = Codec { header: HEADER, needs_trust: false, form: Form::Absolute { decode } };

/// Parses a value of the header `amz-sdk-request` and returns the time left until the deadline.
///
/// `now` is the current time, such as [`SystemTime::now`]. The deadline is the field `ttl`. Returns zero if the deadline has
/// passed. Returns `None` if the value has no `ttl`.
///
/// # Errors
///
/// Returns an error if the value is not a list of `key=value` separated by semicolons, or if it contains `ttl` twice. Also returns
/// an error if `ttl` is not a time in the form `20200724T181920Z`.
pub fn decode(value: &[u8], now: SystemTime) -> Result<Option<Duration>, Malformed> {
    let malformed = |reason| Malformed::new(HEADER, reason);
    let mut ttl = None;
    for pair in value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
        let at = pair.iter().position(|byte| *byte == b'=').ok_or(malformed("expected key=value, separated by ;"))?;
        let (key, value) = (&pair[..at], &pair[at + 1..]);
        if !is_word(key) || !is_word(value) {
            return Err(malformed("expected key=value, separated by ;"));
        }
        if key == b"ttl" {
            let ttl_time =
                seconds_since_1970(value).ok_or(malformed("the ttl is not a time in the form 20200724T181920Z"))?;
            if ttl.replace(ttl_time).is_some() {
                return Err(malformed("more than one ttl"));
            }
        }
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ttl.map(|ttl| ttl.saturating_sub(now)))
}

fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

/// Parses a time in the form `20200724T181920Z`. Returns the time since 1970.
fn seconds_since_1970(text: &[u8]) -> Option<Duration> {
    let text: &[u8; 16] = text.try_into().ok()?;
    if text[8] != b'T' || text[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| digits::parse(&text[from..to], to - from);
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if year < 1970 || !(1..=12).contains(&month) || !(1..=length(month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let days = years + (1..month).map(length).sum::<u64>() + day - 1;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}
