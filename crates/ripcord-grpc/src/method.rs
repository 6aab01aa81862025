//! The name of a method, for a label.

use std::borrow::Cow;

/// Maximum length of a path that is used as a name.
const MAX_NAME: usize = 128;

/// Returns a request's path, such as `/echo.Echo/Unary`. Returns `unmatched` if the path is not that of a method or is too long.
pub(crate) fn name(path: &str) -> Cow<'static, str> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_')
    };
    let names = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    match names.filter(|(service, method)| is_name(service) && is_name(method) && path.len() <= MAX_NAME) {
        Some(_) => Cow::Owned(path.to_owned()),
        None => Cow::Borrowed("unmatched"),
    }
}
