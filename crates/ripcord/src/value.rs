//! The trait of request-scoped values. The key of a value is its type.

use std::any::{Any, type_name};
use std::fmt;

/// Marks a type whose values a [`Context`](crate::Context) can carry. The key of a value is its type, so a context
/// carries one value of each type.
///
/// Implement the trait, in one line, for a type of your own crate. Other crates cannot overwrite the value if the type is
/// private. Types of other crates, such as strings and numbers, cannot be keys.
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
/// A string cannot be a value, because it is not a type of your crate. This does not compile:
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
    /// Writes the value as text. A context's `Display` and the debug pages of `ripcord-http` call this method.
    ///
    /// The default implementation writes the name of the type without its module path. It does not write the content,
    /// because values often contain secrets.
    ///
    /// # Errors
    ///
    /// Returns the error that `f` returned.
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
