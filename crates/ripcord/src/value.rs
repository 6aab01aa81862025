//! The trait of request-scoped values. The key of a value is its type.

use std::any::{Any, type_name};
use std::fmt;

/// Marks a type whose values a [`Context`](crate::Context) can carry. The type is the key.
///
/// Implement it in one line for a type of your own crate, so that the key cannot collide with a key of another crate.
/// Types of other crates, such as strings and numbers, cannot be keys.
///
/// ```
/// use ripcord::{Context, Value};
///
/// struct UserId(u64);
/// impl Value for UserId {}
///
/// let ctx = Context::background().with_value(UserId(7));
/// assert_eq!(ctx.value::<UserId>().map(|user| user.0), Some(7));
/// ```
///
/// A bare string is no key, unlike in Go. This does not compile:
///
/// ```compile_fail
/// let ctx = ripcord::Context::background().with_value("john");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key for a context's value",
    label = "not a `Value`",
    note = "make a type of your own, so that nobody's key collides with it, and write `impl Value for ThatType {{}}`"
)]
pub trait Value: Any + Send + Sync {
    /// Writes the value for human readers. A context's `Display` and the debug pages of `ripcord-http` call this method.
    ///
    /// The default writes the type's short name and never the content, because values often hold secrets.
    ///
    /// # Errors
    ///
    /// The error that `f` returned.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(short(type_name::<Self>()))
    }
}

/// Returns a type's name without its module path.
fn short(name: &str) -> &str {
    let end = name.find('<').unwrap_or(name.len());
    let start = name[..end].rfind("::").map_or(0, |at| at + 2);
    &name[start..]
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn type_name_is_shown_without_its_path() {
        assert_eq!(short("app::user::UserId"), "UserId");
        assert_eq!(short("app::Key<alloc::string::String>"), "Key<alloc::string::String>");
        assert_eq!(short("UserId"), "UserId");
    }
}
