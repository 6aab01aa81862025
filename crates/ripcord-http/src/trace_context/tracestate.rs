//! The `tracestate` header.

use http::HeaderValue;
use ripcord::Value;

use super::list;
use crate::Malformed;

/// The W3C header `tracestate`: up to 32 members, each with a key and a value that a tracing system has set.
///
/// The grammar is that of level 2 of the W3C specification Trace Context.
///
/// ```
/// use http::HeaderValue;
/// use ripcord_http::trace_context::Tracestate;
///
/// let headers = [HeaderValue::from_static("congo=t61rcWkgMzE"), HeaderValue::from_static("rojo@us=00f067aa0ba902b7")];
/// let state = Tracestate::decode(&headers)?.expect("there are headers");
/// assert_eq!(state.get("rojo@us"), Some("00f067aa0ba902b7"));
/// # Ok::<(), ripcord_http::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracestate(HeaderValue);

impl Tracestate {
    /// The name of the header, in lower case.
    pub const HEADER: &str = "tracestate";
    /// Maximum number of members. [`decode`](Tracestate::decode) rejects a longer list.
    pub const MEMBERS: usize = 32;

    /// Parses the values of all `tracestate` headers of a message, in their order, as one list.
    ///
    /// Returns `None` if there is no header, or if the list has no member. If a key occurs more than once, all its members are
    /// kept.
    ///
    /// # Errors
    ///
    /// Returns an error if a key or a value does not match the grammar, or if there are more than 32 members. The specification
    /// requires that the whole list is discarded in these cases.
    pub fn decode<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Result<Option<Self>, Malformed> {
        let malformed = |reason| Malformed::new(Self::HEADER, reason);
        let Some(joined) = list::join(headers) else {
            return Ok(None);
        };
        let mut count = 0;
        for member in list::members(joined.as_bytes()) {
            let (key, value) = split(member).ok_or(malformed("a member without ="))?;
            if !is_key(key) {
                return Err(malformed("a key does not match the grammar"));
            }
            if !is_value(value) {
                return Err(malformed("a value does not match the grammar"));
            }
            count += 1;
            if count > Self::MEMBERS {
                return Err(malformed("more than 32 members"));
            }
        }
        Ok((count > 0).then_some(Tracestate(joined)))
    }

    /// Returns an iterator over the keys and values in the order of the header, in which the most recent member is the first. A key
    /// may occur more than once.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |bytes| str::from_utf8(bytes).expect("the grammar allows only ASCII");
        list::members(self.0.as_bytes()).filter_map(split).map(move |(key, value)| (text(key), text(value)))
    }

    /// Returns the value of a key, or `None` if the key does not occur. If the key occurs more than once, returns the first value,
    /// which is the most recent.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Returns the value of the header `tracestate`, without copying it.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Value for Tracestate {}

fn split(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = member.iter().position(|byte| *byte == b'=')?;
    Some((&member[..at], &member[at + 1..]))
}

/// Returns whether this is a key of the specification, level 2: a lowercase letter or a digit, then up to 255 characters of
/// `a-z 0-9 _ - * / @`.
fn is_key(key: &[u8]) -> bool {
    let Some((first, rest)) = key.split_first() else { return false };
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    is_first(first) && rest.len() <= 255 && rest.iter().all(|byte| is_first(byte) || b"_-*/@".contains(byte))
}

/// Returns whether this is a value: 1 to 256 printable characters except `,` and `=`. A value must not end in a space, but members
/// are already trimmed.
fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len()) && value.iter().all(|byte| matches!(byte, b' '..=b'~') && !b",=".contains(byte))
}
