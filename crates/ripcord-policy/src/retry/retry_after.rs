//! The HTTP header `Retry-After`.

use std::time::{Duration, SystemTime};

/// Parses the value of the HTTP header `Retry-After`: a number of seconds, or a date in one of the three formats of RFC 9110.
///
/// Returns the time to wait, counted from `now`. Returns zero if the date is before `now`. Returns `None` if the value is
/// neither a number nor a date, or if the date is before 1970. A number above `u64::MAX` counts as `u64::MAX`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use ripcord_policy::retry::parse_retry_after;
///
/// assert_eq!(parse_retry_after("120", SystemTime::now()), Some(Duration::from_secs(120)));
/// let date = "Sun, 06 Nov 1994 08:49:37 GMT";
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
/// assert_eq!(parse_retry_after(date, now), Some(Duration::from_secs(7)));
/// assert_eq!(parse_retry_after(date, SystemTime::now()), Some(Duration::ZERO));
/// assert_eq!(parse_retry_after("soon", now), None);
/// ```
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number of seconds that does not fit means an endless wait.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds(value)?))?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Returns a date of RFC 9110 as seconds since 1970.
fn unix_seconds(date: &str) -> Option<u64> {
    let parts: Vec<&str> = date.split([' ', ',', '-']).filter(|part| !part.is_empty()).collect();
    let (day, month, year, time) = match parts[..] {
        // `Sun, 06 Nov 1994 08:49:37 GMT` and `Sunday, 06-Nov-94 08:49:37 GMT`.
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        // `Sun Nov  6 08:49:37 1994`.
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let day: u64 = number(day, 1, 31)?;
    let year = match year.len() {
        // A two-digit year from 70 on is in the last century.
        2 => number(year, 0, 99).map(|year| if year < 70 { 2000 + year } else { 1900 + year })?,
        _ => number(year, 1970, 9999)?,
    };
    let mut clock = time.split(':');
    let (hour, minute, second) = (clock.next()?, clock.next()?, clock.next()?);
    let seconds = number(hour, 0, 23)? * 3600 + number(minute, 0, 59)? * 60 + number(second, 0, 60)?;
    if clock.next().is_some() {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + seconds)
}

fn number(text: &str, low: u64, high: u64) -> Option<u64> {
    text.parse().ok().filter(|number| (low..=high).contains(number))
}

/// Returns the number of days in the Gregorian calendar. Counts in years that begin with March, so that the leap day is the last
/// day of the year.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_date_formats_name_the_same_moment() {
        for date in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(unix_seconds(date), Some(784_111_777), "{date}");
        }
        assert_eq!(unix_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(unix_seconds("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
    }

    #[test]
    fn values_that_are_neither_seconds_nor_a_date_are_refused() {
        for value in ["", "-1", "1.5", "soon", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 25:49:37 GMT", "1 2"]
        {
            assert_eq!(parse_retry_after(value, SystemTime::now()), None, "{value}");
        }
        assert_eq!(parse_retry_after("99999999999999999999", SystemTime::now()), Some(Duration::from_secs(u64::MAX)));
    }
}
