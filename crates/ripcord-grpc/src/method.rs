//! The name of a method, for a label.

use std::borrow::Cow;

/// Maximum length of a path that is used as a name.
const MAX_NAME: usize = 128;

/// Returns a request's path, such as `/echo.Echo/Unary`. Returns `unmatched` if the path is not that of a method or is too long.
pub(crate) fn name(path: &str) -> Cow<'static, str> {
    let is_name = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'.' || *byte == b'_')
    };
    let mut parts = path.as_bytes().split(|byte| *byte == b'/');
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(b""), Some(service), Some(method), None]
            if path.len() <= MAX_NAME && is_name(service) && is_name(method) =>
        {
            Cow::Owned(path.to_owned())
        }
        _ => Cow::Borrowed("unmatched"),
    }
}
