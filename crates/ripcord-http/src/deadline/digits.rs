//! Digits and nothing else: no sign, no space, no underscore.

/// The number that the digits say, at most `u64::MAX`; `None` if there are none, more than `most`, or something else.
pub(super) fn parse(digits: &[u8], most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}
