//! The `ttl` in the `amz-sdk-request` of AWS's clients, which is absolute: a moment in UTC by the peer's clock, to the second.
//!
//! Read only, and by a server only [when asked to](crate::server::ContextLayer::absolute_deadlines): what is left depends on two
//! clocks that agree.
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

use super::digits;
use crate::Malformed;

/// The header's name.
pub const HEADER: &str = "amz-sdk-request";

/// Reads a value: what is left `now`, zero when it has passed; `None` if it has no `ttl`.
///
/// # Errors
///
/// If it is not a list of `key=value` with semicolons between them, has a `ttl` twice, or one that is no moment written as
/// `20200724T181920Z`.
pub fn decode(value: &[u8], now: SystemTime) -> Result<Option<Duration>, Malformed> {
    let malformed = |reason| Malformed::new(HEADER, reason);
    let mut ttl = None;
    for pair in value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
        let at =
            pair.iter().position(|byte| *byte == b'=').ok_or(malformed("not key=value, with ; between two of them"))?;
        let (key, value) = (&pair[..at], &pair[at + 1..]);
        if !is_word(key) || !is_word(value) {
            return Err(malformed("not key=value, with ; between two of them"));
        }
        if key == b"ttl" {
            let moment = moment(value).ok_or(malformed("a ttl that is no moment written as 20200724T181920Z"))?;
            if ttl.replace(moment).is_some() {
                return Err(malformed("a ttl twice"));
            }
        }
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(ttl.map(|ttl| ttl.saturating_sub(now)))
}

fn is_word(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

/// The time since 1970 that `20200724T181920Z` says.
fn moment(text: &[u8]) -> Option<Duration> {
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
    // Up to four digits of years are few enough to be counted one by one.
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let days = years + (1..month).map(length).sum::<u64>() + day - 1;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}
