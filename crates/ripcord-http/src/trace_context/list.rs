//! Lists that may be split over several headers of one name.

use bytes::BytesMut;
use http::HeaderValue;

/// Joins the headers into one value. A single header is shared, not copied. Returns `None` if there is no header.
pub(super) fn join<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let mut headers = headers.into_iter();
    let first = headers.next()?;
    let Some(second) = headers.next() else {
        return Some(first.clone());
    };
    let mut joined = BytesMut::from(first.as_bytes());
    for header in std::iter::once(second).chain(headers) {
        joined.extend_from_slice(b",");
        joined.extend_from_slice(header.as_bytes());
    }
    Some(HeaderValue::from_maybe_shared(joined.freeze()).expect("values joined by a comma are a value"))
}

/// Returns the trimmed members and skips empty ones.
pub(super) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Removes spaces and tabs at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
