//! Lowercase hex, two digits for each byte.

/// Writes `bytes` into `text`, which must be twice as long.
pub(crate) fn write(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// Returns `bytes` as text.
#[cfg(feature = "inspector")]
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    write(bytes, &mut text);
    String::from_utf8(text).expect("hex is ASCII")
}

/// Parses `2 * N` lowercase digits.
pub(super) fn read<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(text: u8) -> Option<u8> {
    match text {
        b'0'..=b'9' => Some(text - b'0'),
        b'a'..=b'f' => Some(text - b'a' + 10),
        _ => None,
    }
}
