//! Parses digits only, without a sign, spaces or underscores.

/// Returns the number, at most `u64::MAX`. Returns `None` if there are no digits, more than `max` digits, or any other byte.
pub(super) fn parse(digits: &[u8], max: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > max {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}
