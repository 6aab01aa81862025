//! `baggage`: values that travel along with a request.

use std::borrow::Cow;

use http::HeaderValue;
use ripcord::Value;

use super::list::{self, trim};
use crate::Malformed;

/// W3C's `baggage`: keys and values that travel along with a request, through all that it calls.
///
/// 64 members and 8192 bytes over all headers are carried. What goes beyond is cut off between two members, and
/// [`is_cut`](Baggage::is_cut) says so.
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
    /// The header's name.
    pub const HEADER: &str = "baggage";
    /// How many members are carried.
    pub const MEMBERS: usize = 64;
    /// How many bytes are carried.
    pub const BYTES: usize = 8192;

    /// Reads all headers of that name, in their order, as one list; `None` without any member.
    ///
    /// # Errors
    ///
    /// If one of the members to be carried is not what the grammar allows, or there are members but the first is too large to be
    /// carried.
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
            let too_large = Malformed::new(Self::HEADER, "a first member beyond 8192 bytes");
            return if cut { Err(too_large) } else { Ok(None) };
        }
        let list = if cut { value(&bytes[..kept]) } else { joined };
        Ok(Some(Baggage { list, cut }))
    }

    /// Whether some of what was sent was beyond the limits and is not here.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What is wrong with one that is cut.
    pub(crate) fn oversized(&self) -> Option<Malformed> {
        self.cut.then(|| Malformed::new(Self::HEADER, "more than 64 members or 8192 bytes"))
    }

    /// The keys and their values, percent-decoded where they have to be; bytes that are no UTF-8 are replaced.
    pub fn members(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        list::members(self.list.as_bytes()).filter_map(split).map(|(key, value)| (text(key), percent_decode(value)))
    }

    /// The value of a key; of the first, if it is there twice.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.members().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The members whose key may travel on, their properties with them; `None` if there are none.
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

    /// The value of the header, without a copy.
    pub fn to_header(&self) -> HeaderValue {
        self.list.clone()
    }
}

impl Value for Baggage {}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).expect("a part of a value is a value")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("what was read is ASCII")
}

/// The key and the value, without properties.
fn split(member: &[u8]) -> Option<(&[u8], &[u8])> {
    pair(member.split(|byte| *byte == b';').next()?)
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    Some((trim(&text[..at]), trim(&text[at + 1..])))
}

/// `key=value`, then any number of `;key` or `;key=value`.
fn check(member: &[u8]) -> Result<(), &'static str> {
    let mut parts = member.split(|byte| *byte == b';');
    let (key, value) = parts.next().and_then(pair).ok_or("a member without =")?;
    if !is_token(key) {
        return Err("a key that the grammar does not allow");
    }
    if !is_value(value) {
        return Err("a value that the grammar does not allow");
    }
    let is_property = |part| match pair(part) {
        Some((key, value)) => is_token(key) && is_value(value),
        None => is_token(trim(part)),
    };
    if parts.all(is_property) { Ok(()) } else { Err("a property that the grammar does not allow") }
}

/// RFC 9110's `token`.
fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Printable, and none of space, quote, comma, semicolon and backslash.
fn is_value(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(byte))
}

/// `%` with two digits of hex is a byte; any other `%` is itself.
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
