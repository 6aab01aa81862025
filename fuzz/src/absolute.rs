//! Absolute deadlines, which are times on the peer's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ripcord_http::deadline::{aws, finagle};

use crate::text;

/// Splits an input: the first four bytes are the current time, and the rest is the header's value.
fn time_and_value(input: &[u8]) -> Option<(u64, SystemTime, &[u8])> {
    let (seconds, value) = input.split_first_chunk::<4>()?;
    let seconds = u64::from(u32::from_le_bytes(*seconds));
    Some((seconds, UNIX_EPOCH + Duration::from_secs(seconds), value))
}

pub fn finagle(input: &[u8]) {
    let Some((seconds, now, value)) = time_and_value(input) else { return };
    let decoded = finagle::decode(value, now).ok().map(|left| left.as_nanos());
    assert_eq!(decoded, finagle_plainly(u128::from(seconds) * 1_000_000_000, &text(value)));
}

fn finagle_plainly(now: u128, value: &str) -> Option<u128> {
    let (set, deadline) = value.split_once(' ')?;
    let number = |digits: &str| -> Option<u128> {
        let is_number = (1..=19).contains(&digits.len()) && digits.chars().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().unwrap())
    };
    let (set, deadline) = (number(set)?, number(deadline)?);
    Some(deadline.saturating_sub(now).min(deadline.saturating_sub(set)))
}

pub fn aws(input: &[u8]) {
    let Some((seconds, now, value)) = time_and_value(input) else { return };
    let decoded = aws::decode(value, now).ok().map(|left| left.map(|left| left.as_secs()));
    assert_eq!(decoded, aws_plainly(seconds, &text(value)));
}

fn aws_plainly(now: u64, value: &str) -> Option<Option<u64>> {
    let is_word = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':'))
    };
    let mut ttls = Vec::new();
    for pair in value.split(';') {
        let (key, value) = pair.trim_matches([' ', '\t', '\n', '\r', '\x0c']).split_once('=')?;
        if !is_word(key) || !is_word(value) {
            return None;
        }
        if key == "ttl" {
            ttls.push(moment(value)?);
        }
    }
    match ttls[..] {
        [] => Some(None),
        [ttl] => Some(Some(ttl.saturating_sub(now))),
        _ => None,
    }
}

/// Parses a time with the calendar that repeats every 400 years. The year begins in March.
fn moment(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let is_number = |text: &str, length| text.len() == length && text.chars().all(|digit| digit.is_ascii_digit());
    if !is_number(date, 8) || !is_number(time, 6) {
        return None;
    }
    let part = |text: &str, from, to| -> i64 { text[from..to].parse().unwrap() };
    let (year, month, day) = (part(date, 0, 4), part(date, 4, 6), part(date, 6, 8));
    let (hour, minute, second) = (part(time, 0, 2), part(time, 2, 4), part(time, 4, 6));
    let days_to = |year: i64, month: i64, day: i64| {
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day - 1
    };
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let next = if month == 12 { days_to(year + 1, 1, 1) } else { days_to(year, month + 1, 1) };
    let days = days_to(year, month, day);
    if day < 1 || days >= next {
        return None;
    }
    u64::try_from(((days - days_to(1970, 1, 1)) * 24 + hour) * 3600 + minute * 60 + second).ok()
}
