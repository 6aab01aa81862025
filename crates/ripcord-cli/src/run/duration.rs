//! Parses durations and points in time on the command line.

use std::time::{Duration, SystemTime};

/// The longest duration that a clock can count: 2^63 nanoseconds, 292 years.
const MAX: Duration = Duration::from_nanos(i64::MAX as u64);

/// Parses a duration like timeout(1): a decimal number, then `ms`, `s`, `m`, `h` or `d`. A number without a unit is in seconds.
///
/// # Errors
///
/// Returns a description of the expected text.
pub(super) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // `1e3` is a number, so the letter `e` may belong to the number.
    let (number, unit) = match text.split_at(digits.len()) {
        (number, unit) if number.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte)) => {
            (number, unit)
        }
        _ => return Err(EXPECTED),
    };
    let milliseconds = match unit {
        "ms" => 1.0,
        "" | "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        "d" => 86400e3,
        _ => return Err("unknown unit: expected ms, s, m, h or d"),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(EXPECTED);
    }
    let number: f64 = number.parse().map_err(|_| EXPECTED)?;
    if number == 0.0 {
        return Err(
            "0 means no limit to timeout(1), but ends a context immediately: omit the flag for no limit, or use 1ms",
        );
    }
    match Duration::try_from_secs_f64(number * milliseconds / 1e3) {
        Ok(duration) if duration <= MAX => Ok(duration.max(Duration::from_nanos(1))),
        _ => Err("longer than 292 years, which is the maximum"),
    }
}

const EXPECTED: &str = "expected a duration such as 5, 1.5s, 300ms, 2m, 1h or 1d";

/// Parses `@SECONDS` since the epoch, or a date and time of RFC 3339. Returns the time since the epoch, or `None` before the epoch.
///
/// # Errors
///
/// Returns a description of the expected text.
pub(super) fn parse_time(text: &str) -> Result<Option<Duration>, &'static str> {
    match text.strip_prefix('@') {
        Some(seconds) => parse_epoch(seconds),
        None => {
            parse_rfc3339(text).ok_or("expected RFC 3339 with an offset, such as 2030-01-31T12:00:00Z, or @SECONDS")
        }
    }
}

fn parse_epoch(text: &str) -> Result<Option<Duration>, &'static str> {
    const EXPECTED: &str = "expected seconds since the epoch, such as @1893456000";
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = seconds.starts_with('-');
    let digits = seconds.strip_prefix('-').unwrap_or(seconds);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || !is_number(digits) || !is_number(fraction) || text.ends_with('.') {
        return Err(EXPECTED);
    }
    if is_negative {
        return Ok(None);
    }
    // If the number is too large, the result is the latest possible time.
    let seconds = digits.parse().unwrap_or(u64::MAX);
    Ok(Some(Duration::new(seconds, nanoseconds(fraction))))
}

fn parse_rfc3339(text: &str) -> Option<Option<Duration>> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 || ![b'T', b't', b' '].contains(&bytes[10]) {
        return None;
    }
    if [bytes[4], bytes[7], bytes[13], bytes[16]] != *b"--::" {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // 60 is a leap second. It counts as the next second.
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let rest = &text[19..];
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("", rest),
    };
    if fraction.is_empty() && rest.starts_with('.') {
        return None;
    }
    let offset = match offset.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h, m, b':', n, o] if [h, m, n, o].iter().all(|digit| digit.is_ascii_digit()) => {
            let digits = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let (hours, minutes) = (digits(h, m), digits(n, o));
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let seconds = days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    Some(u64::try_from(seconds).ok().map(|seconds| Duration::new(seconds, nanoseconds(fraction))))
}

/// Returns the number of days from 1970-01-01 to a date of the Gregorian calendar.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the leap day is their last day.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

/// Converts the digits after a decimal point to nanoseconds.
fn nanoseconds(fraction: &str) -> u32 {
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    digits.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Returns the time until `moment`, or `None` if `moment` has passed.
pub(super) fn until(moment: Option<Duration>) -> Option<Duration> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    moment?.checked_sub(now).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_timeout_and_more_are_parsed() {
        let cases = [
            ("5", 5_000),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("1.5", 1_500),
            (".5", 500),
            ("5.", 5_000),
            ("300ms", 300),
            ("0.3", 300),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0.5d", 43_200_000),
            ("1e3", 1_000_000),
            ("1e-1m", 6_000),
            ("100000d", 8_640_000_000_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse_duration("1e-30"), Ok(Duration::from_nanos(1)));
    }

    #[test]
    fn other_durations_are_refused() {
        for text in [
            "", " ", "s", "ms", "-1", "+1", "--1", "1 s", " 1", "1x", "1S", "1ns", "1.2.3", "inf", "nan", "0x10", "1e",
            "٣", "1,5", "5s5",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
        for text in ["0", "0s", "0.0", "0ms", "00", "0d", ".0", "0e9"] {
            assert!(parse_duration(text).unwrap_err().starts_with("0 means"), "{text:?}");
        }
        for text in ["1e300", "1e400", "300000000000", "107000d", "99999999999999999999999999999d"] {
            assert!(parse_duration(text).unwrap_err().starts_with("longer than"), "{text:?}");
        }
    }

    fn seconds(text: &str) -> Option<u64> {
        parse_time(text).ok().flatten().map(|time| time.as_secs())
    }

    #[test]
    fn times_are_parsed() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T23:59:59Z"), Some(951_868_799));
        assert_eq!(seconds("2026-11-30T03:30:00Z"), Some(1_796_009_400));
        assert_eq!(seconds("2026-11-30T05:30:00+02:00"), Some(1_796_009_400));
        assert_eq!(seconds("2026-11-29t22:00:00-05:30"), Some(1_796_009_400));
        assert_eq!(seconds("2026-11-30 03:30:00z"), Some(1_796_009_400));
        assert_eq!(seconds("2016-12-31T23:59:60Z"), Some(1_483_228_800));
        assert_eq!(seconds("9999-12-31T23:59:59Z"), Some(253_402_300_799));
        assert_eq!(parse_time("1970-01-01T00:00:01.25Z"), Ok(Some(Duration::from_millis(1250))));
        assert_eq!(parse_time("@1.5"), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(parse_time("@1.0000000019"), Ok(Some(Duration::new(1, 1))));
        assert_eq!(seconds("@99999999999999999999"), Some(u64::MAX));
        assert_eq!(parse_time("1969-12-31T23:59:59Z"), Ok(None));
        assert_eq!(parse_time("0000-01-01T00:00:00Z"), Ok(None));
        assert_eq!(parse_time("@-5"), Ok(None));
    }

    #[test]
    fn other_times_are_refused() {
        for text in [
            "",
            "@",
            "@1.",
            "@x",
            "@+1",
            "@1e3",
            "5",
            "now",
            "2026-11-30",
            "2026-11-30T03:30:00",
            "2026-11-30T03:30Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:61Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0200",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00 Z",
            "2026-01-01T00:00:00ZZ",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00+1é:00",
        ] {
            assert!(parse_time(text).is_err(), "{text:?}");
        }
    }
}
