//! The `baggage` header.

use std::borrow::Cow;

use http::HeaderValue;
use ripcord::Value;

use super::list::{self, trim};
use crate::Malformed;

/// The W3C header `baggage`: keys and values that are passed with a request to every service it reaches.
///
/// Each key with its value is called a member. A value may be followed by properties, such as `;ttl=3`. [`decode`](Baggage::decode)
/// keeps at most 64 members and 8192 bytes, counted across all `baggage` headers of a message. It drops later members, and
/// [`is_cut`](Baggage::is_cut) then returns `true`.
///
/// ```
/// use http::HeaderValue;
/// use ripcord_http::trace_context::Baggage;
///
/// let header = HeaderValue::from_static("userId=Am%C3%A9lie,serverNode=DF%2028;ttl=3");
/// let baggage = Baggage::decode([&header])?.expect("there is a header");
/// assert_eq!(baggage.get("userId").as_deref(), Some("Amélie"));
///
/// let allowed = baggage.retain(|key| key == "serverNode").unwrap();
/// assert_eq!(allowed.to_header(), "serverNode=DF%2028;ttl=3");
/// # Ok::<(), ripcord_http::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baggage {
    list: HeaderValue,
    cut: bool,
}

impl Baggage {
    /// The name of the header, in lower case.
    pub const HEADER: &str = "baggage";
    /// Maximum number of members that [`decode`](Baggage::decode) keeps, counted across all `baggage` headers of a message.
    pub const MEMBERS: usize = 64;
    /// Maximum number of bytes that [`decode`](Baggage::decode) keeps, counted across all `baggage` headers of a message.
    pub const BYTES: usize = 8192;

    /// Parses the values of all `baggage` headers of a message, in their order, as one list.
    ///
    /// Returns `None` if there is no header, or if the list has no member. Drops the members beyond [`MEMBERS`](Baggage::MEMBERS)
    /// and [`BYTES`](Baggage::BYTES).
    ///
    /// # Errors
    ///
    /// Returns an error if a kept member does not match the grammar, or if the first member alone is larger than 8192 bytes.
    pub fn decode<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Result<Option<Self>, Malformed> {
        let Some(joined) = list::join(headers) else {
            return Ok(None);
        };
        let bytes = joined.as_bytes();
        let (mut count, mut kept, mut start) = (0, 0, 0);
        let mut cut = false;
        for part in bytes.split(|byte| *byte == b',') {
            let end = start + part.len();
            let member = trim(part);
            if !member.is_empty() {
                if count == Self::MEMBERS || end > Self::BYTES {
                    cut = true;
                    break;
                }
                check(member).map_err(|reason| Malformed::new(Self::HEADER, reason))?;
                count += 1;
                kept = end;
            }
            start = end + 1;
        }
        if count == 0 {
            let too_large = Malformed::new(Self::HEADER, "the first member is larger than 8192 bytes");
            return if cut { Err(too_large) } else { Ok(None) };
        }
        let list = if cut { value(&bytes[..kept]) } else { joined };
        Ok(Some(Baggage { list, cut }))
    }

    /// Returns whether [`decode`](Baggage::decode) dropped members because there were more than 64 members or 8192 bytes.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns the error to count if the baggage was cut.
    pub(crate) fn oversized(&self) -> Option<Malformed> {
        self.cut.then(|| Malformed::new(Self::HEADER, "more than 64 members or 8192 bytes"))
    }

    /// Returns an iterator over the keys and percent-decoded values of the members, without the properties. Bytes that are not
    /// valid UTF-8 are replaced by U+FFFD.
    pub fn members(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        list::members(self.list.as_bytes()).filter_map(split).map(|(key, value)| (text(key), percent_decode(value)))
    }

    /// Returns the percent-decoded value of a key, or `None` if the key does not occur. If the key occurs more than once, returns
    /// the first value.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.members().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Returns a copy that contains only the members for whose key `allowed` returns `true`. Members keep their properties. Returns
    /// `None` if there are no such members.
    pub fn retain(&self, mut allowed: impl FnMut(&str) -> bool) -> Option<Baggage> {
        let mut list = Vec::new();
        for member in list::members(self.list.as_bytes()) {
            if split(member).is_some_and(|(key, _)| allowed(text(key))) {
                if !list.is_empty() {
                    list.push(b',');
                }
                list.extend_from_slice(member);
            }
        }
        (!list.is_empty()).then(|| Baggage { list: value(&list), cut: self.cut })
    }

    /// Returns the value of the header `baggage`, without copying it.
    pub fn to_header(&self) -> HeaderValue {
        self.list.clone()
    }
}

impl Value for Baggage {}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).expect("a part of a header value is a header value")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the grammar allows only ASCII")
}

/// Returns the key and the value, without properties.
fn split(member: &[u8]) -> Option<(&[u8], &[u8])> {
    pair(member.split(|byte| *byte == b';').next()?)
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    Some((trim(&text[..at]), trim(&text[at + 1..])))
}

/// Checks a member: `key=value`, then any number of `;key` or `;key=value`.
fn check(member: &[u8]) -> Result<(), &'static str> {
    let mut parts = member.split(|byte| *byte == b';');
    let (key, value) = parts.next().and_then(pair).ok_or("a member without =")?;
    if !is_token(key) {
        return Err("a key does not match the grammar");
    }
    if !is_value(value) {
        return Err("a value does not match the grammar");
    }
    let is_property = |part| match pair(part) {
        Some((key, value)) => is_token(key) && is_value(value),
        None => is_token(trim(part)),
    };
    if parts.all(is_property) { Ok(()) } else { Err("a property does not match the grammar") }
}

/// Returns whether the text is a `token` of RFC 9110.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Returns whether the text is printable ASCII without space, quote, comma, semicolon and backslash.
fn is_value(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(byte))
}

/// Decodes `%` and two hex digits to a byte. Any other `%` is unchanged.
fn percent_decode(value: &[u8]) -> Cow<'_, str> {
    if !value.contains(&b'%') {
        return Cow::Borrowed(text(value));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let decoded = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}
