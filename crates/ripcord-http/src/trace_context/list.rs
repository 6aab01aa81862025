//! Lists that may be spread over several headers of one name.

use bytes::BytesMut;
use http::HeaderValue;

/// The headers as one; a single one is shared and not copied. `None` if there are none.
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

/// The members, without the spaces and tabs around them and without empty ones.
pub(super) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Without spaces and tabs at both ends.
pub(super) fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
