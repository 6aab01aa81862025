//! `tracestate`: what each tracing system wants to find again.

use http::HeaderValue;
use ripcord::Value;

use super::list;
use crate::Malformed;

/// W3C's `tracestate`: at most 32 members, each a key and a value of some tracing system.
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
    /// The header's name.
    pub const HEADER: &str = "tracestate";
    /// The most members that the specification allows.
    pub const MEMBERS: usize = 32;

    /// Reads all headers of that name, in their order, as one list; `None` without any member.
    ///
    /// # Errors
    ///
    /// If a key or a value is not what the grammar allows, a key comes twice, or there are more than 32 members: none of them
    /// is to be used then.
    pub fn decode<'a>(headers: impl IntoIterator<Item = &'a HeaderValue>) -> Result<Option<Self>, Malformed> {
        let malformed = |reason| Malformed::new(Self::HEADER, reason);
        let Some(joined) = list::join(headers) else {
            return Ok(None);
        };
        let mut keys: [&[u8]; Self::MEMBERS] = [&[]; Self::MEMBERS];
        let mut count = 0;
        for member in list::members(joined.as_bytes()) {
            let (key, value) = split(member).ok_or(malformed("a member without ="))?;
            if !is_key(key) {
                return Err(malformed("a key that the grammar does not allow"));
            }
            if !is_value(value) {
                return Err(malformed("a value that the grammar does not allow"));
            }
            if count == Self::MEMBERS {
                return Err(malformed("more than 32 members"));
            }
            if keys[..count].contains(&key) {
                return Err(malformed("a key that comes twice"));
            }
            keys[count] = key;
            count += 1;
        }
        Ok((count > 0).then_some(Tracestate(joined)))
    }

    /// The members, the most recent first.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = |bytes| str::from_utf8(bytes).expect("what was read is ASCII");
        list::members(self.0.as_bytes()).filter_map(split).map(move |(key, value)| (text(key), text(value)))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The value of the header, without a copy.
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl Value for Tracestate {}

fn split(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = member.iter().position(|byte| *byte == b'=')?;
    Some((&member[..at], &member[at + 1..]))
}

/// `simple`, or `tenant@system`.
fn is_key(key: &[u8]) -> bool {
    let rest =
        |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'));
    match key.iter().position(|byte| *byte == b'@') {
        None => key.len() <= 256 && key.first().is_some_and(u8::is_ascii_lowercase) && rest(key),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            (1..=241).contains(&tenant.len())
                && tenant.first().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && rest(tenant)
                && system.len() <= 14
                && system.first().is_some_and(u8::is_ascii_lowercase)
                && rest(system)
        }
    }
}

/// 1 to 256 printable characters but `,` and `=`, the last no space. A member is trimmed, so that one never is.
fn is_value(value: &[u8]) -> bool {
    (1..=256).contains(&value.len()) && value.iter().all(|byte| matches!(byte, b' '..=b'~') && !b",=".contains(byte))
}
